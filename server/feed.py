"""From the engine's threads to the event loop: what a run tells, in order, and whatever cannot be told holds nothing up."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeAlias

from graph.events import Event, Progress
from server.hub import Hub, Live
from server.watch import Watch

PREVIEW_SECONDS = 0.1
SLICE_SECONDS = 0.005
"""How long events of a fast run are told before other requests get their turn."""
PREVIEW_PATIENCE = 5.0
"""How long a run's later events wait for a preview that is still being made; then they are told without it."""
GATHER_SECONDS = 0.002
"""How long events are gathered at first, and after some were told: to be woken for each one costs more than to tell it."""

_Told: TypeAlias = tuple[Event, float, Future[bytes | None] | None]
"""An event, when it was told, and its preview."""


class Feed:
    """Carries one run's events from the engine's threads to the event loop: in order, in batches, never waiting.

    `sinks` see every event as well, there, each until it fails. Whatever cannot be told, the events behind it are.
    """

    def __init__(self, hub: Hub, live: Live, watch: Watch) -> None:
        """To be made on the event loop."""
        self._hub = hub
        self._live = live
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self.sinks: list[Callable[[Event], None]] = []
        self._events: deque[_Told] = deque()
        self._scheduled = True  # quick runs are over before they are told of
        self._next: asyncio.Handle | None = self._loop.call_later(GATHER_SECONDS, self._drain)
        self._shown = 0.0
        self._encoding: Future[bytes | None] | None = None
        self._empty = asyncio.Event()

    def __call__(self, event: Event) -> None:
        """Take an event. Called on any thread; a preview is begun here, so that it shows this very step."""
        preview = self._preview(event) if isinstance(event, Progress) else None
        self._events.append((event, time.time(), preview))
        if not self._scheduled:
            self._scheduled = True
            with contextlib.suppress(RuntimeError):  # the event loop is closed: a node was left behind, nobody listens
                self._loop.call_soon_threadsafe(self._drain)

    async def told(self) -> None:
        """Wait until all events that have come so far are told."""
        while self._events:
            self._empty.clear()
            self._drain()
            if self._events:
                await self._empty.wait()

    def _preview(self, event: Progress) -> Future[bytes | None] | None:
        """One at a time, ten a second."""
        now = time.monotonic()
        if now - self._shown < PREVIEW_SECONDS or (self._encoding is not None and not self._encoding.done()):
            return None
        self._encoding = self._hub.encode(self._live, event)
        if self._encoding is not None:
            self._shown = now
        return self._encoding

    def _drain(self) -> None:
        """Tell what has come in, for a while and up to a preview that is still being made, and go on later."""
        if self._next is not None:
            self._next.cancel()
        told, until = False, self._loop.time() + SLICE_SECONDS
        self._scheduled = bool(self._events)  # if not, whoever brings one from now on wakes the loop
        while self._events:
            event, when, preview = self._events[0]
            if preview is not None and not preview.done() and (patience := self._patience()) > 0:
                preview.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._drain))
                self._next = self._loop.call_later(patience, self._drain)
                return
            self._events.popleft()
            self._tell(event, when, _picture(preview))
            told = True
            if self._loop.time() > until and self._events:
                self._next = self._loop.call_soon(self._drain)
                return
        self._empty.set()
        if told:
            self._scheduled = True
            self._next = self._loop.call_later(GATHER_SECONDS, self._drain)

    def _patience(self) -> float:
        """Seconds for which the newest preview may still be waited for."""
        return self._shown + PREVIEW_PATIENCE - time.monotonic()

    def _tell(self, event: Event, when: float, preview: bytes | None) -> None:
        """Show an event to the clients and to each sink; what fails harms neither the others nor what comes next."""
        with self._watch.surviving("events"):
            self._hub.show(self._live, event, when, preview)
        for sink in self.sinks:
            with self._watch.surviving("events"):
                sink(event)
                continue
            self.sinks = [other for other in self.sinks if other is not sink]  # such as a terminal that went away


def _picture(preview: Future[bytes | None] | None) -> bytes | None:
    """What became of a preview."""
    if preview is None or not preview.done() or preview.cancelled() or preview.exception() is not None:
        return None
    return preview.result()
