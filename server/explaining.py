"""Jobs that have ended and are still to be explained: that is done when there is nothing else to do, or somebody asks."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from graph.account import Account
from graph.patient_json import dumps
from server.explanation import told
from server.ledger import StoredLedger
from server.redact import Redactor
from server.threads import in_thread
from server.watch import Watch

MOST = 8
"""Jobs that may wait to be explained: in a long row of jobs there is never nothing to do."""


class Explaining:
    """Works out what the nodes of jobs did and why, and has the ledger keep it. Everything here is asked on the event loop.

    One job after the other, in the order in which they ended: each is compared with those before.
    """

    def __init__(self, ledger: StoredLedger, redact: Redactor, threads: ThreadPoolExecutor, watch: Watch) -> None:
        self._ledger = ledger
        self._redact = redact
        self._threads = threads
        self._watch = watch
        self._turn = asyncio.Lock()
        self._waiting: deque[tuple[str, Account]] = deque()

    @property
    def is_due(self) -> bool:
        """Whether too many wait."""
        return len(self._waiting) > MOST

    def __bool__(self) -> bool:
        """Whether any wait."""
        return bool(self._waiting)

    def add(self, job: str, account: Account) -> None:
        """A job's nodes have done what they will do. To be called before clients may see that it has ended."""
        self._waiting.append((job, account))

    async def explained(self, job: str) -> None:
        """See to it that a job is explained, if it waits for that."""
        if any(waiting == job for waiting, _ in self._waiting):
            await self.explain()

    async def explain(self) -> None:
        """Explain all that wait."""
        async with self._turn:
            while jobs := list(self._waiting):
                with self._watch.surviving("worker"):
                    await in_thread(self._threads, self._explain, jobs)
                for _ in jobs:
                    self._waiting.popleft()

    def _explain(self, jobs: Sequence[tuple[str, Account]]) -> None:
        """What is wrong with one of them harms no other."""
        texts: dict[str, str] = {}
        for job, account in jobs:
            with self._watch.surviving("worker"):
                if explained := account.explain(self._ledger):
                    texts[job] = dumps(told(explained, self._redact))
        self._ledger.keep_explanations(texts)
