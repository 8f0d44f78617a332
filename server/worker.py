"""Takes one job after the other, has it run, and records how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias

from graph.context import Cancel, Run
from graph.document import Document, NodeId, parse
from graph.errors import GraphError, GraphErrors, Interrupted, NodeError
from graph.events import Event
from server.backend import Backend
from server.desk import Desk, StoreUnavailable
from server.hub import Hub
from server.job import Job, Outcome, State
from server.metrics import Metrics
from server.recent import Recent
from server.redact import Redactor
from server.store import Store
from server.threads import in_thread
from server.transcript import Transcript

Sink: TypeAlias = Callable[[Mapping[NodeId, str]], Callable[[Event], None]]

PAUSED = "queue_paused"
GRACE_SECONDS = 10.0
"""How long a stopping server waits for the node that is running."""
RETRY_SECONDS = 1.0

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Wishes:
    """What `/free` asked for; done between jobs."""

    unload_models: bool = False
    free_memory: bool = False


@dataclass(slots=True, eq=False)
class _Current:
    job: Job
    cancel: Cancel = field(default_factory=Cancel)


class Worker:
    """The one consumer of the queue."""

    def __init__(
        self,
        store: Desk[Store],
        recent: Recent,
        hub: Hub,
        backend: Backend,
        threads: ThreadPoolExecutor,
        metrics: Metrics,
        redact: Redactor,
        ended: Callable[[], None],
        sink: Sink | None = None,
    ) -> None:
        """ended: called when the outcome of a job is on disk. sink: see Deps."""
        self._store = store
        self._recent = recent
        self._hub = hub
        self._backend = backend
        self._threads = threads
        self._metrics = metrics
        self._redact = redact
        self._ended = ended
        self._sink = sink
        self._wake = asyncio.Event()
        self._current: _Current | None = None
        self._wishes = _Wishes()
        self._stopping = False
        self.paused = False

    @property
    def running(self) -> str | None:
        """The id of the job that runs now."""
        return None if self._current is None else self._current.job.id

    def wake(self) -> None:
        """Look at the queue again."""
        self._wake.set()

    def pause(self, paused: bool) -> None:
        """Whether to leave waiting jobs alone; the running one goes on."""
        self.paused = paused
        self.wake()

    def interrupt(self, prompt_id: str | None = None) -> bool:
        """Stop the running job, if it is the one that is meant."""
        current = self._current
        if current is None or (prompt_id is not None and current.job.id != prompt_id):
            return False
        current.cancel.set()
        return True

    def free(self, unload_models: bool, free_memory: bool) -> None:
        """Let go of memory as soon as no job runs."""
        self._wishes.unload_models |= unload_models
        self._wishes.free_memory |= free_memory
        self.wake()

    async def serve(self) -> None:
        """Work until cancelled."""
        await self._backend.engine()
        while not self._stopping:
            self._wake.clear()
            await self._grant_wishes()
            job = None if self.paused else await self._take()
            if job is None:
                await self._wake.wait()
            else:
                await self._perform(job)

    async def stop(self, serving: asyncio.Task[None]) -> None:
        """Put the running job back into the queue and end `serving`."""
        self._stopping = True
        current = self._current
        if current is not None:
            current.cancel.set()
            await asyncio.wait([serving], timeout=GRACE_SECONDS)
            if not serving.done():
                await self._store(Store.release, current.job.id)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    async def _grant_wishes(self) -> None:
        wishes, self._wishes = self._wishes, _Wishes()
        if wishes.unload_models or wishes.free_memory:
            engine = await self._backend.engine()
            await in_thread(self._threads, engine.free, wishes.unload_models, wishes.free_memory)

    async def _take(self) -> Job | None:
        try:
            return await self._store(Store.take)
        except StoreUnavailable as error:
            _logger.error("%s; trying again", error)
            await asyncio.sleep(RETRY_SECONDS)
            self.wake()
            return None

    async def _perform(self, job: Job) -> None:
        current = self._current = _Current(job)
        begun = time.monotonic()
        self._hub.status(self._hub.remaining)
        transcript = Transcript(job.id, {}, self._redact)
        try:
            await self._run(current, transcript)
        except Exception:
            _logger.exception("job %s could not be run", job.id)
            failure = GraphError("internal", "the server failed while running this job; its log says why")
            transcript.fail(GraphErrors([failure]), time.time())
        self._current = None
        if self._stopping and transcript.state is State.CANCELLED:
            await self._store(Store.release, job.id)
            self._hub.drop(job.id)
            return
        outcome = await in_thread(self._threads, transcript.outcome)
        remaining = await self._keep(job, outcome)
        self._hub.close(job.id, remaining)
        seconds = time.monotonic() - begun
        self._metrics.job_ended(outcome.state, seconds)
        message = str(transcript.error["exception_message"]) if transcript.error else ""
        _logger.info(
            "job %s %s in %.2f s, %d nodes run, %d cached%s",
            *(job.id, outcome.state, seconds, len(transcript.executed), len(transcript.cached)),
            f": {message}" if message else "",
            extra={"job": job.id, "state": str(outcome.state), "seconds": round(seconds, 3)},
        )
        self._ended()

    async def _run(self, current: _Current, transcript: Transcript) -> None:
        job = current.job
        feed = self._hub.open(transcript, job.client_id)
        try:
            document, extra = await in_thread(self._threads, _read, job, self._recent.take(job.id))
            transcript.types = {node_id: node.class_type for node_id, node in document.nodes.items()}
            feed.sinks.append(self._metrics.observe)
            if self._sink is not None:
                feed.sinks.append(self._sink(_titles(document)))
            run = Run(job.id, document, feed, current.cancel, extra)
            results = await in_thread(self._threads, self._backend.submit, run, job.targets)
        except GraphErrors as errors:
            transcript.fail(errors, time.time())
            return
        with contextlib.suppress(NodeError, Interrupted):  # the run has told so itself
            await asyncio.wrap_future(results)
        await feed.ended.wait()

    async def _keep(self, job: Job, outcome: Outcome) -> int:
        """Record the outcome, however long the disk is in the way; returns how many jobs are left."""
        while True:
            try:
                return await self._store(Store.finish, job.id, outcome)
            except StoreUnavailable as error:
                _logger.error("%s; the outcome of job %s is kept and written later", error, job.id)
                await asyncio.sleep(RETRY_SECONDS)


def _read(job: Job, recent: Document | None) -> tuple[Document, Mapping[str, object]]:
    """What was submitted. `extra_data` went in as an object."""
    extra: dict[str, object] = json.loads(job.extra)
    return recent or parse(job.prompt), extra


def _titles(document: Document) -> dict[NodeId, str]:
    return {node_id: str(node.meta.get("title", node.class_type)) for node_id, node in document.nodes.items()}
