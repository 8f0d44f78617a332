"""All workers of the server, for those who do not care which of them runs a job."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from server.backend import Holdings
from server.worker import Worker

PAUSED = "queue_paused"
"""The setting that outlives the server."""


class Crew:
    """The workers; one where the server runs jobs itself. `sharing` are those that have `workers` run their jobs, cell by
    cell.
    """

    def __init__(self, workers: Sequence[Worker], sharing: Sequence[Worker] = ()) -> None:
        self.workers = tuple(workers)
        self.all = (*workers, *sharing)
        self.paused = False

    def wake(self) -> None:
        """Look at the queue again."""
        for worker in self.all:
            worker.wake()

    def pause(self, paused: bool) -> None:
        """Whether to leave waiting jobs alone; those that run go on."""
        self.paused = paused
        for worker in self.all:
            worker.pause(paused)

    def interrupt(self, prompt_id: str | None = None) -> bool:
        """Stop the job that is meant, or all that run; whether there was one."""
        return any([worker.interrupt(prompt_id) for worker in self.all])  # noqa: C419  all of them are stopped

    def find(self, name: str) -> Worker | None:
        """The worker of that name."""
        return next((worker for worker in self.workers if worker.backend.name == name), None)

    def is_stopping(self, prompt_id: str) -> bool:
        """Whether that job runs, and a user has stopped it."""
        return any(worker.is_stopping(prompt_id) for worker in self.all)

    def free(self, unload_models: bool, free_memory: bool) -> None:
        """Let go of memory, on each worker as soon as it runs no job."""
        for worker in self.workers:
            worker.free(unload_models, free_memory)

    @property
    def rest(self) -> float:
        """Seconds since any has run a job; 0 while one does."""
        return min(worker.rest for worker in self.all)

    def holdings(self) -> Sequence[Holdings]:
        """What each has in memory."""
        return [worker.backend.holdings() for worker in self.workers]

    async def stop(self, serving: Sequence[asyncio.Task[None]]) -> None:
        """Put the jobs that run back into the queue and end `serving`, the loops of the workers."""
        await asyncio.gather(*(worker.stop(task) for worker, task in zip(self.all, serving, strict=True)))
