"""Which job a free worker takes: clients in turn, and jobs where their models are in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from server.backend import Backend
from server.desk import Desk
from server.job import Job, Waiting
from server.store import Store

LOOK = 64
"""Jobs of each client that are looked at."""
LOAD_SECONDS = 1.0
"""What loading a model costs besides reading it."""
READ_BYTES = 1e9
"""Bytes of a model that are read and brought to a device in a second."""
_CLIENTS = 1000


class Taker(Protocol):
    """What placement sees of a worker."""

    @property
    def backend(self) -> Backend: ...

    @property
    def running(self) -> Job | None: ...

    @property
    def is_idle(self) -> bool: ...

    @property
    def seconds(self) -> float: ...


class Placement:
    """Decides for one worker after the other. `workers` are all there are."""

    def __init__(self, store: Desk[Store], workers: Sequence[Taker] = ()) -> None:
        self.workers = workers
        self._store = store
        self._deciding = asyncio.Lock()
        self._turns: dict[str | None, int] = {}
        self._turn = 0
        self._given: dict[str, Mapping[str, int]] = {}

    async def take(self, worker: Taker) -> Job | None:
        """The next job for `worker`, now running; None if nothing waits that is not better left to another."""
        async with self._deciding:
            waiting = await self._store.lightly(Store.waiting, LOOK)
            chosen = self.choose(worker, waiting)
            job = None if chosen is None else await self._store.lightly(Store.take, chosen.id)
            if job is not None and chosen is not None:
                self._note(worker, chosen)
            return job

    def choose(self, worker: Taker, waiting: Sequence[Waiting]) -> Waiting | None:
        """The job for `worker`: of the client who has the fewest running, and of these of whose turn is longest ago."""
        return next((job for job in self._in_turn(waiting) if self._suits(worker, job, waiting)), None)

    def _in_turn(self, waiting: Sequence[Waiting]) -> Iterator[Waiting]:
        busy = Counter(worker.running.client_id for worker in self.workers if worker.running is not None)
        jobs: dict[str | None, list[Waiting]] = {}
        for job in waiting:
            jobs.setdefault(job.client_id, []).append(job)
        for client in sorted(jobs, key=lambda it: (busy[it], self._turns.get(it, 0))):
            yield from jobs[client]

    def _suits(self, worker: Taker, job: Waiting, waiting: Sequence[Waiting]) -> bool:
        """Whether `worker` is to run a job: it has the models, or nobody has, or to load them costs less than to wait
        for those who have.
        """
        missing = self._missing(worker, job)
        if not missing:
            return True
        others = [
            other for other in self.workers if other is not worker and (other.is_idle or other.running is not None)
        ]
        if any(other.is_idle and self._missing(other, job) < missing for other in others):
            return False
        holders = [other for other in others if not self._missing(other, job)]
        if not holders:
            return True
        alike = sum(1 for other in waiting if job.models.keys() <= other.models.keys())
        wait = alike * max(other.seconds for other in holders) / len(holders)
        return LOAD_SECONDS + missing / READ_BYTES < wait

    def _missing(self, worker: Taker, job: Waiting) -> int:
        """Bytes of models that a worker would have to load."""
        name = worker.backend.name
        held = worker.backend.holdings().files.keys() | self._given.get(name, {}).keys()
        return sum(max(1, size) for model, size in job.models.items() if model not in held)

    def _note(self, worker: Taker, job: Waiting) -> None:
        self._turn += 1
        self._turns.pop(job.client_id, None)
        self._turns[job.client_id] = self._turn
        if len(self._turns) > _CLIENTS:
            del self._turns[next(iter(self._turns))]
        self._given[worker.backend.name] = job.models  # what it holds is only told once it has been loaded
