"""What names a result, in parts that can be compared with what named another: small enough to be kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from graph.document import NodeId
from graph.sweep import Cell

Part: TypeAlias = tuple[object, ...]
"""`("value", JSON, digest)`, `("file", name, identity)` or `("link", node, slot, name of its result)`."""

LONGEST = 200
"""Characters of a value that are kept to be shown; what follows counts by its digest."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the result called `name` was made: by which code, from which inputs, and in which surroundings.

    `id` is the node in the graph that ran, `node` in the document: they differ for the copies of a sweep, whose `cell` says where they are. `session`
    is the start of the program; results are kept in memory, so a later one does not have them.
    """

    id: NodeId
    node: NodeId
    type: str
    name: str
    code: str
    surroundings: str
    session: str
    inputs: Mapping[str, Part]
    beside: str = ""
    destination: str = ""
    cell: Cell | None = None

    def text(self) -> str:
        """As JSON, which `read_recipe` reads back."""
        kept = {"code": self.code, "surroundings": self.surroundings, "session": self.session, "inputs": self.inputs}
        return _encode(kept | {"beside": self.beside, "destination": self.destination})


def read_recipe(node: NodeId, type_: str, name: str, text: str) -> Recipe:
    """A recipe that was kept."""
    kept = json.loads(text)
    inputs = {key: tuple(part) for key, part in kept.pop("inputs").items()}
    return Recipe(id=node, node=node, type=type_, name=name, inputs=inputs, **kept)
