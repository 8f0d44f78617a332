"""The next job for the worker of a server that has only one: taken in the very transaction that puts it into the queue."""

from __future__ import annotations

import asyncio
from functools import partial

from server.desk import Desk
from server.job import Job
from server.store import Store
from server.worker import Worker


class NextJob:
    """Takes jobs for one worker. While that waits, the commit that makes a job wait, or ends the one before, takes the next
    as well, so that nobody has to ask for it.
    """

    def __init__(self, store: Desk[Store]) -> None:
        self._store = store
        self._coming: asyncio.Future[Job] | None = None
        self._failed: BaseException | None = None

    def expect(self, worker: Worker) -> None:
        """Have the worker given the next job as soon as there is one that it takes."""
        if self._coming is None:
            self._coming = self._store.first(lambda store: store.take() if worker.takes else None)
            self._coming.add_done_callback(partial(self._came, worker))

    async def take(self, worker: Worker) -> None:
        """Have the worker given the job that waits first, and until there is one expect it. Raises what taking one did."""
        if (failed := self._failed) is not None:
            self._failed = None
            raise failed
        self.expect(worker)
        if worker.takes:
            await self._store.look()

    def _came(self, worker: Worker, coming: asyncio.Future[Job]) -> None:
        self._coming, self._failed = None, coming.exception()
        if self._failed is None:
            worker.give(coming.result())
        else:
            worker.wake()
