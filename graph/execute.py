"""The one loop of a backend: it alone decides what runs next, and waits for one thing, its inbox."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Generic, Self, TypeAlias, TypeVar

from graph.build import BoundNode, Graph, Rule, build, enforce
from graph.cache import Cache
from graph.calls import Ending, Relief, call
from graph.cells import Cells
from graph.context import Context, Run
from graph.document import NodeId
from graph.errors import GraphErrors, Interrupted, NodeError
from graph.events import (
    NodeFinished,
    NodesCached,
    NodeStarted,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
)
from graph.files import Folders
from graph.fingerprint import Fingerprint, fingerprints
from graph.itemize import itemize
from graph.meter import Meter, metered
from graph.multiply import multiply
from graph.plan import Frontier
from graph.result import NodeWarning, Outputs, Pending, Result
from graph.spec import Registry

S = TypeVar("S")

Results: TypeAlias = Mapping[NodeId, Outputs]
"""The outputs of a run's targets."""

_logger = logging.getLogger(__name__)
_PATIENCE = 0.5
"""Seconds to wait for io before looking up. Signals are handled between waits: on Windows always, elsewhere when one
arrives just before a wait begins."""


@dataclass(slots=True, eq=False)
class _Live:
    """A run between submission and its closing event."""

    run: Run
    graph: Graph
    names: Mapping[NodeId, Fingerprint]
    frontier: Frontier
    cells: Cells | None = None
    results: Future[Results] = field(default_factory=Future)
    begun: bool = False
    started: dict[NodeId, float] = field(default_factory=dict)
    parked: set[Future[Result | Ending]] = field(default_factory=set)
    ending: Ending | None = None
    stopped_at: NodeId = ""


@dataclass(frozen=True, slots=True)
class _Submitted:
    live: _Live


@dataclass(frozen=True, slots=True)
class _Settled:
    live: _Live
    node: BoundNode
    future: Future[Result | Ending]


@dataclass(frozen=True, slots=True)
class _Wake:
    """A run was cancelled, or the executor closes."""


class Executor(Generic[S]):
    """Runs graphs. Any thread may submit; one at a time serves, and runs the nodes of lane `device` itself.

    The oldest run goes first; a younger one gets the loop while all that is left of the older waits for io.
    `scope` wraps every call of a node function, in the thread that makes it. `salt` stands for whatever else
    results depend on: code, precision, device kind. `rules` hold for every graph, whoever built it. `relief` is
    for device nodes that run out of memory, `meter` measures what they need.
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
        relief: Relief | None = None,
        meter: Meter | None = None,
        io_workers: int = 2,
    ) -> None:
        self._services = services
        self._registry = registry
        self._folders = folders
        self._cache = cache
        self._scope = scope
        self._salt = salt
        self._rules = rules
        self._relief = relief
        self._meter = meter
        self._session = uuid.uuid4().hex
        self._pool = ThreadPoolExecutor(io_workers, thread_name_prefix="graph-io")
        self._inbox: SimpleQueue[_Submitted | _Settled | _Wake] = SimpleQueue()
        self._live: list[_Live] = []
        self._reading: Future[None] = Future()
        self._reading.set_result(None)
        self._flights: dict[Fingerprint, list[tuple[_Live, BoundNode]]] = {}
        self._serving = threading.Lock()
        self._gate = threading.Lock()
        self._open = True

    def submit(self, run: Run, graph: Graph | None = None) -> Future[Results]:
        """Queue `run`; `graph` defaults to what `build` makes of its document.

        The future gives the results of the runnable targets, or raises NodeError or Interrupted, after the closing
        event. Raises GraphErrors, and tells no event, if no target can run or a file cannot be read.
        """
        graph = enforce(graph or build(run.document, self._registry, self._folders), self._rules)
        if not graph.targets:
            raise GraphErrors(graph.errors)
        graph, cells = multiply(graph)
        run = run.over(cells)
        if self._meter is not None:
            run = replace(run, emit=metered(run.emit, graph.nodes, self._meter))
        names = fingerprints(graph, self._folders, self._salt)
        live = _Live(run, graph, names, Frontier(graph, names), cells)
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
        self._pool.shutdown()

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
                if not self._inbox.empty() or not self._advance():
                    self._receive()
        except BaseException:
            self._abandon()
            raise

    def _receive(self) -> None:
        try:
            message = self._inbox.get(timeout=_PATIENCE if self._live else None)
        except Empty:
            return
        match message:
            case _Submitted(live):
                self._live.append(live)
            case _Settled(live, node, future):
                self._settle(live, node, future)
        for live in list(self._live):
            if live.run.cancel.is_set or not self._open:
                self._stop(live, Interrupted())

    def _advance(self) -> bool:
        """Do one thing for the oldest run that has something to do."""
        for live in self._live:
            if not live.begun:
                self._begin(live)
                return True
            if live.ending is None and (node := live.frontier.ready()) is not None:
                self._step(live, node)
                return True
        return False

    def _begin(self, live: _Live) -> None:
        """Plan a run when its turn first comes, so that it finds what older runs have made."""
        live.begun = True
        run, targets = live.run, live.graph.targets
        cached = live.frontier.plan(self._known)
        named = partial(itemize, live.graph, live.names, self._folders, self._salt, self._session, live.cells)
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
                if (name := live.names[node_id]) in warned and (outputs := self._cache.get(name)) is not None:
                    live.run.tell_warnings(node_id, outputs.warnings)

    def _step(self, live: _Live, node: BoundNode) -> None:
        name = live.names[node.id]
        if (waiting := self._flights.get(name)) is not None:
            waiting.append((live, node))
        elif (outputs := self._known(node, name)) is not None:
            self._finish(live, node, outputs, cached=True)
        else:
            live.started[node.id] = time.perf_counter()
            live.run.tell(NodeStarted(live.run.id, node.id))
            self._take(live, node, self._start(live, node))

    def _start(self, live: _Live, node: BoundNode) -> Result | Ending:
        """Run a device node here, an io node in the pool. `_conclude` empties the frontier after a failure, as `call`
        does the frames."""
        context = Context(node.id, live.run, self._services)
        inputs = live.frontier.inputs(node)
        if node.spec.lane == "io":
            return Pending(self._pool.submit(call, node, context, inputs, self._scope))
        return call(node, context, inputs, self._scope, self._relief)

    def _take(self, live: _Live, node: BoundNode, result: Result | Ending) -> None:
        match result:
            case Outputs():
                self._finish(live, node, result)
            case Pending(future):
                self._park(live, node, future)
            case NodeError() | Interrupted():
                self._stop(live, result, node.id)

    def _finish(self, live: _Live, node: BoundNode, outputs: Outputs, cached: bool = False) -> None:
        run = live.run
        twins = live.frontier.finish(node, outputs)
        if not cached:
            self._cache.put(live.names[node.id], outputs)
        if cached:
            run.tell_warnings(node.id, outputs.warnings)
            run.tell(NodeFinished(run.id, node.id, outputs.ui, cached=True))
        else:
            _tell_finished(live, node, outputs)
        for twin in twins:
            run.tell_warnings(twin, outputs.warnings)
            run.tell(NodeFinished(run.id, twin, outputs.ui, cached=True))
        if live.frontier.done:
            self._conclude(live)

    def _park(self, live: _Live, node: BoundNode, future: Future[Result | Ending]) -> None:
        self._flights.setdefault(live.names[node.id], [])
        live.parked.add(future)
        future.add_done_callback(lambda settled: self._come_back(live, node, settled))

    def _come_back(self, live: _Live, node: BoundNode, future: Future[Result | Ending]) -> None:
        """An io node has ended, on its own thread. What it shows is told at once: the loop may be at work for minutes."""
        if not future.cancelled() and isinstance(outputs := future.result(), Outputs) and not live.results.done():
            _tell_finished(live, node, outputs)
        self._inbox.put(_Settled(live, node, future))

    def _settle(self, live: _Live, node: BoundNode, future: Future[Result | Ending]) -> None:
        live.parked.discard(future)
        waiting = self._flights.pop(live.names[node.id], [])
        if not live.results.done():
            self._take(live, node, Interrupted() if future.cancelled() else future.result())
            if live.ending is not None:
                self._stop(live, live.ending)
        for other, twin in waiting:
            if other.ending is None:
                other.frontier.again(twin)

    def _stop(self, live: _Live, ending: Ending, node_id: NodeId = "") -> None:
        """Start nothing more of this run; it ends when what is under way has come back."""
        if live.ending is None:
            live.ending, live.stopped_at = live.run.as_written(ending), node_id or next(iter(list(live.started)), "")
            for future in list(live.parked):
                future.cancel()
        if not live.parked and not live.results.done():
            self._conclude(live)

    def _conclude(self, live: _Live) -> None:
        self._live.remove(live)
        run = live.run
        match live.ending:
            case None:
                run.tell(RunFinished(run.id))
                live.results.set_result(live.frontier.results())
            case NodeError() as error:
                run.tell(RunFailed(run.id, error))
                live.results.set_exception(error)
            case Interrupted() as stop:
                run.tell(RunInterrupted(run.id, live.stopped_at))
                live.results.set_exception(stop)
        live.frontier.release()
        self._read_files()

    def _read_files(self) -> None:
        """Have the pool find out what large files are: after a run, since no run should wait for it."""
        identity = self._folders.identity
        if not identity.is_settled and self._reading.done():
            self._reading = self._pool.submit(identity.settle, lambda: not self._open)
            self._reading.add_done_callback(_report)

    def _abandon(self) -> None:
        """Something broke out of the loop, such as KeyboardInterrupt: end every run without waiting for its io."""
        for live in list(self._live):
            self._stop(live, Interrupted())
            if live.parked:
                self._conclude(live)

    def _known(self, node: BoundNode, name: Fingerprint) -> Outputs | None:
        """The result at hand, unless it says that files were written and they are gone."""
        outputs = self._cache.get(name)
        if outputs is not None and node.spec.terminal and not self._folders.has_files(outputs.ui):
            return None
        return outputs


def _tell_finished(live: _Live, node: BoundNode, outputs: Outputs) -> None:
    """Tell that a node has run, unless that was told before."""
    if (begun := live.started.pop(node.id, None)) is not None:
        seconds = time.perf_counter() - begun
        live.run.tell(NodeFinished(live.run.id, node.id, outputs.ui, seconds))


def _report(future: Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        _logger.error("files could not be read for their identity", exc_info=error)
