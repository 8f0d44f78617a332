"""The axes of a sweep, slowest first, and which of them each node depends on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from graph.document import NodeId
from graph.order import reachable, reverse
from graph.sweep import MOST, Alternatives, Axis, label

Swept = Mapping[NodeId, Mapping[str, Alternatives]]
"""The inputs that have several values, by node."""


@dataclass(frozen=True, slots=True)
class Layout:
    """`axes`: the one nearest the sources first, since it varies slowest: what stands on it is computed least often.

    `on` has, for each node, the axes that it depends on, and `through` for a gathering node those that end there.
    """

    axes: tuple[Axis, ...]
    on: Mapping[NodeId, tuple[int, ...]]
    through: Mapping[NodeId, tuple[int, ...]]

    def copies(self, axes: Iterable[int]) -> int:
        """How many places there are on some of the axes."""
        return prod(self.axes[axis].size for axis in axes)

    @property
    def nodes(self) -> int:
        """How many nodes the graph has once each stands for every combination that it depends on."""
        return sum(map(self.copies, self.on.values())) + sum(map(self.copies, self.through.values()))


def lay_out(
    sources: Mapping[NodeId, Sequence[NodeId]], swept: Swept, gathering: Collection[NodeId] = frozenset()
) -> Layout:
    """sources: in an order with sources first. gathering: nodes that run once for all cells before them.

    Inputs on one axis must have equally many values: see `faults`.
    """
    axes = sorted(_axes(swept), key=_Nearness(sources))
    named = tuple(_named(axis, axes) for axis in axes)
    own: dict[NodeId, set[int]] = {}
    for index, axis in enumerate(axes):
        for node_id, _ in axis.inputs:
            own.setdefault(node_id, set()).add(index)
    on: dict[NodeId, tuple[int, ...]] = {}
    through: dict[NodeId, tuple[int, ...]] = {}
    for node_id, read in sources.items():
        before = {axis for source in read for axis in on[source]}
        mine = own.get(node_id, set())
        if node_id in gathering:
            through[node_id] = tuple(sorted(before | mine))
            before = set()
        on[node_id] = tuple(sorted(before | mine))
    return Layout(named, on, through)


def faults(
    sources: Mapping[NodeId, Sequence[NodeId]], swept: Swept, gathering: Collection[NodeId] = frozenset()
) -> Iterator[tuple[NodeId, str, str]]:
    """What is wrong with a sweep as a whole: node, input, and a sentence."""
    first: dict[str, tuple[NodeId, str, int]] = {}
    for node_id, inputs in swept.items():
        for name, given in inputs.items():
            count = len(given.values)
            node, other, known = first.setdefault(given.axis, (node_id, name, count)) if given.axis else ("", "", count)
            if known != count:
                message = f"has {count} values on the axis {given.axis!r}, but {other!r} of node {node} has {known}"
                yield node_id, name, f"{message}; what is on one axis is taken in step"
                return
    layout = lay_out(sources, swept, gathering)
    if layout.nodes > MOST:
        largest = max(layout.axes, key=lambda axis: axis.size)
        node_id, name = largest.inputs[0]
        cells = max(map(layout.copies, layout.on.values()))
        size = f"{cells} combinations, {layout.nodes} nodes in all"
        yield node_id, name, f"makes this a sweep of {size}, and at most {MOST} nodes may be"


def _axes(swept: Swept) -> list[Axis]:
    found: dict[object, Axis] = {}
    for node_id, inputs in swept.items():
        for name, given in inputs.items():
            key = given.axis or (node_id, name)
            if (known := found.get(key)) is None:
                found[key] = Axis(given.axis or name, ((node_id, name),), tuple(map(label, given.values)))
            else:
                found[key] = Axis(known.name, (*known.inputs, (node_id, name)), known.labels)
    return list(found.values())


def _named(axis: Axis, axes: Sequence[Axis]) -> Axis:
    """With its node beside its name, where another axis has the same."""
    if sum(other.name == axis.name for other in axes) == 1:
        return axis
    return Axis(f"{axis.name} of {axis.inputs[0][0]}", axis.inputs, axis.labels)


class _Nearness:
    """How near the sources an axis is; of equally near ones, that which more nodes depend on comes first."""

    def __init__(self, sources: Mapping[NodeId, Sequence[NodeId]]) -> None:
        self._readers = reverse(sources)
        self._level: dict[NodeId, int] = {}
        for node_id, read in sources.items():
            self._level[node_id] = 1 + max((self._level[source] for source in read), default=-1)

    def __call__(self, axis: Axis) -> tuple[int, int]:
        nodes = [node_id for node_id, _ in axis.inputs]
        return min(self._level[node_id] for node_id in nodes), -len(reachable(nodes, self._readers))
