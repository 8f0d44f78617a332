"""One worker: takes one job after the other from the queue, or parts of one, has its backend run it, and records how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeAlias

from graph.account import Account
from graph.bound import Graph
from graph.context import Cancel, Run
from graph.document import Document, NodeId
from graph.errors import GraphError, GraphErrors, Interrupted, NodeError
from graph.events import Event, RunFinished, RunInterrupted
from graph.live import Results
from server.backend import Backend, EngineUnavailable, WorkerLost
from server.desk import Desk, StoreUnavailable
from server.explaining import Explaining
from server.feed import Feed
from server.hub import Hub
from server.job import Job, State, Waiting
from server.metrics import Metrics
from server.recent import Recent, read_given
from server.redact import Redactor
from server.running import Running
from server.spread import Portion
from server.store import Store
from server.threads import begun_in_thread, in_thread
from server.transcript import Message, Transcript
from server.watch import Watch

Sink: TypeAlias = Callable[[Mapping[NodeId, str]], Callable[[Event], None]]

GRACE_SECONDS = 10.0
"""How long a stopping server waits for the node that is running."""
RETRY_SECONDS = 1.0
LOOK_SECONDS = 2.0
"""How often an idle server looks whether packs have changed."""
REST_SECONDS = 0.1
"""How long no job has come when those before are explained."""
RECENT = 0.3
"""The share of the newest job in how long jobs take."""
NODE_TYPES_CHANGED = "node_types_changed"

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Wishes:
    """What `/free` asked for; done between jobs."""

    unload_models: bool = False
    free_memory: bool = False


@dataclass(slots=True, eq=False)
class _Current:
    """`unwanted`: a user stopped it, so it has ended, also if the server stops at the same time. `loss`: the process that
    ran it is gone.
    """

    job: Job
    cancel: Cancel = field(default_factory=Cancel)
    unwanted: bool = False
    loss: WorkerLost | None = None
    begun: float = field(default_factory=time.monotonic)


class Source(Protocol):
    """Where the jobs of a worker come from."""

    async def take(self, worker: Worker) -> Job | Portion | None:
        """The next one, now running, or a part of one; None if there is none, or it was given to the worker."""

    def expect(self, worker: Worker) -> None:
        """The worker is about to be free: the next job may be given to it, from now on."""


class Worker:
    """A consumer of the queue: there is one for each backend."""

    def __init__(
        self,
        source: Source,
        store: Desk[Store],
        recent: Recent,
        hub: Hub,
        backend: Backend,
        threads: ThreadPoolExecutor,
        beginning: Executor,
        metrics: Metrics,
        redact: Redactor,
        running: Running | None,
        explaining: Explaining,
        watch: Watch,
        ended: Callable[[], None],
        tries: int,
        sink: Sink | None = None,
    ) -> None:
        """beginning: calls what begins a run. running: keeps which node runs, where a crash of it is one of the server.
        ended: called when a job has ended or waits again. tries: how often a node may take its process down. sink: see Deps.
        """
        self._source = source
        self._store = store
        self._recent = recent
        self._hub = hub
        self._backend = backend
        self._threads = threads
        self._beginning = beginning
        self._metrics = metrics
        self._redact = redact
        self._running = running
        self._explaining = explaining
        self._watch = watch
        self._ended = ended
        self._tries = tries
        self._sink = sink
        self._wake = asyncio.Event()
        self._current: _Current | None = None
        self._given: _Current | None = None
        self._portion: Portion | None = None
        self._wishes = _Wishes()
        self._looked = 0.0
        self._stopping = False
        self._busy = False
        self._seconds = 0.0
        self._rests_since = time.monotonic()
        self.paused = False
        self.draining = False
        self.lost = 0
        """How often its process was lost with a job."""

    @property
    def backend(self) -> Backend:
        """What it has jobs run on."""
        return self._backend

    @property
    def running(self) -> Job | Waiting | None:
        """The job that runs now, or that it makes a part of."""
        if self._portion is not None:
            return self._portion.job
        current = self._current or self._given
        return None if current is None else current.job

    @property
    def takes(self) -> bool:
        """Whether it takes jobs, now or later. To be asked from any thread."""
        return not (self.paused or self.draining or self._stopping)

    @property
    def is_idle(self) -> bool:
        """Whether it would take a job at once."""
        return self.takes and self.running is None and self._backend.is_ready

    @property
    def rest(self) -> float:
        """Seconds since it has run a job; 0 while it does."""
        return 0.0 if self._current is not None else time.monotonic() - self._rests_since

    @property
    def seconds(self) -> float:
        """How long jobs take here, by those that have run and the one that runs; 0 if nothing is known."""
        running = 0.0 if self._current is None else time.monotonic() - self._current.begun
        return max(self._seconds, running)

    def wake(self) -> None:
        """Look at the queue again."""
        self._wake.set()

    def give(self, job: Job) -> None:
        """Run this job next: it was taken while the worker waited, or ended the one before."""
        self._given = _Current(job)
        self.wake()

    def pause(self, paused: bool) -> None:
        """Whether to leave waiting jobs alone; the running one goes on."""
        self.paused = paused
        self.wake()

    def drain(self, draining: bool) -> None:
        """Whether to take no more jobs; the one that runs goes on to its end."""
        self.draining = draining
        self.wake()

    def interrupt(self, prompt_id: str | None = None) -> bool:
        """Stop the running job, if it is the one that is meant."""
        for current in (self._current, self._given):
            if current is not None and prompt_id in (None, current.job.id):
                current.unwanted = True
                current.cancel.set()
                return True
        return False

    def is_stopping(self, prompt_id: str) -> bool:
        """Whether that job runs, and a user has stopped it."""
        return any(
            current is not None and current.job.id == prompt_id and current.unwanted
            for current in (self._current, self._given)
        )

    def free(self, unload_models: bool, free_memory: bool) -> None:
        """Let go of memory as soon as no job runs."""
        self._wishes.unload_models |= unload_models
        self._wishes.free_memory |= free_memory
        self.wake()

    async def serve(self) -> None:
        """Work until `stop`. Without an engine the server gives up."""
        while not self._stopping:
            try:
                await self._backend.ready()
            except EngineUnavailable as error:
                self._watch.give_up(str(error))
                return
            self._wake.clear()
            await self._grant_wishes()
            self._busy = True
            try:
                goes_on = not self.draining and await self._next()
            finally:
                self._busy = False
            if self._explaining.is_due:
                await self._explaining.explain()
            if not goes_on:
                await self._idle()

    async def stop(self, serving: asyncio.Task[None]) -> None:
        """Put the running job back into the queue and end `serving`. What has ended or is being taken is not cut off."""
        self._stopping = True
        self.wake()
        for current in (self._current, self._portion):
            if current is not None:
                current.cancel.ask()
        if self._busy:
            await asyncio.wait([serving], timeout=GRACE_SECONDS)
        if (current := self._current) is not None:  # its node never looks whether it should stop
            await self._release(current.job.id)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        with contextlib.suppress(StoreUnavailable):  # then the next start finds what it was given
            await self._store.look()
        if (given := self._given) is not None:
            await self._release(given.job.id)
            if given.unwanted:
                await self._store(Store.cancel_pending, [given.job.id])
        await self._explaining.explain()

    async def _grant_wishes(self) -> None:
        wishes, self._wishes = self._wishes, _Wishes()
        if wishes.unload_models or wishes.free_memory:
            with self._watch.surviving("worker"):
                await in_thread(self._threads, self._backend.free, wishes.unload_models, wishes.free_memory)

    async def _idle(self) -> None:
        """Wait for work. After a while, explain what has run, and now and then look whether packs have changed."""
        due, woken = self._looked + LOOK_SECONDS, False
        pause = max(0.0, due - time.monotonic())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(pause, REST_SECONDS) if self._explaining else pause):
                await self._wake.wait()
                woken = True
        if not woken:
            await self._explaining.explain()
        if time.monotonic() >= due and await in_thread(self._threads, self._refresh):
            self._announce_packs()

    def _refresh(self) -> bool:
        """Load packs that have changed, while nothing runs; whether there are other node types now."""
        self._looked = time.monotonic()
        with self._watch.surviving("worker"):
            return self._backend.refresh()
        return False

    def _announce_packs(self) -> None:
        """Tell editors that there are other node types."""
        self._hub.announce(Message(NODE_TYPES_CHANGED, {}))

    async def _next(self) -> bool:
        """Take the next job and have it run; whether there may be another. Whatever fails, the job is not lost."""
        taken = await self._take()
        if taken is None:
            return False
        if isinstance(taken, Portion):
            await self._help(taken)
            return True
        try:
            remaining = await self._perform(taken)
        except Exception:
            await self._release(taken.job.id)
            raise
        finally:
            self._current = None
            self._rests_since = time.monotonic()
        self._watch.went_well("worker")
        return remaining > 0

    async def _help(self, portion: Portion) -> None:
        """Make a part of a job that several workers share."""
        self._portion = portion
        try:
            if (loss := await portion.run(self._backend, self._threads)) is not None:
                self.lost += 1
                _logger.error("job %s: %s", portion.job.id, loss)
        finally:
            self._portion = None
        self._watch.went_well("worker")

    async def _take(self) -> _Current | Portion | None:
        """The next job; none if the server stops meanwhile."""
        found: Job | Portion | None = None
        if self._given is None:
            try:
                found = await self._source.take(self)
            except StoreUnavailable as error:
                _logger.error("%s; trying again", error)
                await asyncio.sleep(RETRY_SECONDS)
                self.wake()
                return None
        if isinstance(found, Job):
            self._given = _Current(found)
        if self._stopping:  # what it was given goes back when it has stopped
            if isinstance(found, Portion):
                found.shared.give_back(found)
            return None
        if isinstance(found, Portion):
            return found
        self._current, self._given = self._given, None
        if self._current is not None:
            self._current.begun = time.monotonic()
        return self._current

    async def _release(self, job: str) -> None:
        """Put a job back where it was in the queue. If that cannot be written, the next start does it."""
        try:
            await self._store(Store.release, job)
        except StoreUnavailable as error:
            _logger.error("%s; job %s goes back to the queue at the next start", error, job)

    async def _perform(self, current: _Current) -> int:
        """Have a job run, and record how it ended; how many wait then."""
        job = current.job
        transcript = Transcript(job.id, {}, self._redact)
        account = Account()
        with self._watch.surviving("worker"):
            self._hub.status(self._hub.remaining)
        with self._watch.surviving("worker"):
            await self._run(current, transcript, account)
        if current.loss is not None and await self._goes_back(current, transcript, current.loss):
            return 1
        if transcript.closing is None:
            _fail(transcript)
        if self._running is not None:
            self._running.end()
        self._current = None
        if self._stopping and transcript.state is State.CANCELLED and not current.unwanted:
            await self._release(job.id)
            self._hub.drop(job.id)
            return 0
        self._explaining.add(job.id, account)
        remaining = await self._keep(transcript)
        self._ended()
        with self._watch.surviving("events"):
            self._hub.close(job.id, remaining)
        # after what the clients are told, which leaves when the event loop has its turn
        record = partial(self._record, transcript, time.monotonic() - current.begun)
        asyncio.get_running_loop().call_soon(record)
        return remaining

    async def _goes_back(self, current: _Current, transcript: Transcript, loss: WorkerLost) -> bool:
        """Whether a job whose worker was lost waits again; if not, its transcript says how it ended."""
        job = current.job.id
        self.lost += 1
        _logger.error("job %s: %s", job, loss)
        if self._stopping or current.unwanted:
            _close(transcript, Interrupted())
            return False
        attempts = await self._store(Store.lost, job, loss.nodes, self._tries)
        if attempts < self._tries:
            self._hub.drop(job)
            self._current = None
            self._ended()
            return True
        node = loss.nodes[0] if loss.nodes else ""
        words = f"{loss}; it was lost {attempts} times in a row while this node ran, which is not tried again"
        transcript.fail(NodeError(node, transcript.types.get(node, ""), words, kind=WorkerLost.__name__), time.time())
        return False

    async def _run(self, current: _Current, transcript: Transcript, account: Account) -> None:
        job = current.job
        feed = Feed(self._hub, self._hub.open(transcript, job.client_id), self._watch)

        def tell(event: Event) -> None:
            if self._running is not None:
                self._running.note(event)
            account(event)
            feed(event)

        if self._running is not None:
            self._running.begin(job.id)
        try:
            if (given := self._recent.take(job.id)) is None:
                given = await in_thread(self._threads, read_given, job)
            document = given.document
            self._hub.choose_previews(job.id, given.extra.get("preview_method"))
            transcript.types = {node_id: node.class_type for node_id, node in document.nodes.items()}
            transcript.given = {node_id: node.inputs for node_id, node in document.nodes.items()}
            feed.sinks.append(self._metrics.observe)
            if self._sink is not None:
                feed.sinks.append(self._sink(_titles(document)))
            run = Run(job.id, document, tell, current.cancel, given.extra)
            ending = await self._ending(run, job.targets, given.graph)
        except GraphErrors as errors:
            transcript.fail(errors, time.time())
            return
        except WorkerLost as loss:
            current.loss = loss
            return
        finally:
            await feed.told()
        if transcript.closing is None:  # the run told no end, or it could not be shown
            _close(transcript, ending)

    async def _ending(self, run: Run, targets: Sequence[NodeId], graph: Graph | None) -> NodeError | Interrupted | None:
        """Hand a run to the engine, with the packs as they are now; how it ended. Raises what the engine failed with, if it
        was the engine.
        """
        loop = asyncio.get_running_loop()

        def begin() -> Future[Results]:
            if self._backend.resumes != run.id and self._refresh():
                loop.call_soon_threadsafe(self._announce_packs)
            return self._backend.submit(run, targets, graph)

        try:
            await begun_in_thread(self._beginning, begin)
        except (NodeError, Interrupted) as error:
            return error
        return None

    async def _keep(self, transcript: Transcript) -> int:
        """Record the outcome, however long the disk is in the way; returns how many jobs are left.

        An outcome that cannot be written at all gives way to a failure.
        """
        with self._watch.surviving("worker"):
            return await self._write(transcript)
        transcript.outputs.clear()
        transcript.messages.clear()
        _fail(transcript)
        return await self._write(transcript)

    async def _write(self, transcript: Transcript) -> int:
        def finish(store: Store) -> int:
            return store.finish(transcript.id, transcript.outcome())

        self._source.expect(self)
        while True:
            try:
                return await self._store(finish)
            except StoreUnavailable as error:
                _logger.error("%s; the outcome of job %s is kept and written later", error, transcript.id)
                await asyncio.sleep(RETRY_SECONDS)

    def _record(self, transcript: Transcript, seconds: float) -> None:
        self._metrics.job_ended(transcript.state, seconds)
        self._seconds = seconds if not self._seconds else RECENT * seconds + (1 - RECENT) * self._seconds
        message = str(transcript.error["exception_message"]) if transcript.error else ""
        _logger.info(
            "job %s %s in %.2f s, %d nodes run, %d cached%s",
            *(transcript.id, transcript.state, seconds, len(transcript.executed), len(transcript.cached)),
            f": {message}" if message else "",
            extra={"job": transcript.id, "state": str(transcript.state), "seconds": round(seconds, 3)},
        )


def _fail(transcript: Transcript) -> None:
    """The server failed, not a node."""
    failure = GraphError("internal", "the server failed while running this job; its log says why")
    transcript.fail(GraphErrors([failure]), time.time())


def _close(transcript: Transcript, ending: NodeError | Interrupted | None) -> None:
    match ending:
        case NodeError():
            transcript.fail(ending, time.time())
        case Interrupted():
            list(transcript.apply(RunInterrupted(transcript.id, ""), time.time()))
        case None:
            list(transcript.apply(RunFinished(transcript.id), time.time()))


def _titles(document: Document) -> dict[NodeId, str]:
    return {node_id: str(node.meta.get("title", node.class_type)) for node_id, node in document.nodes.items()}
