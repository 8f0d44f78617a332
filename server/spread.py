"""One run over all workers: they take its cells, or slices of its batch, one after the other, and it ends like any other."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from graph.build import Graph, build
from graph.context import Cancel, Run
from graph.document import NodeId
from graph.errors import GraphErrors, Interrupted, NodeError
from graph.events import Event, RunFailed, RunStarted
from graph.files import Folders
from graph.live import Results
from graph.result import Outputs
from graph.retelling import Lasting, Recipes, Retelling
from graph.split import Piece, Split, in_slices, split
from server.backend import Backend, Engine, EngineBackend, Holdings, WorkerLost, is_current
from server.cell_files import CellFiles, Drawn
from server.job import Waiting
from server.ranges import Ranges
from server.threads import begun_in_thread
from server.wire import Parcel

RECENT = 0.3
"""The share of the newest cell in how long cells take."""


class SharedRun:
    """A run whose pieces are handed out and come back. The pieces are taken and settled on the event loop."""

    def __init__(
        self,
        run: Run,
        cut: Split,
        files: CellFiles,
        tries: int,
        wake: Callable[[], None],
        resumed: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """tries: how often a node may take its worker down. wake: called when there may be more to take, or no more.
        resumed: workers' names by the runs that they still have from a server before.
        """
        self.results: Future[Results] = Future()
        self.results.set_running_or_notify_cancel()
        self.retelling = Retelling(run, cut)
        client = run.extra.get("client_id")
        self.job = Waiting(run.id, client if isinstance(client, str) else None)
        self.run = run
        self.cut = cut
        self.files = files
        self.seconds = 0.0
        """How long a piece takes."""
        self._tries = tries
        self._wake = wake
        self._lock = threading.Lock()
        self._cells = [piece for piece in cut.pieces if not piece.gathers]
        self._last = [piece for piece in cut.pieces if piece.gathers]
        self._under_way: list[Portion] = []
        self._lost: dict[str, tuple[int, Sequence[NodeId]]] = {}
        self._ending: Exception | None = None
        self._begin()
        self._resumed = self._reserve(resumed)
        self._ranges = Ranges([piece.at for piece in self._cells[: len(self._cells) - len(self._resumed)]])

    def _begin(self) -> None:
        """Tell of what was drawn before the server was begun anew; it is not drawn again."""
        self.retelling.begin()
        kept = dict(self.files.kept([piece.key for piece in self.cut.pieces]))
        for piece in self.cut.pieces:
            for event in kept[piece.key].told if piece.key in kept else ():
                self.retelling.tell(event, piece)
        self._cells = [piece for piece in self._cells if piece.key not in kept]
        self._last = [piece for piece in self._last if piece.key not in kept]

    def _reserve(self, resumed: Mapping[str, str]) -> dict[str, int]:
        """Leave cells to the workers that draw them still: they are the last of the cells. Their numbers, by worker."""
        owners = {piece.key: name for piece in self._cells if (name := resumed.get(self.id_of(piece)))}
        self._cells.sort(key=lambda piece: piece.key in owners)
        return {owners[piece.key]: at for at, piece in enumerate(self._cells) if piece.key in owners}

    def id_of(self, piece: Piece) -> str:
        """What the run of a piece is called."""
        return f"{self.run.id}/{piece.key}"

    @property
    def left(self) -> int:
        """How many pieces nobody has taken yet."""
        return 0 if self._ending is not None else len(self._ranges) + len(self._resumed) + len(self._last)

    def take_up(self, worker: str) -> Portion | None:
        """The piece that a worker still draws since a server before this one."""
        with self._lock:
            if self._ending is not None or (at := self._resumed.pop(worker, None)) is None:
                return None
            return self._hand_out(self._cells[at], at)

    def _hand_out(self, piece: Piece, at: int | None) -> Portion:
        portion = Portion(self, piece, at)
        self._under_way.append(portion)
        return portion

    def take(self, worker: str, may_take: Callable[[Piece, int], bool]) -> Portion | None:
        """The next piece for a worker. may_take: whether it should begin with one that so many of another worker's are
        left of.
        """
        with self._lock:
            if self._ending is not None:
                return None
            at = self._ranges.next(worker, lambda cell, left: may_take(self._cells[cell], left))
            if at is None and self._resumed and not len(self._ranges):
                _, at = self._resumed.popitem()  # who has it does not come back
            if at is not None:
                return self._hand_out(self._cells[at], at)
            if self._last and not self._under_way and not len(self._ranges):
                return self._hand_out(self._last.pop(), None)
            return None

    def look(self) -> None:
        """Begin, or end where nothing is left to be done; from any thread."""
        self._settle(None, None)
        self._wake()

    def stop(self) -> None:
        """The run is cancelled; from any thread."""
        self._settle(None, Interrupted())

    def done(self, portion: Portion, seconds: float) -> None:
        """A piece has been made."""
        self.seconds = seconds if not self.seconds else RECENT * seconds + (1 - RECENT) * self.seconds
        self._settle(portion, None)
        if not len(self._ranges):
            self._wake()

    def give_back(self, portion: Portion) -> None:
        """A piece was not made; another worker makes it."""
        with self._lock:
            if portion in self._under_way:
                if portion.at is None:
                    self._last.append(portion.piece)
                else:
                    self._ranges.give_back(portion.at)
        self._settle(portion, None)
        self._wake()

    def fail(self, portion: Portion, error: Exception) -> None:
        """A piece cannot be made, so the run has failed."""
        if self._ending is None and isinstance(error, NodeError):
            error = self.retelling.failed(portion.piece, error, portion.shown_at)
        self._settle(portion, error)

    def lost(self, portion: Portion, loss: WorkerLost) -> None:
        """The worker of a piece was lost: it is made again, unless the same node takes down one worker after the other."""
        piece, nodes = portion.piece, list(loss.nodes) or [""]
        times, before = self._lost.get(piece.key, (0, nodes))
        same = [node for node in nodes if node in before]
        times, nodes = (times + 1, same) if same else (1, nodes)
        self._lost[piece.key] = times, nodes
        if times < self._tries:
            self.give_back(portion)
            return
        words = f"{loss}; it was lost {times} times in a row while this node ran, which is not tried again"
        written = piece.document.nodes.get(nodes[0])
        error = NodeError(nodes[0], written.class_type if written else "", words, kind=WorkerLost.__name__)
        self.fail(portion, error)

    def _settle(self, portion: Portion | None, ending: Exception | None) -> None:
        """A piece has come back, or the run is to end. It ends when nothing of it is under way any more."""
        with self._lock:
            if portion in self._under_way:
                self._under_way.remove(portion)
            if self._ending is None and ending is not None:
                self._ending = ending
                for other in self._under_way:
                    other.cancel.set()
            waits = self._ending is None and (len(self._ranges) or self._resumed or self._last)
            over = not self._under_way and not waits and not self.results.done()
            if over:
                self._end(self._ending)

    def _end(self, ending: Exception | None) -> None:
        match ending:
            case None:
                self.retelling.end(None)
                self.results.set_result({})
            case NodeError() | Interrupted():
                self.retelling.end(ending)
                self.results.set_exception(ending)
            case _:
                self.results.set_exception(ending)


@dataclass(eq=False)
class Portion:
    """A piece that a worker has taken. `at` is its number among the cells; None for what gathers them."""

    shared: SharedRun
    piece: Piece
    at: int | None
    cancel: Cancel = field(default_factory=Cancel)
    told: list[Lasting] = field(default_factory=list)
    recipes: Recipes | None = None
    shown_at: NodeId = ""

    @property
    def job(self) -> Waiting:
        """The job that it is of."""
        return self.shared.job

    async def run(self, backend: Backend, threads: ThreadPoolExecutor) -> WorkerLost | None:
        """Have a worker make it; why the worker was lost, if it was."""
        shared, began = self.shared, time.monotonic()
        try:
            await begun_in_thread(threads, partial(self._made, backend))
        except WorkerLost as loss:
            shared.lost(self, loss)
            return loss
        except Interrupted:
            shared.give_back(self)
        except Exception as error:  # noqa: BLE001  the run ends with it, whoever waits for that tells of it
            shared.fail(self, error)
        except asyncio.CancelledError:
            shared.give_back(self)
            raise
        else:
            shared.done(self, time.monotonic() - began)
        return None

    def _made(self, backend: Backend) -> Future[None]:
        """Have it made, and kept in the thread that hears of its end: a worker waits for as few others as can be."""
        kept = Future[None]()

        def keep(results: Future[Results]) -> None:
            try:
                self._keep(results.result())
            except BaseException as error:  # noqa: BLE001  whoever waits gets it
                kept.set_exception(error)
            else:
                kept.set_result(None)

        self._submit(backend).add_done_callback(keep)
        return kept

    def _submit(self, backend: Backend) -> Future[Results]:
        piece, shared = self.piece, self.shared
        share = replace(piece.share, given=self._given()) if piece.gathers else piece.share
        run = Run(shared.id_of(piece), piece.document, self._tell, self.cancel, piece.extra, None, share)
        return backend.submit(run, piece.targets)

    def _tell(self, event: Event) -> None:
        match event:
            case RunStarted(recipes=recipes):
                self.recipes = recipes
            case RunFailed(display_id=shown_at):
                self.shown_at = shown_at
            case _:
                pass
        self.told.extend(self.shared.retelling.hear(self.piece, event))

    def _given(self) -> dict[NodeId, Outputs]:
        """What the pieces before have handed over. What could not travel, or be kept, is made again."""
        found, cut = dict[NodeId, tuple[Parcel, ...]](), self.shared.cut
        for piece in cut.pieces:
            for name, content in self.shared.files.handed(piece.key).items() if piece.share.handed else ():
                found[name] = (*found.get(name, ()), Parcel(content))
        return {name: Outputs(parts) for name, parts in found.items() if len(parts) == cut.slices.get(name, 1)}

    def _keep(self, results: Results) -> None:
        """Keep what has been made, and learn what named it."""
        handed = {
            self.shared.cut.copy(self.piece, name): parcel.content
            for name, outputs in results.items()
            for parcel in outputs.values
            if isinstance(parcel, Parcel)
        }
        self.shared.files.keep(self.piece.key, Drawn(tuple(self.told), handed))
        if self.recipes is not None and self.piece.share.slice is None:
            self.shared.retelling.explain(self.piece, self.recipes(True))


class Spread:
    """A backend that runs nothing itself: those who serve `running` take its pieces."""

    name = "sweeps"
    resumes = ""

    def __init__(
        self,
        local: EngineBackend,
        workers: Sequence[Backend],
        folders: Folders,
        kept: Path,
        tries: int,
        wake: Callable[[], None],
    ) -> None:
        """local: knows the node types. workers: those who take pieces. kept: where cells that are done are kept. wake: from
        any thread.
        """
        self.running: list[SharedRun] = []
        self._local = local
        self._folders = folders
        self._kept = kept
        self._tries = tries
        self._wake = wake
        self._workers = workers
        self._engine: Engine | None = None

    @property
    def is_ready(self) -> bool:
        return self._engine is not None

    def start(self) -> None:
        pass

    def when_dead(self, tell: Callable[[str], None]) -> None:
        pass

    async def ready(self) -> None:
        self._engine = await self._local.engine()

    def submit(self, run: Run, targets: Sequence[NodeId], graph: Graph | None = None) -> Future[Results]:
        """Have workers take the run's pieces."""
        assert self._engine is not None
        engine = self._engine
        if graph is None or not is_current(graph, engine.registry):
            graph = build(run.document, engine.registry, self._folders, targets, engine.rules)
        if not graph.targets:
            raise GraphErrors(graph.errors)
        cut = split(run, graph) if graph.swept else in_slices(run, graph, len(self._workers))
        files = CellFiles(self._kept, run.id)
        resumed = {worker.resumes: worker.name for worker in self._workers if worker.resumes}
        shared = SharedRun(run, cut, files, self._tries, self._wake, resumed)
        self.running.append(shared)
        shared.results.add_done_callback(lambda _: self.running.remove(shared))
        run.cancel.waking(shared.stop)
        shared.look()
        return shared.results

    def refresh(self) -> bool:
        return False

    def free(self, unload_models: bool, free_memory: bool) -> None:
        pass

    def holdings(self) -> Holdings:
        return Holdings()

    def close(self) -> None:
        pass
