"""Loops that live as long as the server: each is begun again when it fails, and what cannot go on stops the process."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from server.metrics import Metrics

MOST = 5
"""Failures after which a loop that is needed is given up, if nothing went well between them."""
PAUSE_SECONDS = 0.1
"""Before a loop is begun again; doubled with each failure in a row."""
LONGEST_SECONDS = 60.0
LOG_SECONDS = 1.0
"""A loop that fails at every event is in the log once in so long, with its traceback; the metrics count them all."""

_logger = logging.getLogger(__name__)


class Watch:
    """Knows the loops of one server. What fails in them is in the log and in the metrics, by the loop's name."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._given_up = asyncio.Event()
        self._reason = ""
        self._logged: dict[str, float] = {}
        self._in_a_row: dict[str, int] = {}

    def begin(self, name: str, loop: Callable[[], Awaitable[None]], needed: bool = False) -> asyncio.Task[None]:
        """Run `loop` until it returns or the task is cancelled, again and again if it raises.

        Without a `needed` one the server cannot go on; others are begun again for ever, ever more rarely.
        """
        return asyncio.create_task(self._go_on(name, loop, needed), name=name)

    def failed(self, name: str, error: BaseException) -> None:
        """Note that one turn of a loop failed, which goes on all the same."""
        self._metrics.loop_failed(name)
        now = time.monotonic()
        if now - self._logged.get(name, -LOG_SECONDS) >= LOG_SECONDS:
            self._logged[name] = now
            _logger.error("%s failed: %s: %s", name, type(error).__name__, error, exc_info=error)

    def went_well(self, name: str) -> None:
        """Note that a loop has done something of what it is for: what failed before has not failed in a row."""
        self._in_a_row[name] = 0

    def surviving(self, name: str) -> Surviving:
        """Whatever fails within is noted as a failure of the loop `name`, and goes no further."""
        return Surviving(self, name)

    def give_up(self, reason: str) -> None:
        """The server cannot do its work any more. May be called once from each of several loops: the first counts."""
        if not self._given_up.is_set():
            self._reason = reason
            self._given_up.set()
            _logger.critical("the server cannot go on: %s", reason)

    async def gave_up(self) -> str:
        """Why the server cannot go on, once that is so."""
        await self._given_up.wait()
        return self._reason

    def overhear(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note what fails in callbacks and tasks that nobody waits for."""
        loop.set_exception_handler(self._overheard)

    def _overheard(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException):
            self.failed("event loop", error)
        else:
            _logger.warning("event loop: %s", context.get("message"))

    async def _go_on(self, name: str, loop: Callable[[], Awaitable[None]], needed: bool) -> None:
        self._metrics.loop_runs(name, True)
        try:
            while True:
                try:
                    await loop()
                    return
                except Exception as error:  # noqa: BLE001  it is in the log, and counted
                    self.failed(name, error)
                    failures = self._in_a_row[name] = self._in_a_row.get(name, 0) + 1
                    reason = f"{name} failed {failures} times in a row, at last with {type(error).__name__}: {error}"
                if needed and failures == MOST:
                    self.give_up(reason)
                    return
                await asyncio.sleep(min(PAUSE_SECONDS * 2 ** (failures - 1), LONGEST_SECONDS))
        finally:
            self._metrics.loop_runs(name, False)


@dataclass(frozen=True, slots=True)
class Surviving:
    """What `Watch.surviving` gives: for a `with`."""

    watch: Watch
    name: str

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Not what ends the process or the task."""
        if not isinstance(error, Exception):
            return False
        self.watch.failed(self.name, error)
        return True
