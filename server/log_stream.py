"""New lines of the log, for the front ends that asked for them: gathered, without the machine's paths, never waited for."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from server.hub import Hub
from server.redact import Redactor
from server.transcript import Message

GATHER_SECONDS = 0.1
_MOST = 500
"""Lines that are told at once; of more, the newest."""


class LogStream:
    """Hears lines on any thread, and tells them on the event loop."""

    def __init__(self, hub: Hub, redact: Redactor) -> None:
        """To be made on the event loop."""
        self._hub = hub
        self._redact = redact
        self._loop = asyncio.get_running_loop()
        self._clients: set[str] = set()
        self._lines: deque[tuple[float, str]] = deque(maxlen=_MOST)
        self._gathering = False

    def subscribe(self, client_id: str, wanted: bool) -> None:
        """Whether the sockets of a client get the log from now on."""
        change: Callable[[str], None] = self._clients.add if wanted else self._clients.discard
        change(client_id)

    def hear(self, when: float, text: str) -> None:
        """Take a line."""
        if not self._clients:
            return
        self._lines.append((when, text))
        if not self._gathering:
            self._gathering = True
            self._loop.call_soon_threadsafe(self._loop.call_later, GATHER_SECONDS, self._tell)

    def _tell(self) -> None:
        self._gathering = False
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        entries = [
            {"t": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(when)), "m": f"{self._redact(text)}\n"}
            for when, text in lines
        ]
        self._clients = {client_id for client_id in self._clients if self._hub.is_here(client_id)}
        message = Message("logs", {"entries": entries, "size": {"cols": 120, "rows": 40}})
        for client_id in self._clients:
            self._hub.tell_client(client_id, message)
