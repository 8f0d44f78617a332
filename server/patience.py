"""Connections over which no request comes: they are closed after a while, since each holds memory and a file number."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

KEEP_ALIVE_SECONDS = 75.0
"""How long a connection is kept between two requests; also how long the head of a later request may take."""


class Patience:
    """Knows which connections have brought a request. Everything here happens on the event loop."""

    def __init__(self, seconds: float) -> None:
        """seconds: what the head of a connection's first request may take."""
        self._seconds = seconds
        self._silent: dict[web.RequestHandler, float] = {}
        self._heard: set[web.RequestHandler] = set()

    def heard(self, connection: web.RequestHandler) -> None:
        """A request has come in; from now on aiohttp's own time limit between requests counts."""
        self._heard.add(connection)
        self._silent.pop(connection, None)

    async def watch(self, server: web.Server) -> None:
        """Look at the connections of `server` again and again, until cancelled."""
        while True:
            self.look(server)
            await asyncio.sleep(self._seconds / 4)

    def look(self, server: web.Server) -> None:
        """Close those that have been silent for too long."""
        now, open_ = time.monotonic(), set(server.connections)
        self._heard &= open_
        self._silent = {connection: self._silent.get(connection, now) for connection in open_ - self._heard}
        for connection, since in self._silent.items():
            if now - since > self._seconds:
                connection.force_close()
