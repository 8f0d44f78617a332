"""Which nodes a loop runs, found by where the links of a graph lead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graph.build import BoundNode
from graph.document import DocNode, NodeId
from graph.order import reachable, reverse
from graph.scope import Scope

START, END = "StartLoop", "EndLoop"


class LoopError(Exception):
    """A loop without a beginning, or with several."""


@dataclass(frozen=True, slots=True)
class Body:
    """`start` is the loop's StartLoop, `nodes` are what runs in each iteration, `display` what stands for them."""

    start: NodeId
    nodes: Mapping[NodeId, DocNode]
    display: Mapping[NodeId, NodeId]


def body_of(end: NodeId, scope: Scope) -> Body:
    """What stands between the EndLoop called `end` and its StartLoop, with all nodes that write files from there.

    Of several EndLoops of one StartLoop, as in a swept graph, each has those that write what it rests on itself.
    Raises LoopError.
    """
    nodes = scope.nodes
    sources = {node_id: [link.node for link in node.links() if link.node in nodes] for node_id, node in nodes.items()}
    starts, readers = _Starts(nodes, sources), reverse(sources)
    start = starts.of(end)
    behind = reachable([start], readers) - {start}
    ends = [it for it in nodes if it in behind and nodes[it].spec.type == END and (it == end or starts.has(it, start))]
    inside = behind - reachable(ends, readers)
    before = {it: inside & reachable(sources[it], sources) for it in ends}
    writing = []
    for node_id in inside:
        if nodes[node_id].spec.terminal:
            own = inside & reachable([node_id], sources)
            if max(ends, key=lambda it: len(before[it] & own)) == end:
                writing.append(node_id)
    needed = inside & reachable([*sources[end], *writing], sources)
    return Body(
        start,
        {node_id: DocNode(nodes[node_id].spec.type, nodes[node_id].inputs) for node_id in nodes if node_id in needed},
        {node_id: scope.visible(node_id) or node_id for node_id in (start, *needed)},
    )


class _Starts:
    """Which StartLoop belongs to an EndLoop: the last one before it that no EndLoop in between has."""

    def __init__(self, nodes: Mapping[NodeId, BoundNode], sources: Mapping[NodeId, Sequence[NodeId]]) -> None:
        self._nodes = nodes
        self._sources = sources

    def of(self, end: NodeId) -> NodeId:
        """The beginning of the loop that ends at `end`."""
        found: dict[NodeId, NodeId] = {}
        for inner in [*self._before(end, END), end]:
            taken = {found[other] for other in self._before(inner, END)}
            free = [start for start in self._before(inner, START) if start not in taken]
            last = [start for start in free if not any(start in self._before(other, START) for other in free)]
            if len(last) != 1:
                raise LoopError(_complaint(last))
            found[inner] = last[0]
        return found[end]

    def has(self, end: NodeId, start: NodeId) -> bool:
        """Whether `end` is an end of the loop that begins at `start`."""
        try:
            return self.of(end) == start
        except LoopError:
            return False

    def _before(self, node_id: NodeId, type_name: str) -> list[NodeId]:
        """The nodes of a type that a node rests on, sources first."""
        before = reachable(self._sources[node_id], self._sources)
        return [it for it in self._nodes if it in before and self._nodes[it].spec.type == type_name]


def _complaint(starts: Sequence[NodeId]) -> str:
    if not starts:
        return "no Start Loop leads here: connect what the loop makes to this node"
    nodes = " and ".join(f"node {start}" for start in starts)
    return f"the Start Loops {nodes} both lead here: connect parent_iteration of the inner one to the outer one"
