"""The submitted graph as data: JSON in, JSON out, nothing checked against node types yet."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from graph.errors import GraphError, GraphErrors, brief
from graph.patient_json import TooLarge, loads
from graph.sweep import Sweep, is_sweep, read_sweep

NodeId: TypeAlias = str

Container: TypeAlias = dict[str, object] | list[object]

MAX_DEPTH = 64
"""Levels of brackets a document may have; real ones have about ten."""


@dataclass(frozen=True, slots=True)
class Link:
    """Output number `slot` of node `node`, counted from 0."""

    node: NodeId
    slot: int


@dataclass(frozen=True, slots=True)
class DocNode:
    """A node as written. In `inputs` a tuple is a list value, a Sweep several values; a bare list is a bad link."""

    class_type: str
    inputs: Mapping[str, object] = field(default_factory=dict)
    meta: Mapping[str, object] = field(default_factory=dict)


_MEMBERS = frozenset({"class_type", "inputs", "_meta"})
_EXACT = frozenset({str, int, bool, type(None)})


@dataclass(frozen=True, slots=True)
class Document:
    """What was submitted, untyped. `problems` are faults of single nodes that the JSON alone shows."""

    nodes: Mapping[NodeId, DocNode]
    problems: tuple[GraphError, ...] = ()


def parse(text: str | bytes) -> Document:
    """Read API-format JSON, `{id: {"class_type", "inputs", "_meta"?}}`.

    Raises GraphErrors if this is no such document at all. A fault of one node (a key given twice, NaN, no
    class_type) is kept in `Document.problems` instead, so that `build` reports it along with all others.
    """
    try:
        whole = text if isinstance(text, str) else text.decode(json.detect_encoding(text))
        raw = loads(whole, json.JSONDecoder(object_pairs_hook=json_object))
    except RecursionError:
        raise _too_deep() from None
    except TooLarge as error:
        raise _refusal(str(error)) from None
    except ValueError as error:
        raise _refusal(f"not valid JSON: {error}", "invalid_json") from None
    return read(raw)


def read(raw: object) -> Document:
    """What `parse` returns, for JSON that was decoded with `json_object` as its `object_pairs_hook`."""
    if not isinstance(raw, dict):
        raise _refusal(f"got {brief(raw)}, expected an object of nodes", received=raw)
    if _is_editor_format(raw):
        raise _refusal(
            "this is the editor's save format; use the API format instead: in the editor, Workflow > Export (API)"
        )
    problems = [_twice(raw, node_id=raw.twice)] if isinstance(raw, _KeyTwice) else []
    nodes: dict[NodeId, DocNode] = {}
    for node_id, entry in raw.items():
        nodes[node_id] = _node(entry)
        if not _is_plain(entry):
            problems.extend(_faults(node_id, entry))
    return Document(nodes, tuple(problems))


def write(document: Document, indent: int | None = None) -> str:
    """API-format JSON in ASCII, which `parse` reads back as an equal document."""
    return json.dumps(as_json(document), indent=indent)


def as_json(document: Document) -> dict[str, dict[str, object]]:
    """What `write` writes."""
    return {key: _written(node) for key, node in document.nodes.items()}


class _KeyTwice(dict[str, object]):
    """A JSON object in which `twice` was given more than once."""

    twice: str = ""


def json_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object that knows whether one of its keys was given twice, for `read`."""
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    seen: set[str] = set()
    marked = _KeyTwice(plain)
    marked.twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return marked


def _is_editor_format(raw: Mapping[str, object]) -> bool:
    return isinstance(raw.get("nodes"), list)


def _node(entry: object) -> DocNode:
    if not isinstance(entry, dict):
        return DocNode("")
    class_type, inputs, meta = entry.get("class_type"), entry.get("inputs"), entry.get("_meta")
    return DocNode(
        class_type if isinstance(class_type, str) else "",
        {name: _input(value) for name, value in inputs.items()} if isinstance(inputs, dict) else {},
        meta if isinstance(meta, dict) else {},
    )


def _input(value: object) -> object:
    if not isinstance(value, list | dict):
        return value
    match value:
        case [str() | int() as node, int() as slot] if not isinstance(node, bool) and not isinstance(slot, bool):
            return Link(str(node), slot)
        case {"__value__": wrapped}:
            return _frozen(wrapped)
        case dict() if is_sweep(value):
            return read_sweep(value, lambda one: one if isinstance(one, dict) and is_sweep(one) else _input(one))
        case _:
            return value


def literal(value: object) -> object:
    """A value as documents hold it: a list is a tuple, so that it is no link; several values are a sweep."""
    return _frozen(value) if isinstance(value, list) else _input(value)


def _frozen(value: object) -> object:
    match value:
        case list():
            return tuple(map(_frozen, value))
        case dict():
            return {key: _frozen(item) for key, item in value.items()}
        case _:
            return value


def _is_plain(entry: object) -> bool:
    """Whether a node is as nearly all are, with nothing that could be wrong: a type, scalars and links, short notes."""
    if type(entry) is not dict or not entry.keys() <= _MEMBERS:
        return False
    class_type, inputs, meta = entry.get("class_type"), entry.get("inputs", {}), entry.get("_meta", {})
    return (
        type(class_type) is str
        and class_type != ""
        and type(inputs) is dict
        and type(meta) is dict
        and all(type(value) in _EXACT or _is_simple(value) for value in inputs.values())
        and all(type(value) in _EXACT for value in meta.values())
    )


def _is_simple(value: object) -> bool:
    """A finite number, or a list of two scalars, as a link is."""
    if type(value) is float:
        return math.isfinite(value)
    return type(value) is list and len(value) == 2 and type(value[0]) in _EXACT and type(value[1]) in _EXACT


def _faults(node_id: NodeId, entry: object) -> Iterator[GraphError]:
    containers = list(_containers(entry))
    if not isinstance(entry, dict):
        message = f"got {brief(entry)}, expected an object with class_type and inputs"
        yield GraphError("invalid_prompt", message, node_id, received=entry, expected="an object")
        return
    class_type = entry.get("class_type")
    if not isinstance(class_type, str) or not class_type:
        given = f"got {brief(class_type)} as class_type" if "class_type" in entry else "class_type is missing"
        yield GraphError("invalid_prompt", f"{given}, expected a node type", node_id, received=class_type)
        class_type = ""
    for name, kind in (("inputs", dict), ("_meta", dict)):
        if not isinstance(entry.get(name, {}), kind):
            message = f"got {brief(entry[name])} as {name}, expected an object"
            yield GraphError("invalid_prompt", message, node_id, class_type, received=entry[name])
    for path, found in containers:
        input_name = path[1] if len(path) > 1 and path[0] == "inputs" else ""
        if isinstance(found, _KeyTwice):
            owner = input_name or (found.twice if path == ("inputs",) else "")
            yield _twice(found, node_id, class_type, owner)
        if path[:1] != ("inputs",):
            continue  # old pictures have `is_changed: NaN` there
        for key, value in found.items() if isinstance(found, dict) else enumerate(found):
            if isinstance(value, float) and not math.isfinite(value):
                owner = str(key) if path == ("inputs",) else input_name
                message = f"got {value!r}, expected a finite number"
                yield GraphError("invalid_input_type", message, node_id, class_type, owner, value, "a finite number")


def _twice(found: _KeyTwice, node_id: NodeId = "", node_type: str = "", input_name: str = "") -> GraphError:
    message = f"the key {found.twice!r} is given more than once"
    return GraphError("duplicate_key", message, node_id, node_type, input_name, found.twice, "every key once")


def _containers(entry: object) -> Iterator[tuple[tuple[str, ...], Container]]:
    """All objects and lists of a node, each with the first three keys of its path. Raises GraphErrors for deep ones."""
    stack: list[tuple[int, tuple[str, ...], object]] = [(1, (), entry)]
    while stack:
        depth, path, found = stack.pop()
        if isinstance(found, dict):
            stack.extend(
                [(depth + 1, (*path, key)[:3], it) for key, it in found.items() if isinstance(it, dict | list)]
            )
        elif isinstance(found, list):
            stack.extend([(depth + 1, path, it) for it in found if isinstance(it, dict | list)])
        else:
            continue
        if depth >= MAX_DEPTH:
            raise _too_deep()
        yield path, found


def _written(node: DocNode) -> dict[str, object]:
    entry: dict[str, object] = {
        "class_type": node.class_type,
        "inputs": {name: as_written(value) for name, value in node.inputs.items()},
    }
    if node.meta:
        entry["_meta"] = dict(node.meta)
    return entry


def as_written(value: object) -> object:
    """The value of an input as the JSON of a document has it."""
    match value:
        case Link(node, slot):
            return [node, slot]
        case tuple():
            return {"__value__": value}
        case Sweep(raw=raw):
            return raw
        case _:
            return value


def _too_deep() -> GraphErrors:
    return _refusal(f"brackets are nested deeper than {MAX_DEPTH} levels", "invalid_json")


def _refusal(message: str, code: str = "invalid_prompt", received: object = None) -> GraphErrors:
    return GraphErrors([GraphError(code, message, received=received)])
