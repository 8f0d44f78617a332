"""Where jobs run: the engine on its own thread, built after the port is open."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, ParamSpec, Protocol, TypeVar

from graph.build import Graph, Rule, build
from graph.context import Run
from graph.errors import GraphErrors
from graph.execute import Executor
from graph.files import Folders
from graph.live import Results
from graph.result import Outputs
from graph.spec import Registry
from graph.suggestion import Suggestion
from server.foreign import Foreign
from server.threads import settled

P = ParamSpec("P")
T = TypeVar("T")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Device:
    """A processor and its memory in bytes."""

    name: str
    type: str
    index: int | None
    total: int
    free: int


def _no_devices() -> Sequence[Device]:
    return ()


def _keep(unload_models: bool, free_memory: bool) -> None:
    pass


def _nothing() -> None:
    pass


def _no_gauges() -> Mapping[str, float]:
    return {}


def _no_files() -> Mapping[str, int]:
    return {}


def _stays(outputs: Outputs) -> bytes | None:
    return None


def _nothing_better(graph: Graph) -> Iterable[Suggestion]:
    return ()


def _apart(parts: Sequence[Outputs]) -> Outputs:
    raise ValueError("this engine joins no batches")


def _unknown(content: bytes) -> Outputs:
    raise ValueError("this engine opens no parcels")


@dataclass(frozen=True, slots=True)
class Engine:
    """What the factory makes. The functions may be called from any thread while no run is live.

    `rules` are what graphs are held to before they come to the executor, which holds them to its own besides.
    `free(unload_models, free_memory)` lets go of weights, and of results as well. `gauges` are bytes by name, `holds`
    those of the model files whose weights are in memory.
    `pack` makes bytes of a result, for another process that shares the run, and None of what cannot travel; `unpack`
    raises ValueError. `join` makes one result of those of all parts of a batch, and raises ValueError. `suggests` says which
    values would suit better than those of a graph. `close` is called when no run will come any more. `foreign` is what packs
    bring.
    """

    executor: Executor[Any]
    registry: Registry
    rules: Sequence[Rule] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    devices: Callable[[], Sequence[Device]] = _no_devices
    free: Callable[[bool, bool], None] = _keep
    gauges: Callable[[], Mapping[str, float]] = _no_gauges
    holds: Callable[[], Mapping[str, int]] = _no_files
    pack: Callable[[Outputs], bytes | None] = _stays
    unpack: Callable[[bytes], Outputs] = _unknown
    join: Callable[[Sequence[Outputs]], Outputs] = _apart
    suggests: Callable[[Graph], Iterable[Suggestion]] = _nothing_better
    close: Callable[[], None] = _nothing
    foreign: Foreign = field(default_factory=Foreign)


class EngineUnavailable(Exception):
    """The engine could not be built; its log says why."""


class WorkerLost(Exception):
    """The process that ran a job has ended or does not answer; `nodes` are those that had begun and not finished."""

    def __init__(self, reason: str, nodes: Sequence[str] = ()) -> None:
        super().__init__(reason, tuple(nodes))
        self.reason = reason
        self.nodes = tuple(nodes)

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a backend has in memory: bytes by what holds them, and by the name of each model file."""

    devices: Sequence[Device] = ()
    gauges: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)

    @property
    def free(self) -> float:
        """Bytes of memory for what is not there yet: as many as there are, where nothing is known."""
        return sum(device.free for device in self.devices) if self.devices else float("inf")


class Backend(Protocol):
    """Runs one job after the other. What may take its time is called outside the event loop."""

    @property
    def name(self) -> str:
        """What people call it: its device."""

    @property
    def resumes(self) -> str:
        """The run that it was given by a server which is gone: `submit` goes on with it. Empty for none."""

    def start(self) -> None:
        """Begin to get ready."""

    def when_dead(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called once, in words and from any thread, when no job can run any more: the process should end."""

    @property
    def is_ready(self) -> bool:
        """Whether jobs run."""

    async def ready(self) -> None:
        """Wait until jobs run. Raises EngineUnavailable if they never will."""

    def submit(self, run: Run, targets: Sequence[str], graph: Graph | None = None) -> Future[Results]:
        """Queue a run. The future raises NodeError, Interrupted or WorkerLost; raises GraphErrors if it cannot run at
        all. Another process hands over what the run's `share` says, as parcels, and keeps the rest. graph: what was built
        of the document a moment ago; it spares doing so again where the node types are still the same.
        """

    def refresh(self) -> bool:
        """Load packs that have changed, while no run is live; whether there are other node types now."""

    def free(self, unload_models: bool, free_memory: bool) -> None:
        """Let go of weights, and of results as well, while no run is live."""

    def holdings(self) -> Holdings:
        """What is in memory; of another process, as it said a moment ago."""

    def close(self) -> None:
        """Interrupt what runs and wait for it."""


class EngineBackend(Backend, Protocol):
    """One whose engine is in this process, for all who want to know what node types there are."""

    @property
    def thread(self) -> futures.Executor:
        """The engine's own thread, once it is there, while it runs no node."""

    async def engine(self) -> Engine:
        """The engine, once it is there. Raises EngineUnavailable."""

    @property
    def is_at_work(self) -> bool:
        """Whether its thread does something, be it after a stop that it did not follow."""


class _EngineThread(futures.Executor):
    """The thread that serves an executor, for what goes before a run there: another would only have to wake it."""

    def __init__(self, engine: Future[Engine]) -> None:
        self._engine = engine

    def submit(self, function: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> Future[T]:
        """Raises RuntimeError once the executor is closed, and EngineUnavailable."""
        outcome: Future[T] = Future()

        def call() -> None:
            try:
                outcome.set_result(function(*args, **named))
            except Exception as error:  # noqa: BLE001  whoever waits gets it
                outcome.set_exception(error)

        self._engine.result().executor.call(call)
        return outcome


def is_current(graph: Graph, registry: Registry) -> bool:
    """Whether the node types of a graph are still those that there are."""
    return all(registry.find(node.spec.type) is node.spec for node in graph.nodes.values())


class LocalBackend:
    """One executor in this process."""

    name = "here"
    resumes = ""

    def __init__(self, factory: Callable[[], Engine], folders: Folders) -> None:
        """factory: called on the backend's thread; may import for seconds."""
        self._factory = factory
        self._folders = folders
        self._tell_dead: Callable[[str], None] = _logger.critical
        self._is_dead = threading.Event()
        self._engine: Future[Engine] = Future()
        self.thread = _EngineThread(self._engine)
        self._thread = threading.Thread(target=self._serve, name="engine", daemon=True)

    def when_dead(self, tell: Callable[[str], None]) -> None:
        self._tell_dead = tell

    def start(self) -> None:
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        """Whether jobs run: not while a node is stuck, and never again once the loop has died."""
        if not self._engine.done() or self._engine.exception() is not None or self._is_dead.is_set():
            return False
        return not self._engine.result().executor.is_stuck

    async def engine(self) -> Engine:
        if not self._engine.done():
            await settled(self._engine)
        if self._engine.cancelled():
            raise EngineUnavailable("the server stopped before there was an engine")
        return self._engine.result()

    @property
    def is_at_work(self) -> bool:
        return self._thread.is_alive()

    def wait(self) -> Engine:
        """The engine, once it is there; blocks. Raises EngineUnavailable."""
        return self._engine.result()

    async def ready(self) -> None:
        await self.engine()

    def refresh(self) -> bool:
        return self._engine.result().foreign.refresh()

    def free(self, unload_models: bool, free_memory: bool) -> None:
        self._engine.result().free(unload_models, free_memory)

    def holdings(self) -> Holdings:
        if not self._engine.done() or self._engine.exception() is not None:
            return Holdings()
        engine = self._engine.result()
        return Holdings(engine.devices(), engine.gauges(), engine.holds())

    def submit(self, run: Run, targets: Sequence[str], graph: Graph | None = None) -> Future[Results]:
        engine = self._engine.result()
        if self._is_dead.is_set():
            raise EngineUnavailable("the engine has died; the server's log says why")
        if graph is None or not is_current(graph, engine.registry):
            graph = build(run.document, engine.registry, self._folders, targets, engine.rules)
        if graph.errors:
            raise GraphErrors(graph.errors)
        return engine.executor.submit(run, graph)

    def close(self) -> None:
        if not self._thread.is_alive():
            self._engine.cancel()
            return
        try:
            engine = self._engine.result()
        except EngineUnavailable:
            return
        engine.executor.close()
        self._thread.join()
        engine.close()

    def _serve(self) -> None:
        try:
            engine = self._factory()
        except Exception:
            _logger.exception("the engine could not be built")
            self._engine.set_exception(EngineUnavailable("the engine could not be built; the server's log says why"))
            return
        engine.executor.when_stuck(self._die)
        self._engine.set_result(engine)
        try:
            engine.executor.serve()
        except BaseException as error:
            _logger.critical("the engine's loop has died", exc_info=error)
            self._die(f"the engine's loop has died of {type(error).__name__}: {error}")

    def _die(self, reason: str) -> None:
        if not self._is_dead.is_set():
            self._is_dead.set()
            self._tell_dead(reason)
