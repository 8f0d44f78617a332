"""Edits of a workflow, as programs ask for them: nodes that are added, set and removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from graph.errors import brief
from graph.litegraph import id_of


@dataclass(frozen=True, slots=True)
class Add:
    """A new node. `name` is what later edits of the same call know it by, beside the id that it gets."""

    type: str
    name: str = ""
    inputs: Mapping[str, object] = field(default_factory=dict)
    title: str = ""


@dataclass(frozen=True, slots=True)
class Set:
    """Inputs of a node: a value, or `[node, output]` for a wire, whose output is a number or a name; None takes either
    away.
    """

    node: str
    inputs: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Remove:
    """A node goes, with its wires."""

    node: str


Edit: TypeAlias = Add | Set | Remove


class EditError(ValueError):
    """An edit that cannot be made; nothing of the call was done."""


def read_edits(raw: object) -> list[Edit]:
    """From JSON: `{"add": TYPE, "name", "inputs", "title"}`, `{"set": NODE, "inputs"}` or `{"remove": NODE}`.

    Raises EditError that names the edit by its place, counted from 1.
    """
    if not isinstance(raw, list):
        raise EditError(f"edits: got {brief(raw)}, expected a list")
    return [_read_edit(each, at) for at, each in enumerate(raw, 1)]


def _read_edit(raw: object, at: int) -> Edit:
    given = raw if isinstance(raw, Mapping) else {}
    inputs = given.get("inputs", {})
    if not isinstance(inputs, Mapping):
        raise EditError(f"edit {at}: inputs: got {brief(inputs)}, expected an object of values by input name")
    match given:
        case {"add": str(type_name)}:
            name, title = given.get("name", ""), given.get("title", "")
            return Add(type_name, id_of(name), inputs, title if isinstance(title, str) else "")
        case {"set": str() | int() as node}:
            return Set(id_of(node), inputs)
        case {"remove": str() | int() as node}:
            return Remove(id_of(node))
    raise EditError(f"edit {at}: got {brief(raw)}, expected an object with add, set or remove")
