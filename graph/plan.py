"""What a run still has to do, and in which order."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from graph.build import BoundNode
from graph.document import Link, NodeId
from graph.fingerprint import Fingerprint
from graph.order import reachable
from graph.result import LATER, Expand, Inside, Made, Outputs
from graph.scope import Place, Scope

AHEAD = 4
"""Results that io nodes may make before a device node needs them: a thousand pictures do not fit into memory at once."""

WRITING = 8
"""Results that wait to be written while the device goes on: a slow disk holds it up instead of filling the memory."""

LATER_WALKS = 2**32
"""Turns that are left for each walk after the first."""

TOGETHER = 32
"""Async nodes that are under way at once."""

Lookup: TypeAlias = Callable[[BoundNode, Fingerprint], Outputs | None]


class CycleError(Exception):
    """A node waits for what waits for it; `node_id` is on the way."""

    def __init__(self, node_id: NodeId) -> None:
        super().__init__(node_id)
        self.node_id = node_id


@dataclass(slots=True, eq=False)
class Task:
    """A result to be made by `node`, which events call `id`.

    `twins` are nodes of equal name, which get the same without running: what events call them, and what shows them.
    `turn`: when the walk had been to all that it reads. `expansion`: what takes the node's place, once it said so.
    `inside`: what nodes of its expansions have shown. `places`: where else equal nodes of expansions stand.
    """

    node: BoundNode
    name: Fingerprint
    scope: Scope
    id: NodeId
    display_id: NodeId = ""
    sources: list[Fingerprint] = field(default_factory=list)
    waiting: int = 0
    readers: list[Task] = field(default_factory=list)
    twins: list[tuple[NodeId, NodeId]] = field(default_factory=list)
    expansion: Expand | None = None
    inner: Scope | None = None
    rounds: int = 0
    inside: list[Inside] = field(default_factory=list)
    places: list[tuple[Scope, BoundNode]] = field(default_factory=list)
    turn: int = 0


class Frontier:
    """Walks back from the targets, stops at results that are at hand, and hands out what is left.

    Of the ready nodes that which the walk came to first comes first: depth first, so few values are alive, and in the
    order of the targets, so results come early and cells of a sweep in turn. Before all others come io nodes: those that
    write results, up to `WRITING`, those that make some up to `AHEAD`, and beyond that when nothing else is ready.
    Holds results strongly until their last reader has run, so nothing that happens to a cache can break a run.

    Lazy inputs are not followed until their node needs them, and an expanded node waits for its inner nodes; both may
    add tasks at any time.
    """

    def __init__(self, scope: Scope, targets: Sequence[NodeId], lookup: Lookup) -> None:
        """lookup: the result of a node that is at hand."""
        self._scope = scope
        self._targets = targets
        self._lookup = lookup
        self._wanted = {scope.names[target] for target in targets}
        self._tasks: dict[Fingerprint, Task] = {}
        self._held: dict[Fingerprint, Outputs] = {}
        self._unread: dict[Fingerprint, int] = {}
        self._expanded: list[Task] = []
        self._sinks: list[Task] = []
        self._io: list[Task] = []
        self._async: list[Task] = []
        self._device: list[Task] = []
        self._under_way: set[Fingerprint] = set()  # io nodes handed out that have not come back
        self._together: set[Fingerprint] = set()  # async nodes handed out that have not come back
        self._ahead: set[Fingerprint] = set()  # io nodes under way, and those whose results wait for a reader
        self._writing: set[Fingerprint] = set()  # io nodes handed out that write results
        self._met: list[Task] = []
        self._shown: list[tuple[Scope, Inside]] = []
        self._turn = 0
        self._walks = 0
        self._planned = False

    @property
    def done(self) -> bool:
        """Whether every target has its result, once planned."""
        return not self._tasks

    @property
    def only_writes(self) -> bool:
        """Whether nothing is left, once planned, but to write files. Any thread may ask."""
        return self._planned and all(task.node.spec.only_writes for task in list(self._tasks.values()))

    def release(self) -> None:
        """Let go of every result: the run is over."""
        self._held.clear()

    def plan(self) -> tuple[NodeId, ...]:
        """Find out what has to run, and return the nodes that need not, sources first.

        Walks depth first, first target first; `ready` pops from the end, hence the reversals.
        """
        self._walk([self._scope.place(target) for target in self._targets])
        for ready in (self._sinks, self._io, self._async, self._device):
            ready.reverse()
        self._shown.clear()
        self._planned = True
        return self._at_hand()

    def ready(self) -> Task | None:
        """The task to do next, handed out once; None while all that is left waits for others."""
        if self._expanded:
            return self._expanded.pop()
        if self._sinks:
            if len(self._writing) >= WRITING:
                return None
            task = self._sinks.pop()
            self._writing.add(task.name)
            return task
        if self._io and len(self._under_way) < AHEAD and (len(self._ahead) < AHEAD or not self._device):
            task = self._io.pop()
            self._under_way.add(task.name)
            self._ahead.add(task.name)
            return task
        if self._async and len(self._together) < TOGETHER:
            task = self._async.pop()
            self._together.add(task.name)
            return task
        return self._device.pop() if self._device else None

    def again(self, task: Task) -> None:
        """Take back a task that was handed out."""
        self._take_back(task)
        self._push(task)

    def inputs(self, task: Task) -> dict[str, object]:
        """What to call the task's node with; what it has asked for is there."""
        held, names, node = self._held, task.scope.names, task.node
        if task.scope.outer is None and node.spec.is_eager:
            return {
                name: held[names[value.node]].values[value.slot] if type(value) is Link else value
                for name, value in node.inputs.items()
            }
        return {
            name: self._input(task, value, declared.raw)
            for declared, (name, value) in zip(node.input_specs, node.inputs.items(), strict=True)
        }

    def need(self, task: Task, names: Iterable[str]) -> bool:
        """Have these lazy inputs computed, and the task handed out again; whether there is anything to compute.

        Raises CycleError.
        """
        links = [value for name in names if type(value := task.node.inputs.get(name)) is Link]
        places = [task.scope.place(link.node) for link in links]
        known = set(task.sources)
        fresh = [place for place in places if place[1] not in known]
        if fresh:
            self._take_back(task)
            self._wait(task, fresh)
        return bool(fresh)

    def expand(self, task: Task, expansion: Expand, inner: Scope, targets: Iterable[NodeId]) -> None:
        """Have the task wait for what takes its place: the outputs, and whatever else is a target there.

        Raises CycleError.
        """
        self._take_back(task)
        self._let_go(task)
        task.expansion, task.inner, task.sources = expansion, inner, []
        task.rounds += 1
        links = (output.node for output in expansion.outputs if type(output) is Link)
        self._wait(task, [inner.place(node_id) for node_id in dict.fromkeys((*links, *targets))])

    def shown(self) -> list[tuple[Scope, Inside]]:
        """What nodes of expansions show that were found at hand since the plan: each told once."""
        shown, self._shown = self._shown, []
        return shown

    def made(self, task: Task) -> tuple[Made, ...]:
        """The outputs of an expanded task."""
        assert task.expansion is not None
        assert task.inner is not None
        task.inside += task.inner.shown
        return tuple(self._output(task, task.inner, i, it) for i, it in enumerate(task.expansion.outputs))

    def finish(self, task: Task, outputs: Outputs) -> list[tuple[NodeId, NodeId]]:
        """Take the result of `task`, let go of inputs that nobody needs any more, and return its twins."""
        name = task.name
        del self._tasks[name]
        self._under_way.discard(name)
        self._together.discard(name)
        self._writing.discard(name)
        if task.readers or name in self._wanted:
            self._held[name] = outputs
        if not task.readers:
            self._ahead.discard(name)
        self._let_go(task)
        if outputs.ui or outputs.inside:
            for scope, node in ((task.scope, task.node), *task.places):
                scope.gather(node, outputs)
        for reader in reversed(task.readers):
            reader.waiting -= 1
            if not reader.waiting:
                self._push(reader)
        return task.twins

    def results(self) -> dict[NodeId, Outputs]:
        """The outputs of the targets that have run."""
        held, names = self._held, self._scope.names
        found = ((target, held.get(names[target])) for target in self._targets)
        return {target: outputs for target, outputs in found if outputs is not None}

    def _walk(self, starts: Sequence[Place]) -> None:
        """Make tasks of these and of all that they rest on, as far as it is not at hand."""
        tasks, held, lookup = self._tasks, self._held, self._lookup
        path: list[Place | Task] = list(reversed(starts))
        while path:
            entry = path.pop()
            if isinstance(entry, Task):
                self._turn += 1
                entry.turn = self._turn
                self._connect(entry, entry.sources)
                continue
            node, name, scope = entry
            if name in tasks:
                self._meet(tasks[name], node, scope)
                continue
            if (outputs := held.get(name) or lookup(node, name)) is not None:
                held[name] = outputs
                if outputs.ui or outputs.inside:
                    self._shown.extend((scope, it) for it in scope.gather(node, outputs))
                continue
            links = [scope.place(link.node) for link in _eager(node)]
            task = tasks[name] = Task(node, name, scope, scope.prefix + node.id, scope.visible(node.id))
            task.sources = list(dict.fromkeys([name for _, name, _ in links]))
            path.append(task)
            path.extend(reversed(links))

    def _meet(self, task: Task, node: BoundNode, scope: Scope) -> None:
        """A walk came to a task that is there already."""
        self._met.append(task)
        if scope.outer is not None:
            task.places.append((scope, node))
        if scope.outer is not None and (told := scope.prefix + node.id) != task.id:
            task.twins.append((told, scope.visible(node.id)))

    def _wait(self, task: Task, places: Sequence[Place]) -> None:
        """Have `task` wait for more than it did: that comes before all else. Raises CycleError."""
        self._met.clear()
        self._walks += 1
        self._turn = -LATER_WALKS * self._walks
        self._walk(places)
        names = list(dict.fromkeys(name for _, name, _ in places))
        own = self._tasks.get(task.name) is task and task.name in names
        if own or self._rests_on(self._met, task):
            raise CycleError(task.id)
        self._met.clear()
        task.sources += names
        self._connect(task, names)

    def _rests_on(self, starts: Sequence[Task], task: Task) -> bool:
        """Whether some of the tasks wait for `task`, directly or not."""
        seen, pending = set[int](), list(starts)
        while pending:
            current = pending.pop()
            if current is task:
                return True
            if id(current) not in seen:
                seen.add(id(current))
                pending.extend(self._tasks[source] for source in current.sources if source in self._tasks)
        return False

    def _connect(self, task: Task, sources: Sequence[Fingerprint]) -> None:
        """Called once all of `sources` is in `_tasks` or at hand."""
        for source in sources:
            self._unread[source] = self._unread.get(source, 0) + 1
            if (maker := self._tasks.get(source)) is not None:
                maker.readers.append(task)
                task.waiting += 1
        if not task.waiting:
            self._push(task)

    def _let_go(self, task: Task) -> None:
        """What `task` has read, it needs no more."""
        unread = self._unread
        for source in task.sources:
            if unread[source] > 1:
                unread[source] -= 1
                continue
            del unread[source]
            self._ahead.discard(source)
            if source not in self._wanted:
                del self._held[source]

    def _take_back(self, task: Task) -> None:
        self._under_way.discard(task.name)
        self._together.discard(task.name)
        self._writing.discard(task.name)
        self._ahead.discard(task.name)

    def _push(self, task: Task) -> None:
        spec = task.node.spec
        if task.expansion is not None:
            self._expanded.append(task)
            return
        if spec.lane == "device":
            ready = self._device
        elif spec.lane == "async":
            ready = self._async
        else:
            ready = self._sinks if spec.terminal else self._io
        if self._planned and ready and ready[-1].turn < task.turn:
            insort(ready, task, key=_from_the_end)
        else:
            ready.append(task)

    def _input(self, task: Task, value: object, raw: bool) -> object:
        if type(value) is Made:
            return value.value
        if type(value) is not Link or raw:
            return value
        name = task.scope.name(value.node)
        return self._held[name].values[value.slot] if name in task.sources else LATER

    def _output(self, task: Task, inner: Scope, index: int, output: object) -> Made:
        if type(output) is Link:
            name = inner.name(output.node)
            return Made(self._held[name].values[output.slot], name, output.slot)
        return output if type(output) is Made else Made(output, f"{task.name}.{task.rounds}", index)

    def _at_hand(self) -> tuple[NodeId, ...]:
        tasks, names = self._tasks, self._scope.names
        if not tasks:
            return tuple(names)
        later = self._later()
        cached = []
        for node_id, name in names.items():
            task = tasks.get(name)
            if task is None:
                if node_id not in later or name in self._held:
                    cached.append(node_id)
            elif task.id != node_id:
                task.twins.append((node_id, ""))
        return tuple(cached)

    def _later(self) -> set[NodeId]:
        """The nodes that only lazy inputs lead to: whether they run is not known yet."""
        nodes = self._scope.nodes
        lazy = [task.node for task in self._tasks.values() if not task.node.spec.is_eager]
        if not lazy:
            return set()
        links: Mapping[NodeId, list[NodeId]] = {it: [link.node for link in node.links()] for it, node in nodes.items()}
        return reachable([link.node for node in lazy for link in node.links()], links)


def _from_the_end(task: Task) -> int:
    """The order of tasks that are ready: the next one is the last."""
    return -task.turn


def _eager(node: BoundNode) -> Iterator[Link]:
    """The links whose values have to be there before the node is called."""
    if node.spec.is_eager:
        return node.links()
    specs = zip(node.input_specs, node.inputs.values(), strict=True)
    return (value for spec, value in specs if type(value) is Link and not spec.lazy)
