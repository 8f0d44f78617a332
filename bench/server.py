"""What the server costs: `python -m bench.server`. Everything through real sockets, by a client in another process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import psutil

from bench.bare import ETAG
from bench.turns import chain, fan, sink, source, step
from graph.cache import Cache
from graph.document import Document, write
from graph.execute import Executor
from graph.files import Folders
from graph.spec import Registry
from server.backend import Engine, LocalBackend
from server.deps import Deps
from server.launch import Listen, serve

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "workflows" / "text_to_image.json"
SIZES = {10: 0.3, 100: 0.1, 1_000: 0.15}
"""Nodes, and the milliseconds that each of them may take."""
ACCEPTED = {1: 600, 8: 1200}
"""Jobs accepted a second that are wanted, by how many clients send them."""
WRITTEN = 4096, 65_536
"""Bytes: what a commit to the database writes at least, and about what it does for an accepted job."""
REPEATS = 5
JOBS = 200
CROWD_SIDE = 256
CROWD_STEPS = 3
"""Steps with and without a crowd, in turn."""


class Row(NamedTuple):
    """One line of the table."""

    name: str
    measured: str
    goal: str


class Client(NamedTuple):
    """One server and a session with it."""

    url: str
    session: aiohttp.ClientSession
    process: int

    async def post(self, path: str, body: Any) -> None:
        """Send JSON; the answer has to be 200."""
        async with self.session.post(self.url + path, data=json.dumps(body)) as answer:
            assert answer.status == 200, await answer.text()

    def hearing(self) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
        """The messages of what `me` has run."""
        return self.session.ws_connect(f"{self.url}/ws?clientId=me", max_msg_size=0)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> bytes:
        """The body of an answer."""
        async with self.session.get(self.url + path, headers=headers) as answer:
            return await answer.read()


@contextlib.asynccontextmanager
async def serving(*arguments: str, threads: int | None = None, root: Path = ROOT) -> AsyncIterator[Client]:
    """A server process for the length of a `with`; `arguments` follow `python`, which runs in `root`."""
    environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=root, stdout=PIPE, stderr=DEVNULL, env=environment
    )
    try:
        assert process.stdout is not None
        found = re.search(rb"http://\S+", await process.stdout.readline())
        assert found, "the server did not start"
        async with aiohttp.ClientSession(headers={"Accept-Encoding": "identity"}) as session:
            yield Client(found[0].decode(), session, process.pid)
    finally:
        process.terminate()
        await process.wait()


def real(base: Path) -> list[str]:
    """The server as users start it."""
    return ["main.py", "serve", "--cpu", "--port", "0", "--base-directory", str(base)]


def table() -> list[Row]:
    """All figures."""
    with tempfile.TemporaryDirectory() as place:
        return asyncio.run(_table(Path(place)))


async def _table(base: Path) -> list[Row]:
    rows = [await _start(base / "start")]
    async with serving(*real(base / "real")) as client:
        size = len(await client.get("/object_info"))
        rows += await _object_info(client)
        rows += [await _accepting(client, at_once) for at_once in ACCEPTED]
        rows.append(await _again(client))
    rows += await _floors(base, size)
    async with serving("-m", "bench.server", str(base / "nodes")) as client:
        rows += [await _nodes(client, shape, n) for shape in (chain, fan) for n in SIZES]
    rows.append(await crowded(base / "crowd"))
    return rows


async def _start(base: Path) -> Row:
    seconds = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        async with serving(*real(base)) as client:
            await client.get("/queue")
            seconds.append(time.perf_counter() - begun)
    return Row("start to the first answer of /queue", f"{min(seconds):.2f} s", "1 s")


async def _object_info(client: Client) -> list[Row]:
    """Whole, packed (the client unpacks it), and for who has it already."""
    path = "/object_info"
    async with client.session.get(client.url + path) as answer:
        size, etag = len(await answer.read()), answer.headers["ETag"]
    asked = {
        f"{path}, {size / 1000:.0f} kB": {},
        f"{path}, by gzip": {"Accept-Encoding": "gzip"},
        f"{path}, for who has it": {"If-None-Match": etag},
    }
    rows = []
    for name, headers in asked.items():
        best = await _best(partial(client.get, path, headers), 20)
        rows.append(Row(name, f"{1000 * best:.2f} ms", "0.5 ms"))
    return rows


async def _floors(base: Path, size: int) -> list[Row]:
    """What a server made with aiohttp takes that does nothing, and the disk for what an accepted job writes to it."""
    rows = []
    async with serving("-m", "bench.bare", str(size)) as client:
        for at_once in ACCEPTED:
            rows.append(
                Row(f"/prompt to a handler that does nothing, {at_once} at once", await _rate(client, at_once), "")
            )
        for name, headers in (("", {}), (", for who has it", {"If-None-Match": ETAG})):
            best = await _best(partial(client.get, "/object_info", headers), 20)
            rows.append(
                Row(f"{size / 1000:.0f} kB from a handler that does nothing{name}", f"{1000 * best:.2f} ms", "")
            )
    with tempfile.NamedTemporaryFile(dir=base) as file:
        for length in WRITTEN:
            seconds = [_synced(file.fileno(), length) for _ in range(JOBS)]
            measured = f"{1000 * min(seconds):.2f} ms at best, {1000 * statistics.median(seconds):.2f} ms mostly"
            rows.append(Row(f"{length // 1024} KiB to the end of a file and to the disk", measured, ""))
    return rows


def _synced(file: int, length: int) -> float:
    """Seconds until so many bytes are on the disk."""
    content = os.urandom(length)
    begun = time.perf_counter()
    os.write(file, content)
    os.fsync(file)
    return time.perf_counter() - begun


async def _accepting(client: Client, at_once: int) -> Row:
    """Jobs on disk a second; they wait meanwhile."""
    await client.post("/api/queue/pause", None)
    measured = await _rate(client, at_once)
    await client.post("/queue", {"clear": True})
    await client.post("/api/queue/resume", None)
    return Row(f"/prompt, {at_once} at once", measured, f"{ACCEPTED[at_once]} jobs/s")


async def _rate(client: Client, at_once: int) -> str:
    """How often a second the example is sent and answered."""
    prompt = json.loads(EXAMPLE.read_text())
    numbers = iter(range(JOBS))

    async def sender() -> None:
        for _ in numbers:
            await client.post("/prompt", {"prompt": prompt})

    begun = time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(at_once)))
    return f"{JOBS / (time.perf_counter() - begun):.0f} jobs/s"


async def _again(client: Client) -> Row:
    prompt = json.loads(EXAMPLE.read_text())
    async with client.hearing() as ws:
        await run(client, ws, prompt)
        best = min([await run(client, ws, prompt) for _ in range(20)])
    return Row("the example again, nothing to do, from POST to its last message", f"{1000 * best:.1f} ms", "4 ms")


async def _nodes(client: Client, shape: Callable[[int], Document], n: int) -> Row:
    """From POST to the last message, a node; the client takes every message."""
    seconds, spent = [], []
    process = psutil.Process(client.process)
    async with client.hearing() as ws:
        for _ in range(REPEATS):
            worked = sum(process.cpu_times()[:2])
            seconds.append(await run(client, ws, prompt_of(shape(n), time.time_ns())))
            spent.append(sum(process.cpu_times()[:2]) - worked)
    measured = f"{1000 * min(seconds) / n:.3f} ms a node, {1000 * statistics.mean(spent) / n:.3f} of processor time"
    return Row(f"{shape.__name__} of {n} nodes that do nothing", measured, f"{SIZES[n]} ms")


def prompt_of(document: Document, value: int = 1) -> Any:
    """A document of `bench.turns` as JSON, its source another number: nothing made of it is at hand."""
    prompt = json.loads(write(document))
    prompt["0"]["inputs"]["value"] = value
    return prompt


async def run(client: Client, ws: aiohttp.ClientWebSocketResponse, prompt: Any) -> float:
    """Seconds from POST to the last message."""
    begun = time.perf_counter()
    await client.post("/prompt", {"prompt": prompt, "client_id": "me"})
    await until_done(ws)
    return time.perf_counter() - begun


async def until_done(ws: aiohttp.ClientWebSocketResponse) -> None:
    """Take messages until the last one of a run."""
    async for message in ws:
        text = message.data if message.type is aiohttp.WSMsgType.TEXT else ""
        if text.startswith('{"type": "executing"') and json.loads(text)["data"]["node"] is None:
            return


async def crowded(base: Path, rounds: int = 4) -> Row:
    """How much a crowd slows the step of a picture of CROWD_SIDE pixels on a full-size checkpoint, torch on one thread.

    The time that the step's thread waited for a processor does not count: others may use the machine too.
    """
    from tests.random_checkpoint import random_checkpoint

    checkpoints = base / "models" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "full.safetensors").symlink_to(random_checkpoint())
    prompt = json.loads(EXAMPLE.read_text())
    for node in prompt.values():
        sizes = {
            "ckpt_name": "full.safetensors",
            "width": CROWD_SIDE,
            "height": CROWD_SIDE,
            "steps": 1000,
            "batch_size": 1,
        }
        node["inputs"] |= {name: value for name, value in sizes.items() if name in node["inputs"]}
    ratios, quiet = [], 0.0
    async with serving(*real(base), threads=1) as client, client.hearing() as ws:
        await client.post("/prompt", {"prompt": prompt, "client_id": "me"})
        await _steps(client, ws, 2)
        for _ in range(rounds):
            quiet = await _steps(client, ws, CROWD_STEPS)
            async with _crowd(client.url) as there:
                while not there.is_set():
                    await _steps(client, ws, 1)
                ratios.append(await _steps(client, ws, CROWD_STEPS) / quiet)
            await _steps(client, ws, 1)
        await client.post("/interrupt", {})
    measured = (
        f"{statistics.median(ratios):.3f} ({', '.join(f'{ratio:.3f}' for ratio in ratios)}; a step {quiet:.2f} s)"
    )
    name = f"step of {CROWD_SIDE} x {CROWD_SIDE} with 1000 websockets and 200 reads a second / step without"
    return Row(name, measured, "1.05")


async def _steps(client: Client, ws: aiohttp.ClientWebSocketResponse, count: int) -> float:
    """Seconds of one of the next `count` steps, the median."""
    seconds: list[float] = []
    before: float | None = None
    async for message in ws:
        if message.type is aiohttp.WSMsgType.TEXT and message.data.startswith('{"type": "progress",'):
            now = _unhindered(client.process)
            if before is not None:
                seconds.append(now - before)
            before = now
            if len(seconds) == count:
                break
    return statistics.median(seconds)


def _unhindered(process: int) -> float:
    """Now, less all the time that the busiest thread of `process` waited for a processor: it may start anywhere."""
    threads = [path.read_text().split() for path in Path(f"/proc/{process}/task").glob("*/schedstat")]
    _, waited = max((int(worked), int(waited)) for worked, waited, _ in threads)
    return time.perf_counter() - waited / 1e9


@contextlib.asynccontextmanager
async def _crowd(url: str) -> AsyncIterator[asyncio.Event]:
    """It comes while this goes on; the event says that all are there."""
    there = asyncio.Event()
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.crowd", url, cwd=ROOT, stdout=PIPE)
    assert process.stdout is not None
    told = asyncio.create_task(process.stdout.readline())
    told.add_done_callback(lambda _: there.set())
    try:
        yield there
        assert await told == b"ready\n"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _best(call: Callable[[], Awaitable[object]], times: int) -> float:
    """Seconds; what else the machine does can only add some."""
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        await call()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def _serve_nodes(base: Path) -> int:
    """A server whose nodes do nothing."""
    folders = Folders.standard(base)

    def build() -> Engine:
        registry, cache = Registry([source, step, sink]), Cache(2**30, lambda value: 32)
        executor = Executor(None, registry, folders, cache)
        return Engine(executor, registry, free=lambda models, memory: cache.clear())

    return serve(Deps(folders, base / "darkroom.db", LocalBackend(build, folders)), Listen(port=0))


def main() -> None:
    """Serve `BASE`, or print the table."""
    if len(sys.argv) > 1:
        sys.exit(_serve_nodes(Path(sys.argv[1])))
    print("| server | measured | goal |\n|---|---|---|")
    for row in table():
        print(f"| {row.name} | {row.measured} | {row.goal} |")


if __name__ == "__main__":
    main()
