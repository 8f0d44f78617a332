"""Values that would suit a node better than those it has: hints, which change nothing until somebody takes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Value = int | float | str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What would suit. values: by input, which belong together; model: what they suit; file: where that is known from."""

    node_id: str
    values: Mapping[str, Value]
    model: str
    file: str

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return {"node_id": self.node_id, "values": dict(self.values), "model": self.model, "file": self.file}
