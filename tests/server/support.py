"""A real server on a real port, and a client that keeps what it hears."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from graph.files import Folders
from server.app import create_app
from server.backend import LocalBackend
from server.deps import Deps
from tests.server.stub_nodes import factory

Json = Any


@dataclass
class Client:
    """Speaks to one server."""

    url: str
    session: aiohttp.ClientSession
    app: web.Application
    runner: web.AppRunner

    async def get(self, path: str, **named: Any) -> Json:
        async with self.session.get(self.url + path, **named) as answer:
            assert answer.status == 200, (path, answer.status, await answer.text())
            return await answer.json()

    async def post(self, path: str, body: Json = None, **named: Any) -> tuple[int, Json]:
        data = body if isinstance(body, bytes | str) else json.dumps(body)
        async with self.session.post(self.url + path, data=data, **named) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text and answer.content_type == "application/json" else text

    async def queue(self, prompt: Json, **named: Json) -> str:
        status, answer = await self.post("/prompt", {"prompt": prompt, **named})
        assert status == 200, answer
        return str(answer["prompt_id"])

    async def entry(self, prompt_id: str) -> Json:
        """The history of a job, once it has ended."""
        async with asyncio.timeout(30):
            while True:
                found = await self.get(f"/history/{prompt_id}")
                if found:
                    return found[prompt_id]
                await asyncio.sleep(0.01)

    async def run(self, prompt: Json, **named: Json) -> Json:
        return await self.entry(await self.queue(prompt, **named))

    @contextlib.asynccontextmanager
    async def listen(self, client_id: str, query: str = "", **features: Json) -> AsyncIterator[Ear]:
        async with self.session.ws_connect(f"{self.url}/ws?clientId={client_id}{query}") as ws:
            ear = Ear(ws)
            if features:
                await ws.send_json({"type": "feature_flags", "data": features})
            yield ear


@dataclass
class Ear:
    """One socket and what came through it: (type, data) or ("binary", bytes)."""

    ws: aiohttp.ClientWebSocketResponse
    heard: list[tuple[str, Json]] = field(default_factory=list)

    async def next(self) -> tuple[str, Json]:
        message = await self.ws.receive(timeout=30)
        if message.type is aiohttp.WSMsgType.BINARY:
            self.heard.append(("binary", message.data))
        elif message.type is aiohttp.WSMsgType.TEXT:
            said = json.loads(message.data)
            self.heard.append((said["type"], said["data"]))
        else:
            self.heard.append(("closed", (message.data, message.extra)))
        return self.heard[-1]

    async def until(self, wanted: Callable[[str, Json], bool]) -> list[tuple[str, Json]]:
        while not wanted(*await self.next()):
            pass
        return self.heard

    async def until_done(self, prompt_id: str) -> list[tuple[str, Json]]:
        return await self.until(
            lambda type_, data: type_ == "executing" and data["node"] is None and data["prompt_id"] == prompt_id
        )

    def types(self, *without: str) -> list[str]:
        return [type_ for type_, _ in self.heard if type_ not in without]


def deps_of(base: Path, wait: Callable[[], object] | None = None, **changes: Any) -> Deps:
    """A server over the stub nodes."""
    folders = Folders.standard(base)
    deps = Deps(folders, base / "darkroom.db", LocalBackend(factory(folders, wait), folders))
    return replace(deps, **changes)


@contextlib.asynccontextmanager
async def serving(deps: Deps) -> AsyncIterator[Client]:
    """The server, for the length of a `with`."""
    runner = web.AppRunner(create_app(deps), shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        for backend in (deps.backend, *deps.workers):
            backend.start()
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession() as session:
            yield Client(f"http://{host}:{port}", session, runner.app, runner)
    finally:
        await runner.cleanup()


def chain(value: int = 1, length: int = 1, seed: int = 0, steps: int = 3, seconds: float = 0.0) -> dict[str, Json]:
    """Value -> Add … -> Steps -> Save."""
    prompt: dict[str, Json] = {"v": {"class_type": "Value", "inputs": {"value": value}}}
    last = "v"
    for i in range(length):
        prompt[f"a{i}"] = {"class_type": "Add", "inputs": {"a": [last, 0], "b": 1}}
        last = f"a{i}"
    prompt["s"] = {
        "class_type": "Steps",
        "inputs": {
            "value": [last, 0],
            "seed": seed,
            "steps": steps,
            "cfg": 7.5,
            "kind": "euler",
            "seconds": seconds,
        },
    }
    prompt["o"] = {"class_type": "Save", "inputs": {"value": ["s", 0], "prefix": "out"}}
    return prompt


@contextlib.contextmanager
def in_background(tmp_path: Path, **changes: Any) -> Iterator[Client]:
    """A server on a thread of its own, for clients that block."""
    ready: list[Client] = []
    begun, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def body() -> None:
        async with serving(deps_of(tmp_path, **changes)) as client:
            ready.append(client)
            begun.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(body(),))
    thread.start()
    assert begun.wait(30)
    try:
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
