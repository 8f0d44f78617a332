"""Sessions of programs that work here by the Model Context Protocol, begun with the first request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

from server.asgi import Application
from server.client import Client


class Manager(Protocol):
    """What keeps the sessions; `run` is entered once."""

    @property
    def handle_request(self) -> Application: ...

    def run(self) -> AbstractAsyncContextManager[None]: ...


Begin: TypeAlias = Callable[[Callable[[], Client], str, int], Manager]

LARGEST_MESSAGE = 16 * 2**20
"""Bytes: a picture in base64 among others."""


class Programs:
    """What answers them, and the one task that keeps their sessions."""

    def __init__(self, token: str | None, version: str) -> None:
        self._token = token
        self._version = version
        self._lock = asyncio.Lock()
        self._application: Application | None = None
        self._end = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def application(self, address: str) -> Application:
        """What answers. address: where this server's own API is reached. Raises ImportError without the package."""
        async with self._lock:
            if self._application is None:
                begun: asyncio.Future[Application] = asyncio.get_running_loop().create_future()
                self._task = asyncio.create_task(self._serve(address, begun))
                self._application = await begun
        return self._application

    async def close(self) -> None:
        """End all sessions."""
        self._end.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _serve(self, address: str, begun: asyncio.Future[Application]) -> None:
        """Keep the sessions open in one task, as the package asks."""
        try:
            sessions = await asyncio.to_thread(_sessions)
            manager = sessions(lambda: Client(address, self._token or "", trust=True), self._version, LARGEST_MESSAGE)
            async with manager.run():
                begun.set_result(manager.handle_request)
                await self._end.wait()
        except Exception as error:
            if begun.done():
                raise
            begun.set_exception(error)


def _sessions() -> Begin:
    """The import takes a while."""
    from server.mcp_server import sessions

    return sessions
