"""The copies of swept nodes as one node each: how far they are, and all that they show, in the order of the cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from graph.document import NodeId
from graph.events import NodesCached, RunStarted
from graph.sweep import Axis, Cell

Shown: TypeAlias = Mapping[str, Any]
"""What a node shows, as JSON: lists by name."""

LABEL = 200
"""Characters of a value that are told; the prompt has all."""


@dataclass(slots=True)
class Copies:
    """What a run has told of the nodes that stand in it more than once."""

    axes: tuple[Axis, ...] = ()
    copies: Mapping[NodeId, int] = field(default_factory=dict)
    _ended: dict[NodeId, set[str]] = field(default_factory=dict)
    _shown: dict[NodeId, dict[tuple[int, ...], Shown]] = field(default_factory=dict)

    def begin(self, started: RunStarted) -> None:
        """Learn which nodes stand more than once."""
        self.axes, self.copies = started.axes, started.copies

    def at_hand(self, cached: NodesCached) -> None:
        """Learn which copies need not run."""
        for node_id, cells in cached.cells.items():
            self._ended.setdefault(node_id, set()).update(cell.id for cell in cells)

    def ended(self, node_id: NodeId, cell: Cell) -> bool:
        """One copy has its result. Whether it was the last of its node."""
        ended = self._ended.setdefault(node_id, set())
        ended.add(cell.id)
        return len(ended) >= self.copies.get(node_id, 1)

    def progress(self, node_id: NodeId, part: float = 0.0) -> tuple[float, float]:
        """Copies that have ended, with a part of the one under way, and how many there are."""
        return len(self._ended.get(node_id, ())) + part, self.copies.get(node_id, 1)

    def show(self, node_id: NodeId, cell: Cell, shown: Shown) -> Shown:
        """Keep what one copy shows. Files then say which cell they are of."""
        marked = {name: [_marked(entry, cell) for entry in _listed(entries)] for name, entries in shown.items()}
        turn = tuple(axis.size if i is None else i for i, axis in zip(cell.at, self.axes, strict=False))
        self._shown.setdefault(node_id, {})[turn] = marked
        return marked

    def show_more(self, node_id: NodeId, cell: Cell, shown: Shown) -> Shown:
        """As `show`, of what stands inside the node: beside what the same copy has shown before."""
        before = dict(self._shown.get(node_id, {}))
        marked = self.show(node_id, cell, shown)
        for turn, entries in before.items():
            if self._shown[node_id][turn] is marked:
                self._shown[node_id][turn] = together(entries, marked)
        return marked

    def outputs(self, others: Mapping[NodeId, Any]) -> dict[NodeId, Any]:
        """What all nodes have shown so far: `others`, and of swept ones the cells one after the other."""
        whole = dict(others)
        for node_id, cells in self._shown.items():
            together: dict[str, list[object]] = {}
            for turn in sorted(cells):
                for name, entries in cells[turn].items():
                    together.setdefault(name, []).extend(entries)
            whole[node_id] = together
        return whole

    def sweep(self) -> dict[str, object] | None:
        """The axes as clients see them, slowest first; None where nothing is swept."""
        if not self.axes:
            return None
        return {
            "axes": [
                {
                    "name": axis.name,
                    "inputs": [{"node": node_id, "input": name} for node_id, name in axis.inputs],
                    "labels": [label[:LABEL] for label in axis.labels],
                }
                for axis in self.axes
            ]
        }


def together(first: Shown, second: Shown) -> Shown:
    """What was shown in turn, by name."""
    return {name: [*_listed(first.get(name, [])), *_listed(second.get(name, []))] for name in {**first, **second}}


def _listed(entries: object) -> list[object]:
    return list(entries) if isinstance(entries, list | tuple) else [entries]


def _marked(entry: object, cell: Cell) -> object:
    return {**entry, "cell": list(cell.at)} if isinstance(entry, dict) and cell.at else entry
