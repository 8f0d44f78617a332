"""An ASGI application behind a route: its request and answer as aiohttp has them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from aiohttp import web

Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

LOOK_SECONDS = 1.0
"""How often it is looked whether the client is still there."""


async def answer(application: Application, request: web.Request, body: bytes) -> web.StreamResponse:
    """What the application answers to a request whose whole body was read; it is sent as it comes.

    Raises RuntimeError if the application ends without an answer.
    """
    response: web.StreamResponse | None = None
    given = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if given:
            return given.pop()
        while request.transport is not None and not request.transport.is_closing():
            await asyncio.sleep(LOOK_SECONDS)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal response
        if message["type"] == "http.response.start":
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers", ())]
            response = web.StreamResponse(status=message["status"])
            for name, value in headers:
                if name.lower() != "content-length":
                    response.headers.add(name, value)
            if response.status >= 400:  # what is refused without a type is refused in words
                response.headers.setdefault("Content-Type", "text/plain; charset=utf-8")
            await response.prepare(request)
        elif message["type"] == "http.response.body" and response is not None:
            await response.write(message.get("body", b""))
            if not message.get("more_body", False):
                await response.write_eof()

    await application(_scope(request), receive, send)
    if response is None:
        raise RuntimeError("the application gave no answer")
    return response


def _scope(request: web.Request) -> Message:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.raw_path.encode("latin-1", "replace"),
        "query_string": request.query_string.encode(),
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.raw_headers],
        "client": None,
        "server": None,
    }
