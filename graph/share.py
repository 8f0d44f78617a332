"""What one process makes of a run that several share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graph.document import NodeId
from graph.result import Outputs


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the batch that `source` gives: the one with this `number`, from 0, `of` so many."""

    source: NodeId
    number: int
    of: int

    @property
    def taken(self) -> NodeId:
        """The node that takes it."""
        return f"{self.source}[{self.number}/{self.of}]"


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """Ids are those of the graph in which each copy of a swept node stands for itself: see `multiply`.

    `targets` are made here, of all those of the run. The results of `handed` of them are wanted by others. `given` are
    results that others have made. `slice`: they are made of a part of a batch.
    """

    targets: tuple[NodeId, ...]
    handed: frozenset[NodeId] = frozenset()
    given: Mapping[NodeId, Outputs] = field(default_factory=dict)
    slice: Slice | None = None
