"""What a run still has to do, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from graph.build import BoundNode, Graph
from graph.document import Link, NodeId
from graph.fingerprint import Fingerprint
from graph.result import Outputs

AHEAD = 4
"""Results that io nodes may make before a device node needs them: a thousand pictures do not fit into memory at once."""


@dataclass(slots=True, eq=False)
class _Task:
    """A result to be made by `node`. `twins` are nodes of equal name, which get the same without running."""

    node: BoundNode
    sources: list[Fingerprint]
    waiting: int = 0
    readers: list[_Task] = field(default_factory=list)
    twins: list[NodeId] = field(default_factory=list)


class Frontier:
    """Walks back from the targets, stops at results that are at hand, and hands out what is left.

    The newest ready node comes first (depth first: few values alive, early results). Before all others come io nodes:
    those that write results at once, those that make some up to `AHEAD`, and beyond that when nothing else is ready.
    Holds results strongly until their last reader has run, so nothing that happens to a cache can break a run.
    """

    def __init__(self, graph: Graph, names: Mapping[NodeId, Fingerprint]) -> None:
        self._graph = graph
        self._names = names
        self._wanted = {names[target] for target in graph.targets}
        self._tasks: dict[Fingerprint, _Task] = {}
        self._held: dict[Fingerprint, Outputs] = {}
        self._unread: dict[Fingerprint, int] = {}
        self._sinks: list[_Task] = []
        self._io: list[_Task] = []
        self._under_way: set[Fingerprint] = set()  # io nodes handed out that have not come back
        self._ahead: set[Fingerprint] = set()  # these, and those whose results wait for a reader
        self._device: list[_Task] = []

    @property
    def done(self) -> bool:
        """Whether every target has its result, once planned."""
        return not self._tasks

    def release(self) -> None:
        """Let go of every result: the run is over."""
        self._held.clear()

    def plan(self, lookup: Callable[[BoundNode, Fingerprint], Outputs | None]) -> tuple[NodeId, ...]:
        """Find out what has to run, and return the nodes that need not, sources first.

        Walks depth first, first target first; `ready` pops from the end, hence the reversals.
        """
        nodes, names = self._graph.nodes, self._names
        path: list[BoundNode | _Task] = [nodes[target] for target in reversed(self._graph.targets)]
        while path:
            entry = path.pop()
            if isinstance(entry, _Task):
                self._connect(entry)
                continue
            name = names[entry.id]
            if name in self._tasks or name in self._held:
                continue
            if (outputs := lookup(entry, name)) is not None:
                self._held[name] = outputs
                continue
            links = [link.node for link in entry.links()]
            task = self._tasks[name] = _Task(entry, list(dict.fromkeys(names[source] for source in links)))
            path.append(task)
            path.extend(nodes[source] for source in reversed(links))
        for ready in (self._sinks, self._io, self._device):
            ready.reverse()
        return self._at_hand()

    def ready(self) -> BoundNode | None:
        """The node to run next, handed out once; None while all that is left waits for others."""
        if self._sinks:
            return self._sinks.pop().node
        if self._io and len(self._under_way) < AHEAD and (len(self._ahead) < AHEAD or not self._device):
            node = self._io.pop().node
            self._under_way.add(self._names[node.id])
            self._ahead.add(self._names[node.id])
            return node
        return self._device.pop().node if self._device else None

    def again(self, node: BoundNode) -> None:
        """Take back a node that was handed out."""
        self._under_way.discard(self._names[node.id])
        self._ahead.discard(self._names[node.id])
        self._push(self._tasks[self._names[node.id]])

    def inputs(self, node: BoundNode) -> dict[str, object]:
        """What to call `node` with; its sources have run."""
        held, names = self._held, self._names
        return {
            name: held[names[value.node]].values[value.slot] if type(value) is Link else value
            for name, value in node.inputs.items()
        }

    def finish(self, node: BoundNode, outputs: Outputs) -> list[NodeId]:
        """Take the result of `node`, let go of inputs that nobody needs any more, and return its twins."""
        name = self._names[node.id]
        task = self._tasks.pop(name)
        self._under_way.discard(name)
        if task.readers or name in self._wanted:
            self._held[name] = outputs
        if not task.readers:
            self._ahead.discard(name)
        for source in task.sources:
            self._unread[source] -= 1
            if not self._unread[source]:
                self._ahead.discard(source)
                if source not in self._wanted:
                    del self._held[source]
        for reader in reversed(task.readers):
            reader.waiting -= 1
            if not reader.waiting:
                self._push(reader)
        return task.twins

    def results(self) -> dict[NodeId, Outputs]:
        """The outputs of the targets that have run."""
        held = ((target, self._held.get(self._names[target])) for target in self._graph.targets)
        return {target: outputs for target, outputs in held if outputs is not None}

    def _connect(self, task: _Task) -> None:
        """Called once all that `task` reads is in `_tasks` or at hand."""
        for source in task.sources:
            self._unread[source] = self._unread.get(source, 0) + 1
            if (maker := self._tasks.get(source)) is not None:
                maker.readers.append(task)
                task.waiting += 1
        if not task.waiting:
            self._push(task)

    def _push(self, task: _Task) -> None:
        spec = task.node.spec
        (self._device if spec.lane != "io" else self._sinks if spec.terminal else self._io).append(task)

    def _at_hand(self) -> tuple[NodeId, ...]:
        cached = []
        for node_id in self._graph.order:
            task = self._tasks.get(self._names[node_id])
            if task is None:
                cached.append(node_id)
            elif task.node.id != node_id:
                task.twins.append(node_id)
        return tuple(cached)
