"""Which work a free worker takes: clients in turn, cells of sweeps among them, and jobs where their models are in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from graph.split import Piece
from server.at_hand import ResultsAtHand
from server.backend import Backend
from server.desk import Desk
from server.job import Job, Waiting
from server.recent import Recent
from server.spread import Portion, SharedRun
from server.store import Store

LOOK = 64
"""Jobs of each client that are looked at."""
LOAD_SECONDS = 1.0
"""What loading a model costs besides reading it."""
READ_BYTES = 1e9
"""Bytes of a model that are read and brought to a device in a second."""
_PARTIES = 1000


class Taker(Protocol):
    """What placement sees of a worker."""

    @property
    def backend(self) -> Backend: ...

    @property
    def running(self) -> Job | Waiting | None: ...

    @property
    def is_idle(self) -> bool: ...

    @property
    def paused(self) -> bool: ...

    @property
    def seconds(self) -> float: ...

    @property
    def lost(self) -> int: ...


class Placement:
    """Decides for one worker after the other. `workers` are all there are, `sweeps` the runs whose cells they share, and
    `sharing` those who begin such runs.
    """

    def __init__(
        self,
        store: Desk[Store],
        workers: Sequence[Taker] = (),
        sweeps: Sequence[SharedRun] = (),
        results: ResultsAtHand | None = None,
    ) -> None:
        self.workers = workers
        self.sharing: Sequence[Taker] = ()
        self._store = store
        self._sweeps = sweeps
        self._deciding = asyncio.Lock()
        self._turns: dict[tuple[str | None, str], int] = {}
        self._turn = 0
        self._given: dict[str, Mapping[str, int]] = {}
        self._results = results or ResultsAtHand(Recent())

    @property
    def sweeps(self) -> Sweeps:
        """Where those who begin such runs get them."""
        return Sweeps(self)

    def expect(self, worker: Taker) -> None:
        """Nothing: which worker gets a job is decided when one is free."""

    async def take(self, worker: Taker) -> Job | Portion | None:
        """The next job for `worker`, now running, or a part of one that runs; None if there is nothing that is not better
        left to another. One that is paused goes on with what runs.
        """
        async with self._deciding:
            waiting = [] if worker.paused else await self._store.lightly(Store.waiting, LOOK)
            if any(worker.backend.resumes.startswith(f"{job.id}/") for job in waiting):
                return None  # it has a piece of a job that is about to be shared
            match self.choose(worker, [job for job in waiting if not self._is_shared(job, waiting)]):
                case Waiting() as chosen:
                    return await self._taken(worker, chosen)
                case chosen:
                    return chosen

    async def take_sweep(self, worker: Taker) -> Job | None:
        """The next job to be shared by all. One of each client is under way as long as pieces of it are left."""
        async with self._deciding:
            if worker.paused:
                return None
            waiting = await self._store.lightly(Store.waiting, LOOK)
            left = {sweep.job.id: sweep.left for sweep in self._sweeps}
            begun = [other.running for other in self.sharing if other.running is not None]
            busy = {job.client_id for job in begun if left.get(job.id, 1)}  # one was taken, and is not yet a run
            jobs = (job for job in self._in_turn(waiting) if isinstance(job, Waiting))
            shared = (job for job in jobs if self._is_shared(job, waiting))
            chosen = next((job for job in shared if job.client_id not in busy), None)
            return None if chosen is None else await self._taken(None, chosen)

    def choose(self, worker: Taker, waiting: Sequence[Waiting]) -> Waiting | Portion | None:
        """What `worker` is to run: of the client who has the fewest running, and of these of whose turn is longest ago. A
        client's single jobs and its sweeps take turns in the same way.
        """
        if resumed := worker.backend.resumes:
            portions = (sweep.take_up(worker.backend.name) for sweep in self._sweeps)
            own = next((job for job in waiting if job.id == resumed), None)
            if (taken := own or next(filter(None, portions), None)) is not None:
                return taken
        for found in self._in_turn(waiting):
            if isinstance(found, Waiting):
                if self._suits(worker, found, waiting):
                    return found
            elif (portion := found.take(worker.backend.name, partial(self._may_take, worker, found))) is not None:
                self._note(worker, replace(found.job, models=portion.piece.models), found.job.id)
                return portion
        return None

    async def _taken(self, worker: Taker | None, chosen: Waiting) -> Job | None:
        job = await self._store.lightly(Store.take, chosen.id)
        if job is not None:
            self._note(worker, chosen)
        return job

    def _in_turn(self, waiting: Sequence[Waiting]) -> Iterator[Waiting | SharedRun]:
        shared = {sweep.job.id for sweep in self._sweeps}
        running = [worker.running for worker in self.workers if worker.running is not None]
        clients = Counter(job.client_id for job in running)
        parties = Counter((job.client_id, job.id if job.id in shared else "") for job in running)
        found: dict[tuple[str | None, str], list[Waiting | SharedRun]] = {}
        for job in waiting:
            found.setdefault((job.client_id, ""), []).append(job)
        for sweep in self._sweeps:
            if sweep.left:
                found[sweep.job.client_id, sweep.job.id] = [sweep]
        last = Counter[str | None]()
        for (client, _), turn in self._turns.items():
            last[client] = max(last[client], turn)
        order = sorted(found, key=lambda it: (clients[it[0]], last[it[0]], parties[it], self._turns.get(it, 0)))
        for party in order:
            yield from found[party]

    def _suits(self, worker: Taker, job: Waiting, waiting: Sequence[Waiting]) -> bool:
        """Whether `worker` is to run a job: it has the models, or nobody has, or to load them costs less than to wait
        for those who have. Of several that are free it is the one that has most results at hand.
        """
        if any(other.backend.resumes == job.id for other in self.workers if other is not worker):
            return False
        others = [
            other for other in self.workers if other is not worker and (other.is_idle or other.running is not None)
        ]
        lacks = self._lacks(worker, job)
        if any(other.is_idle and self._lacks(other, job) < lacks for other in others):
            return False
        if not (missing := lacks[0]):
            return True
        holders = [other for other in others if not self._missing(other, job.models)]
        if not holders:
            return True
        alike = sum(1 for other in waiting if job.models.keys() <= other.models.keys())
        wait = alike * max(other.seconds for other in holders) / len(holders)
        return LOAD_SECONDS + missing / READ_BYTES < wait

    def _is_shared(self, job: Waiting, waiting: Sequence[Waiting]) -> bool:
        """Whether all workers are to share a job: a sweep always; a batch if some would have nothing else to do, and have
        its models or load them in less time than they save.
        """
        if job.is_swept or not job.items:
            return job.is_swept
        if any(other.backend.resumes.startswith(f"{job.id}/") for other in self.workers):
            return True  # it was shared before the server was begun anew
        if any(sweep.left for sweep in self._sweeps) or all(it.running is not None for it in self.sharing):
            return False
        seconds = max(worker.seconds for worker in self.workers) / 2
        missing = [self._missing(worker, job.models) for worker in self.workers if worker.is_idle]
        apt = sum(not lacks or LOAD_SECONDS + lacks / READ_BYTES < seconds for lacks in missing)
        return apt > len(waiting)

    def _may_take(self, worker: Taker, sweep: SharedRun, piece: Piece, left: int) -> bool:
        """Whether a worker is to begin with a cell that another would come to as the last but so many."""
        missing = self._missing(worker, piece.models)
        return not (missing and left and sweep.seconds) or LOAD_SECONDS + missing / READ_BYTES < left * sweep.seconds

    def _lacks(self, worker: Taker, job: Waiting) -> tuple[int, float, int]:
        """How little of what a job needs a worker has: bytes of models that are not there, bytes of memory that these
        would take from others, then results.
        """
        missing = self._missing(worker, job.models)
        short = max(0, missing - worker.backend.holdings().free) if missing else 0
        return missing, short, -self._results.count(_life(worker), job.id)

    def _missing(self, worker: Taker, models: Mapping[str, int]) -> int:
        """Bytes of models that a worker would have to load."""
        held = worker.backend.holdings().files.keys() | self._given.get(_life(worker), {}).keys()
        return sum(max(1, size) for model, size in models.items() if model not in held)

    def _note(self, worker: Taker | None, job: Waiting, sweep: str = "") -> None:
        self._turn += 1
        self._turns.pop((job.client_id, sweep), None)
        self._turns[job.client_id, sweep] = self._turn
        if len(self._turns) > _PARTIES:
            del self._turns[next(iter(self._turns))]
        if worker is not None:
            self._results.note(_life(worker), job.id)
            self._given[_life(worker)] = job.models  # what it holds is only told once it has been loaded


class Sweeps:
    """Sweeps to be shared by all, one after the other."""

    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    def expect(self, worker: Taker) -> None:
        """Nothing, as above."""

    async def take(self, worker: Taker) -> Job | None:
        """The next one."""
        return await self._placement.take_sweep(worker)


def _life(worker: Taker) -> str:
    """A worker, as long as its process lasts: another has nothing of what it was given before."""
    return f"{worker.backend.name} {worker.lost}"
