"""The one loop of a backend: it alone decides what runs next, and waits for one thing, its inbox."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Generic, Self, TypeVar

from graph.at_hand import AtHand
from graph.build import BoundNode, Graph, Rule, build, enforce
from graph.cache import Cache
from graph.calls import Ending, Relief
from graph.context import Run
from graph.dispatch import Dispatch
from graph.errors import GraphErrors, Interrupted, NodeError, kind_of
from graph.files import Folders
from graph.fingerprint import Fingerprint, Namer
from graph.itemize import itemize
from graph.lists import uncalled
from graph.live import Live, Results, outcome
from graph.meter import Meter, metered
from graph.multiply import multiply
from graph.plan import Frontier, Lookup, Task
from graph.reads import Reads
from graph.result import Expand, Need, Outputs, Pending, Result
from graph.scope import Scope
from graph.slices import sliced
from graph.spec import Registry
from graph.watch import GRACE_SECONDS

S = TypeVar("S")

_logger = logging.getLogger(__name__)
_PATIENCE = 0.5
"""Seconds to wait for io before looking up. Signals are handled between waits: on Windows always, elsewhere when one
arrives just before a wait begins."""

_MOST_FAULTS = 100
"""Failures of the loop itself, one after the other, after which it gives up."""


@dataclass(frozen=True, slots=True)
class _Submitted:
    live: Live


@dataclass(frozen=True, slots=True)
class _Settled:
    live: Live
    task: Task
    future: Future[Result | Ending]


@dataclass(frozen=True, slots=True)
class _Called:
    function: Callable[[], None]


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
        self._registry = registry
        self._folders = folders
        self._cache = cache
        self._known = AtHand(cache, folders)
        self._reads = Reads()
        self._salt = salt
        self._rules = rules
        self._checks = checks
        self._meter = meter
        self._session = uuid.uuid4().hex
        self._dispatch = Dispatch(services, scope, relief, io_workers, node_timeout, grace, self._conclude)
        self._inbox: SimpleQueue[_Submitted | _Settled | _Called | _Wake] = SimpleQueue()
        self._live: list[Live] = []
        self._reading: Future[None] = Future()
        self._reading.set_result(None)
        self._flights: dict[Fingerprint, list[tuple[Live, Task]]] = {}
        self._at: tuple[Live, Task | None] | None = None
        self._faults = 0
        self._serving = threading.Lock()
        self._gate = threading.Lock()
        self._open = True

    @property
    def is_stuck(self) -> bool:
        """Whether a node does not end, so that nothing can run any more."""
        return self._dispatch.is_stuck

    def when_stuck(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called, in words and from another thread, when a node does not end and nothing can run any more."""
        self._dispatch.when_stuck(tell)

    def submit(self, run: Run, graph: Graph | None = None) -> Future[Results]:
        """Queue `run`; `graph` defaults to what `build` makes of its document.

        The future gives the results of the runnable targets, or raises NodeError or Interrupted, after the closing
        event. Raises GraphErrors, and tells no event, if no target can run or a file cannot be read.
        """
        graph = enforce(graph or build(run.document, self._registry, self._folders), (*self._rules, *self._checks))
        if not graph.targets:
            raise GraphErrors(graph.errors)
        graph, cells = multiply(graph)
        if run.share is not None:
            graph = graph.only(run.share.targets)
            graph = graph if run.share.slice is None else sliced(graph, run.share.slice)
        run = run.over(cells)
        if self._meter is not None:
            run = replace(run, emit=metered(run.emit, graph.nodes, self._meter))
        namer = Namer(self._folders, self._salt, self._reads)
        scope = Scope(graph.nodes, namer.name(graph))
        given = {} if run.share is None else {scope.names[it]: made for it, made in run.share.given.items()}
        known = partial(_known, given, self._known) if given else self._known
        live = Live(run, graph, namer, scope, Frontier(scope, graph.targets, known), cells)
        live.results.set_running_or_notify_cancel()
        with self._gate:  # whatever is let in is also seen by the loop before it ends
            if not self._open:
                raise RuntimeError("this executor is closed")
            self._inbox.put(_Submitted(live))
        run.cancel.waking(lambda: self._wake(live))
        return live.results

    def _wake(self, live: Live) -> None:
        """The run is to stop, or to end if it only writes. Any thread may call this."""
        if not live.run.cancel.is_set and not live.frontier.only_writes:
            live.run.cancel.set()
        self._inbox.put(_Wake())

    def remember(self, name: Fingerprint, outputs: Outputs) -> None:
        """Have a result at hand that another executor has made under this name: see `Run.keep`."""
        self._cache.put(name, outputs)

    def call(self, function: Callable[[], None]) -> None:
        """Have `function`, which raises nothing, called by the thread that serves, between two nodes. Raises RuntimeError
        once this is closed.
        """
        with self._gate:
            if not self._open:
                raise RuntimeError("this executor is closed")
            self._inbox.put(_Called(function))

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
        self._dispatch.close()

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
        message = "the engine failed here; its log says why"
        failed = NodeError(told, node.spec.type if node else "", message, kind=kind_of(error))
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
            for live, task, failure in self._dispatch.overdue(self._live):
                self._at = live, task
                self._stop(live, failure, task)
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
            case _Called(function):
                function()
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

    def _begin(self, live: Live) -> None:
        """Plan a run when its turn first comes, so that it finds what older runs have made."""
        names, cells = live.scope.names, live.cells
        named = partial(itemize, live.graph, names, self._folders, self._salt, self._session, cells)
        live.begin(named, self._cache)
        if live.frontier.done:
            self._conclude(live)

    def _step(self, live: Live, task: Task) -> None:
        if task.expansion is not None:
            self._take(live, task, self._dispatch.go_on(live, task))
        elif (waiting := self._flights.get(task.name)) is not None:
            waiting.append((live, task))
            live.waiting.add(task.name)
        else:
            inputs = live.frontier.inputs(task)
            outputs = self._known(task.node, task.name) or uncalled(task.node, inputs)
            if outputs is not None:
                self._finish(live, task, outputs, cached=True)
                return
            live.start(task)
            self._take(live, task, self._dispatch.start(live, task, inputs))

    def _take(self, live: Live, task: Task, result: Result | Ending) -> None:
        match result:
            case Outputs():
                self._finish(live, task, result)
            case Pending(future):
                self._park(live, task, future)
            case Need(names):
                self._stop_if(live, live.need(task, names), task)
            case Expand():
                self._stop_if(live, live.expand(task, result, self._registry, self._folders, self._rules), task)
            case NodeError() | Interrupted():
                self._stop(live, result, task)

    def _stop_if(self, live: Live, wrong: NodeError | None, task: Task) -> None:
        if wrong is not None:
            self._stop(live, wrong, task)

    def _finish(self, live: Live, task: Task, outputs: Outputs, cached: bool = False) -> None:
        if task.inside:
            outputs = replace(outputs, inside=tuple(task.inside))
        if not cached and live.is_sound(task):
            self._cache.put(task.name, outputs)
            live.keep(task, outputs)
            if not task.rounds:
                live.namer.read(task.name, task.sources)
        live.finish(task, outputs, cached)
        if live.frontier.done:
            self._conclude(live)

    def _park(self, live: Live, task: Task, future: Future[Result | Ending]) -> None:
        self._flights.setdefault(task.name, [])
        live.parked[future] = task
        future.add_done_callback(lambda settled: self._come_back(live, task, settled))

    def _come_back(self, live: Live, task: Task, future: Future[Result | Ending]) -> None:
        """A node has ended on a thread of its own. What it shows is told at once: the loop may be at work for minutes."""
        try:
            if isinstance(outputs := outcome(task, future), Outputs) and not live.results.done():
                live.tell_finished(task, outputs)
        finally:
            self._inbox.put(_Settled(live, task, future))

    def _land(self, task: Task) -> None:
        """Have those look again who waited for what this task made."""
        for other, twin in self._flights.pop(task.name, []):
            other.waiting.discard(task.name)
            if other.ending is None:
                other.frontier.again(twin)

    def _settle(self, live: Live, task: Task, future: Future[Result | Ending]) -> None:
        self._take(live, task, outcome(task, future))
        if live.ending is not None:
            self._stop(live, live.ending)

    def _stop(self, live: Live, ending: Ending, task: Task | None = None) -> None:
        """Start nothing more of this run; it ends when what is under way has come back."""
        live.stop(ending, task)
        if not live.parked:
            self._conclude(live)

    def _conclude(self, live: Live) -> None:
        self._forget(live)
        if live.close():
            self._read_files()

    def _forget(self, live: Live) -> None:
        if live in self._live:
            self._live.remove(live)

    def _read_files(self) -> None:
        """Have the pool find out what large files are: after a run, since no run should wait for it."""
        identity = self._folders.identity
        if not identity.is_settled and self._reading.done():
            self._reading = self._dispatch.beside(lambda: identity.settle(lambda: not self._open))
            self._reading.add_done_callback(_report)

    def _abandon(self) -> None:
        """Something broke out of the loop, such as KeyboardInterrupt: end every run without waiting for its io."""
        for live in list(self._live):
            self._stop(live, Interrupted())
            if live.parked:
                self._conclude(live)


def _known(given: Mapping[Fingerprint, Outputs], known: Lookup, node: BoundNode, name: Fingerprint) -> Outputs | None:
    """A result at hand, also of those that others have made."""
    return given.get(name) or known(node, name)


def _report(future: Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        _logger.error("files could not be read for their identity", exc_info=error)
