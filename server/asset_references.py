"""`core/ASSET` objects in a workflow: where they stand, and the file names that take their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from server.refused import Refused

KIND = "core/ASSET"


def asset_ids(workflow: object) -> list[str]:
    """The ids of all references, each once. Raises Refused for one that names none."""
    return list(dict.fromkeys(_id(found) for found in _references(workflow)))


def with_names(workflow: object, names: Mapping[str, str]) -> object:
    """The workflow with each reference replaced by the name of its file."""
    if isinstance(workflow, dict):
        if workflow.get("__type") == KIND:
            return names[_id(workflow)]
        return {key: with_names(value, names) for key, value in workflow.items()}
    if isinstance(workflow, list):
        return [with_names(value, names) for value in workflow]
    return workflow


def missing(id_: str) -> Refused:
    """A reference to an asset that there is not."""
    return Refused(422, "missing_asset", f"there is no asset {id_[:100]!r}")


def _references(workflow: object) -> Iterator[dict[str, Any]]:
    pending = [workflow]
    while pending:
        match pending.pop():
            case dict() as found if found.get("__type") == KIND:
                yield found
            case dict() as found:
                pending.extend(reversed(found.values()))
            case list() as found:
                pending.extend(reversed(found))


def _id(reference: Mapping[str, Any]) -> str:
    match reference:
        case {"info": {"id": str(id_)}} if id_:
            return id_
        case _:
            raise Refused(422, "missing_asset", f"a {KIND} object has no info.id")
