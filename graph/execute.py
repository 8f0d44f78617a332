"""The one loop of a backend: it alone decides what runs next, and waits for one thing, its inbox."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, Self, TypeAlias, TypeVar

from graph.build import BoundNode, Graph, Rule, build, enforce
from graph.cache import Cache
from graph.calls import Ending, OverdueError, Relief, call, call_async, failure
from graph.cells import Cells
from graph.context import Context, Run
from graph.document import NodeId
from graph.errors import GraphErrors, Interrupted, NodeError
from graph.events import NodeFinished, NodesCached, NodeStarted, RunFailed, RunFinished, RunInterrupted, RunStarted
from graph.expansion import entered
from graph.files import Folders
from graph.fingerprint import Fingerprint, Namer
from graph.itemize import itemize
from graph.lanes import Lanes
from graph.lists import uncalled
from graph.meter import Meter, metered
from graph.multiply import multiply
from graph.plan import CycleError, Frontier, Task
from graph.result import Expand, Need, NodeWarning, Outputs, Pending, Result, files_of
from graph.scope import Scope
from graph.spec import Registry
from graph.watch import GRACE_SECONDS, Watch

S = TypeVar("S")

Results: TypeAlias = Mapping[NodeId, Outputs]
"""The outputs of a run's targets."""

_logger = logging.getLogger(__name__)
_PATIENCE = 0.5
"""Seconds to wait for io before looking up. Signals are handled between waits: on Windows always, elsewhere when one
arrives just before a wait begins."""

_MOST_FAULTS = 100
"""Failures of the loop itself, one after the other, after which it gives up."""


@dataclass(slots=True, eq=False)
class _Live:
    """A run between submission and its closing event."""

    run: Run
    graph: Graph
    namer: Namer
    scope: Scope
    frontier: Frontier
    cells: Cells | None = None
    results: Future[Results] = field(default_factory=Future)
    begun: bool = False
    started: dict[NodeId, float] = field(default_factory=dict)
    parked: dict[Future[Result | Ending], Task] = field(default_factory=dict)
    waiting: set[Fingerprint] = field(default_factory=set)  # for what another run is making
    spoilt: set[Fingerprint] = field(default_factory=set)  # results that are not what their names say
    ending: Ending | None = None
    stopped_at: tuple[NodeId, NodeId] = ("", "")
    closing: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class _Submitted:
    live: _Live


@dataclass(frozen=True, slots=True)
class _Settled:
    live: _Live
    task: Task
    future: Future[Result | Ending]


@dataclass(frozen=True, slots=True)
class _Wake:
    """A run was cancelled, or the executor closes."""


class Executor(Generic[S]):
    """Runs graphs. Any thread may submit; one at a time serves, and runs the nodes of lane `device` itself.

    The oldest run goes first; a younger one gets the loop while all that is left of the older waits for io.
    `scope` wraps every call of a node function, in the thread that makes it. `salt` stands for whatever else
    results depend on: code, precision, device kind. `rules` hold for every graph, whoever built it; `checks` for those that are
    submitted, which they keep from running in vain. `relief` is
    for device nodes that run out of memory, `meter` measures what they need. `node_timeout`: seconds after which the run
    of a node fails; a device node that does not even end then leaves the loop stuck: see `when_stuck`.
    """

    def __init__(
        self,
        services: S,
        registry: Registry,
        folders: Folders,
        cache: Cache,
        *,
        scope: Callable[[], AbstractContextManager[object]] = nullcontext,
        salt: str = "",
        rules: Sequence[Rule] = (),
        checks: Sequence[Rule] = (),
        relief: Relief | None = None,
        meter: Meter | None = None,
        io_workers: int = 2,
        node_timeout: float | None = None,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._services = services
        self._registry = registry
        self._folders = folders
        self._cache = cache
        self._scope = scope
        self._salt = salt
        self._rules = rules
        self._checks = checks
        self._relief = relief
        self._meter = meter
        self._session = uuid.uuid4().hex
        self._limit = node_timeout
        self._tell_stuck: Callable[[str], None] = _logger.critical
        self._watch = None
        if node_timeout is not None:
            self._watch = Watch[tuple[_Live, Task]](node_timeout, self._late, self._too_late, self._never, grace)
        self._lanes = Lanes(io_workers, scope)
        self._inbox: SimpleQueue[_Submitted | _Settled | _Wake] = SimpleQueue()
        self._live: list[_Live] = []
        self._reading: Future[None] = Future()
        self._reading.set_result(None)
        self._flights: dict[Fingerprint, list[tuple[_Live, Task]]] = {}
        self._at: tuple[_Live, Task | None] | None = None
        self._faults = 0
        self._serving = threading.Lock()
        self._gate = threading.Lock()
        self._open = True
        self.is_stuck = False

    def when_stuck(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called, in words and from another thread, when a node does not end and nothing can run any more."""
        self._tell_stuck = tell

    def submit(self, run: Run, graph: Graph | None = None) -> Future[Results]:
        """Queue `run`; `graph` defaults to what `build` makes of its document.

        The future gives the results of the runnable targets, or raises NodeError or Interrupted, after the closing
        event. Raises GraphErrors, and tells no event, if no target can run or a file cannot be read.
        """
        graph = enforce(graph or build(run.document, self._registry, self._folders), (*self._rules, *self._checks))
        if not graph.targets:
            raise GraphErrors(graph.errors)
        graph, cells = multiply(graph)
        run = run.over(cells)
        if self._meter is not None:
            run = replace(run, emit=metered(run.emit, graph.nodes, self._meter))
        namer = Namer(self._folders, self._salt)
        scope = Scope(graph.nodes, namer.name(graph))
        live = _Live(run, graph, namer, scope, Frontier(scope, graph.targets, self._known), cells)
        live.results.set_running_or_notify_cancel()
        with self._gate:  # whatever is let in is also seen by the loop before it ends
            if not self._open:
                raise RuntimeError("this executor is closed")
            self._inbox.put(_Submitted(live))
        run.cancel.waking(lambda: self._inbox.put(_Wake()))
        return live.results

    def serve(self) -> None:
        """Run what is submitted until `close`. Raises RuntimeError if another thread serves already."""
        with self._loop():
            self._turn(until=self._is_over)

    def execute(self, run: Run, graph: Graph | None = None) -> Results:
        """Submit `run`, serve until it has ended, and return its results or raise as `submit` says."""
        with self._loop():
            results = self.submit(run, graph)
            self._turn(until=results.done)
        return results.result()

    def close(self) -> None:
        """Interrupt what is live, wait for it, and end `serve`. Not to be called from within a run."""
        with self._gate:
            self._open = False
        for live in list(self._live):
            live.run.cancel.set()
        self._inbox.put(_Wake())
        with self._serving:
            self._turn(until=self._is_over)
        self._lanes.close()
        if self._watch is not None:
            self._watch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def _loop(self) -> Iterator[None]:
        if not self._serving.acquire(blocking=False):
            raise RuntimeError("another thread serves this executor")
        try:
            yield
        finally:
            self._serving.release()

    def _is_over(self) -> bool:
        return not self._open and not self._live and self._inbox.empty()

    def _turn(self, until: Callable[[], bool]) -> None:
        try:
            while not until():
                try:
                    if not self._inbox.empty() or not self._advance():
                        self._receive()
                    self._faults = 0
                except Exception as error:  # noqa: BLE001
                    self._survive(error)
        except BaseException:
            self._abandon()
            raise

    def _survive(self, error: Exception) -> None:
        """The loop itself failed: whatever it was at fails, and everything else goes on."""
        self._faults += 1
        if self._at is None or self._faults > _MOST_FAULTS:
            raise error
        live, task = self._at
        _logger.error("the engine failed on run %s", live.run.id, exc_info=error)
        node, told = (task.node, task.id) if task is not None else (None, "")
        failed = NodeError(told, node.spec.type if node else "", "the engine failed here; its log says why")
        failed.__cause__ = error
        try:
            self._stop(live, failed, task)
        except Exception:
            _logger.exception("run %s could not be ended", live.run.id)
            self._forget(live)
            if not live.results.done():
                live.results.set_exception(failed)

    def _receive(self) -> None:
        try:
            message = self._inbox.get(timeout=_PATIENCE if self._live else None)
        except Empty:
            self._fail_overdue()
            return
        match message:
            case _Submitted(live):
                self._live.append(live)
            case _Settled(live, task, future):
                self._at = live, task
                is_live = live.parked.pop(future, None) is not None
                self._land(task)
                if is_live and not live.results.done():
                    self._settle(live, task, future)
        for live in list(self._live):
            if live.run.cancel.is_set or not self._open:
                self._at = live, None
                self._stop(live, Interrupted())

    def _advance(self) -> bool:
        """Do one thing for the oldest run that has something to do."""
        for live in self._live:
            if not live.begun:
                self._at = live, None
                self._begin(live)
                return True
            if live.ending is not None:
                continue
            if (task := live.frontier.ready()) is not None:
                self._at = live, task
                self._step(live, task)
                return True
            if not live.parked and not live.waiting:
                self._at = live, None
                raise RuntimeError("nothing is left to do, and the run is not done")
        return False

    def _begin(self, live: _Live) -> None:
        """Plan a run when its turn first comes, so that it finds what older runs have made."""
        live.begun = True
        run, targets = live.run, live.graph.targets
        cached = live.frontier.plan()
        names, cells = live.scope.names, live.cells
        named = partial(itemize, live.graph, names, self._folders, self._salt, self._session, cells)
        run.tell(RunStarted(run.id, live.graph.order, recipes=named))
        run.tell(NodesCached(run.id, cached))
        for problem in live.graph.warnings:
            run.tell_warnings(problem.node_id, [NodeWarning(problem.message, problem.input_name)])
        self._tell_old_warnings(live, cached)
        at_hand = live.frontier.results()
        for target in targets:
            if target in at_hand and at_hand[target].ui:
                run.tell(NodeFinished(run.id, target, at_hand[target].ui, cached=True))
        if live.frontier.done:
            self._conclude(live)

    def _tell_old_warnings(self, live: _Live, cached: Sequence[NodeId]) -> None:
        """What the results at hand left out holds for this run too, also where nobody reads them any more."""
        if warned := self._cache.warned:
            for node_id in cached:
                name = live.scope.names[node_id]
                if name in warned and (outputs := self._cache.get(name)) is not None:
                    live.run.tell_warnings(node_id, outputs.warnings)

    def _step(self, live: _Live, task: Task) -> None:
        if task.expansion is not None:
            self._go_on(live, task)
        elif (waiting := self._flights.get(task.name)) is not None:
            waiting.append((live, task))
            live.waiting.add(task.name)
        else:
            inputs = live.frontier.inputs(task)
            outputs = self._known(task.node, task.name) or uncalled(task.node, inputs)
            if outputs is not None:
                self._finish(live, task, outputs, cached=True)
                return
            if task.id not in live.started:
                live.started[task.id] = time.perf_counter()
                live.run.tell(NodeStarted(live.run.id, task.id, None, task.display_id))
            self._take(live, task, self._start(live, task, inputs))

    def _start(self, live: _Live, task: Task, inputs: dict[str, object]) -> Result | Ending:
        """Run a device node here, others on their lane. `_conclude` empties the frontier after a failure, as `call`
        does the frames."""
        node, context = task.node, self._context(live, task)
        if node.spec.lane == "io":
            return Pending(self._lanes.io(partial(call, node, context, inputs, self._scope)))
        if node.spec.lane == "async":
            limit = node.spec.time_limit or self._limit
            return Pending(self._lanes.promise(call_async(node, context, inputs, limit)))
        if self._watch is None:
            return call(node, context, inputs, self._scope, self._relief)
        return self._watched(live, task, partial(call, node, context, inputs, self._scope, self._relief))

    def _go_on(self, live: _Live, task: Task) -> None:
        """What took the task's place is done."""
        expansion, made = task.expansion, live.frontier.made(task)
        assert expansion is not None
        then = expansion.then
        if then is None:
            self._take(live, task, Outputs(tuple(it.value for it in made), expansion.ui))
        else:
            context = self._context(live, task)
            proceed = partial(call, task.node, context, {}, self._scope, then=partial(then, made))
            self._take(live, task, self._watched(live, task, proceed))

    def _context(self, live: _Live, task: Task) -> Context[S]:
        return Context(task.id, live.run, self._services, display_id=task.display_id, scope=task.scope)

    def _watched(self, live: _Live, task: Task, work: Callable[[], Result | Ending]) -> Result | Ending:
        if self._watch is None:
            return work()
        with self._watch.over((live, task)):
            result = work()
        self.is_stuck = False
        return result

    def _take(self, live: _Live, task: Task, result: Result | Ending) -> None:
        match result:
            case Outputs():
                self._finish(live, task, result)
            case Pending(future):
                self._park(live, task, future)
            case Need(names):
                self._need(live, task, names)
            case Expand():
                self._expand(live, task, result)
            case NodeError() | Interrupted():
                self._stop(live, result, task)

    def _need(self, live: _Live, task: Task, names: Sequence[str]) -> None:
        try:
            if not live.frontier.need(task, names):
                problem = f"asked for {', '.join(map(repr, names))}, which is no lazy input that is still to come"
                self._stop(live, NodeError(task.id, task.node.spec.type, problem), task)
        except CycleError:
            self._stop(live, _cycle(task), task)

    def _expand(self, live: _Live, task: Task, expansion: Expand) -> None:
        """Put what a node expanded to in its place."""
        self._note_spoilt(live, task)
        try:
            inner, targets = entered(task, expansion, self._registry, self._folders, live.namer, self._rules)
            live.frontier.expand(task, expansion, inner, targets)
            for target, outputs in live.frontier.at_hand(inner, targets):
                task.shows = True
                told = NodeFinished(live.run.id, inner.prefix + target, outputs.ui, cached=True)
                live.run.tell(replace(told, display_id=inner.visible(target)))
        except GraphErrors as errors:
            message = "; ".join(f"its expansion cannot run: {problem}" for problem in errors.problems[:3])
            self._stop(live, NodeError(task.id, task.node.spec.type, message), task)
        except CycleError:
            self._stop(live, _cycle(task), task)

    def _finish(self, live: _Live, task: Task, outputs: Outputs, cached: bool = False) -> None:
        run = live.run
        if not cached and not task.shows and self._is_sound(live, task):
            self._cache.put(task.name, outputs)
        twins = live.frontier.finish(task, outputs)
        if cached:
            run.tell_warnings(task.id, outputs.warnings, task.display_id)
            run.tell(NodeFinished(run.id, task.id, outputs.ui, cached=True, display_id=task.display_id))
        else:
            _tell_finished(live, task, outputs)
        for twin, shown_at in twins:
            run.tell_warnings(twin, outputs.warnings, shown_at)
            run.tell(NodeFinished(run.id, twin, outputs.ui, cached=True, display_id=shown_at))
        if live.frontier.done:
            self._conclude(live)

    def _is_sound(self, live: _Live, task: Task) -> bool:
        """Whether a result is what its name says. It is not, if a file was another when the node read it."""
        if live.namer.stands(task.name):
            if live.spoilt:
                self._note_spoilt(live, task)
            return task.name not in live.spoilt
        live.spoilt.add(task.name)
        replaced = NodeWarning("a file that it reads was replaced at the same time; run the workflow again")
        live.run.tell_warnings(task.id, [replaced], task.display_id)
        return False

    def _note_spoilt(self, live: _Live, task: Task) -> None:
        if live.spoilt and not live.spoilt.isdisjoint(task.sources):
            live.spoilt.add(task.name)

    def _park(self, live: _Live, task: Task, future: Future[Result | Ending]) -> None:
        self._flights.setdefault(task.name, [])
        live.parked[future] = task
        future.add_done_callback(lambda settled: self._come_back(live, task, settled))

    def _come_back(self, live: _Live, task: Task, future: Future[Result | Ending]) -> None:
        """A node has ended on a thread of its own. What it shows is told at once: the loop may be at work for minutes."""
        try:
            if isinstance(outputs := _outcome(task, future), Outputs) and not live.results.done():
                _tell_finished(live, task, outputs)
        finally:
            self._inbox.put(_Settled(live, task, future))

    def _land(self, task: Task) -> None:
        """Have those look again who waited for what this task made."""
        for other, twin in self._flights.pop(task.name, []):
            other.waiting.discard(task.name)
            if other.ending is None:
                other.frontier.again(twin)

    def _settle(self, live: _Live, task: Task, future: Future[Result | Ending]) -> None:
        self._take(live, task, _outcome(task, future))
        if live.ending is not None:
            self._stop(live, live.ending)

    def _stop(self, live: _Live, ending: Ending, task: Task | None = None) -> None:
        """Start nothing more of this run; it ends when what is under way has come back."""
        if live.ending is None:
            live.ending = live.run.as_written(ending, task.display_id if task is not None else "")
            live.stopped_at = (task.id, task.display_id) if task is not None else (next(iter([*live.started]), ""), "")
            for future in list(live.parked):
                future.cancel()
        if not live.parked:
            self._conclude(live)

    def _conclude(self, live: _Live) -> None:
        """End the run, once: its node may come back while the watch ends it for being late."""
        self._forget(live)
        if not live.closing.acquire(blocking=False):
            return
        run, (stopped_at, shown_at) = live.run, live.stopped_at
        match live.ending:
            case None:
                run.tell(RunFinished(run.id))
                live.results.set_result(live.frontier.results())
            case NodeError() as error:
                run.tell(RunFailed(run.id, error, display_id=shown_at))
                live.results.set_exception(error)
            case Interrupted() as stop:
                run.tell(RunInterrupted(run.id, stopped_at, display_id=shown_at))
                live.results.set_exception(stop)
        live.frontier.release()
        self._read_files()

    def _forget(self, live: _Live) -> None:
        if live in self._live:
            self._live.remove(live)

    def _read_files(self) -> None:
        """Have the pool find out what large files are: after a run, since no run should wait for it."""
        identity = self._folders.identity
        if not identity.is_settled and self._reading.done():
            self._reading = self._lanes.io(lambda: identity.settle(lambda: not self._open))
            self._reading.add_done_callback(_report)

    def _abandon(self) -> None:
        """Something broke out of the loop, such as KeyboardInterrupt: end every run without waiting for its io."""
        for live in list(self._live):
            self._stop(live, Interrupted())
            if live.parked:
                self._conclude(live)

    def _known(self, node: BoundNode, name: Fingerprint) -> Outputs | None:
        """The result at hand, unless it says that files were written and they are gone, or rests on files that are no
        more what they were."""
        outputs = self._cache.get(name)
        if outputs is None or (outputs.ui and node.spec.terminal and not self._folders.has_files(outputs.ui)):
            return None
        if not outputs.values:
            return outputs
        still = self._folders.identity.still
        for value in outputs.values:
            if (files := files_of(value)) and not all(still(path, identity) for path, identity in files):
                return None
        return outputs

    def _fail_overdue(self) -> None:
        """End the runs whose io nodes take longer than they may, and leave those to themselves."""
        if self._limit is None:
            return
        now = time.perf_counter()
        for live in list(self._live):
            for future, task in list(live.parked.items()):
                late = task.node.spec.lane == "io" and now - live.started.get(task.id, now) > self._limit
                if late and not future.done():
                    self._at = live, task
                    del live.parked[future]
                    self._lanes.replace_pool()
                    self._stop(live, _overdue(task, self._limit), task)

    def _late(self, watched: tuple[_Live, Task]) -> None:
        """A device node takes longer than it may: it is asked to stop, and the run will have failed."""
        live, task = watched
        assert self._limit is not None
        live.ending = live.ending or live.run.as_written(_overdue(task, self._limit), task.display_id)
        live.stopped_at = task.id, task.display_id
        live.run.cancel.set()

    def _too_late(self, watched: tuple[_Live, Task]) -> None:
        """It does not stop: the run ends without it."""
        self._conclude(watched[0])

    def _never(self, watched: tuple[_Live, Task]) -> None:
        """It does not end: nothing can run any more."""
        task = watched[1]
        self.is_stuck = True
        self._tell_stuck(
            f"node {task.id} ({task.node.spec.type}) does not end, and no thread can be stopped from outside"
        )


def _outcome(task: Task, future: Future[Any]) -> Result | Ending:
    """What a future came to, whoever made it."""
    if future.cancelled():
        return Interrupted()
    if (error := future.exception()) is not None:
        return error if isinstance(error, NodeError | Interrupted) else failure(task.node, task.id, {}, error)
    result = future.result()
    if isinstance(result, Outputs | Pending | Need | Expand | NodeError | Interrupted):
        return result
    return failure(task.node, task.id, {}, TypeError(f"its future gave {type(result).__name__}, expected Outputs"))


def _overdue(task: Task, limit: float) -> NodeError:
    return failure(task.node, task.id, {}, OverdueError(limit))


def _cycle(task: Task) -> NodeError:
    message = "its expansion, or an input that it asked for, waits for this node itself"
    return NodeError(task.id, task.node.spec.type, message)


def _tell_finished(live: _Live, task: Task, outputs: Outputs) -> None:
    """Tell that a node has run, unless that was told before."""
    if (begun := live.started.pop(task.id, None)) is not None:
        seconds = time.perf_counter() - begun
        live.run.tell(NodeFinished(live.run.id, task.id, outputs.ui, seconds, False, None, None, task.display_id))


def _report(future: Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        _logger.error("files could not be read for their identity", exc_info=error)
