"""Tells other servers that a job has ended: only those the operator allows, and again if they do not answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

import aiohttp

from server.desk import Desk, StoreUnavailable
from server.refused import bad_request
from server.store import Report, Store
from server.watch import Watch

PAUSES = (1.0, 5.0, 25.0, 125.0, 625.0)
"""Seconds before each further try. What waits is in the database, so it outlives the server."""
ANSWER_SECONDS = 10.0
AT_ONCE = 32
LOOK_SECONDS = 1.0
"""How soon a report is found that nobody pointed out."""

_logger = logging.getLogger(__name__)


class Webhooks:
    """`extra_data.webhook` of a job names where to POST `{"prompt_id", "status", "outputs", "error"}`."""

    def __init__(
        self, hosts: Iterable[str], store: Desk[Store], watch: Watch, pauses: Iterable[float] = PAUSES
    ) -> None:
        """hosts: `name` or `name:port`, each an address that may be called. store: keeps what is to be told."""
        self._hosts = frozenset(host.lower() for host in hosts)
        self._store = store
        self._watch = watch
        self._pauses = tuple(pauses)
        self._wake = asyncio.Event()
        self._under_way: set[str] = set()

    def check(self, extra: Mapping[str, object]) -> None:
        """Raise Refused if a job wants to be reported where that is not allowed."""
        url = extra.get("webhook")
        if url is not None and not (isinstance(url, str) and self._may_call(url)):
            raise bad_request("extra_data.webhook: not among the addresses allowed with --webhook-host")

    def wake(self) -> None:
        """A job has ended."""
        self._wake.set()

    async def serve(self) -> None:
        """Report until cancelled. A report that is under way then is made again after the next start."""
        if not self._hosts:
            return
        self._under_way.clear()
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                due = await self._due()
                self._watch.went_well("webhooks")
                for host in dict.fromkeys(report.host for report in due):
                    self._under_way.add(host)
                    tasks.create_task(self._tell(session, host, [report for report in due if report.host == host]))
                if not due:
                    await self._rest()

    async def _due(self) -> list[Report]:
        """What is due at hosts that are not being told anything."""
        try:
            return await self._store(Store.reports, AT_ONCE, self._under_way)
        except StoreUnavailable as error:
            _logger.error("%s; webhooks wait", error)
            return []

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _tell(self, session: aiohttp.ClientSession, host: str, reports: Sequence[Report]) -> None:
        """Make reports to one host, which nobody else waits for, and none of them twice at once."""
        ended = await asyncio.gather(*(self._deliver(session, it) for it in reports), return_exceptions=True)
        for failure in filter(None, ended):
            if not isinstance(failure, StoreUnavailable):
                raise failure
            _logger.error("%s; webhooks wait", failure)
            await asyncio.sleep(LOOK_SECONDS)
        self._under_way.discard(host)
        self.wake()

    async def _deliver(self, session: aiohttp.ClientSession, report: Report) -> None:
        arrived = False  # no answer is one more reason to try again
        with self._watch.surviving("webhooks"), contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            arrived = self._may_call(report.url) and await self._post(session, report)
        if not arrived and report.tries < len(self._pauses) and self._may_call(report.url):
            await self._store(Store.report_again, report, self._pauses[report.tries])
            return
        if not arrived:
            _logger.warning("the webhook of job %s did not answer", report.job)
        await self._store(Store.report_done, report)

    async def _post(self, session: aiohttp.ClientSession, report: Report) -> bool:
        headers = {"Content-Type": "application/json"}
        async with session.post(report.url, data=report.body, headers=headers, allow_redirects=False) as answer:
            return answer.status < 500 and answer.status != 429

    def _may_call(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return False
        name = (parts.hostname or "").lower()
        if not url.isprintable():  # SQLite could not give back half a surrogate pair, nor what follows a NUL
            return False
        if parts.scheme not in ("http", "https") or not name or parts.username is not None:
            return False
        return f"{name}:{port}" in self._hosts if port is not None else name in self._hosts
