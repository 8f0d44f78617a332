"""Tells other servers that a job has ended: only those the operator allows, and again if they do not answer."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp

from server.job import Job, Outcome
from server.refused import bad_request

PAUSES = (1.0, 5.0, 25.0, 125.0)
"""Seconds before each further try."""
ANSWER_SECONDS = 10.0
WAITING = 1000
"""Reports under way at once; more are dropped, with a line in the log."""

_logger = logging.getLogger(__name__)


class Webhooks:
    """`extra_data.webhook` of a job names where to POST `{"prompt_id", "status", "outputs", "error"}`."""

    def __init__(self, hosts: Iterable[str], pauses: Iterable[float] = PAUSES) -> None:
        """hosts: `name` or `name:port`, each an address that may be called."""
        self._hosts = frozenset(host.lower() for host in hosts)
        self._pauses = tuple(pauses)
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def check(self, extra: Mapping[str, object]) -> None:
        """Raise Refused if a job wants to be reported where that is not allowed."""
        url = extra.get("webhook")
        if url is not None and not (isinstance(url, str) and self._may_call(url)):
            raise bad_request("extra_data.webhook: not among the addresses allowed with --webhook-host")

    def report(self, job: Job, outcome: Outcome) -> None:
        """Tell of a job that has ended, in the background."""
        url = json.loads(job.extra).get("webhook")
        if not isinstance(url, str) or not self._may_call(url):
            return
        if len(self._tasks) >= WAITING:
            _logger.warning("too many webhooks wait; job %s is not reported", job.id)
            return
        error = "null" if outcome.error is None else outcome.error
        body = (
            f'{{"prompt_id": {json.dumps(job.id)}, "status": "{outcome.state}", "outputs": {outcome.outputs}, '
            f'"error": {error}}}'
        )
        task = asyncio.create_task(self._deliver(url, body, job.id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, url: str, body: str, job_id: str) -> None:
        for pause in (*self._pauses, None):
            try:
                if await self._post(url, body):
                    return
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass  # no answer is one more reason to try again
            if pause is not None:
                await asyncio.sleep(pause)
        _logger.warning("the webhook of job %s did not answer", job_id)

    async def _post(self, url: str, body: str) -> bool:
        assert self._session is not None
        headers = {"Content-Type": "application/json"}
        async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
            return answer.status < 500 and answer.status != 429

    def _may_call(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return False
        name = (parts.hostname or "").lower()
        if parts.scheme not in ("http", "https") or not name or parts.username is not None:
            return False
        return f"{name}:{port}" in self._hosts if port is not None else name in self._hosts
