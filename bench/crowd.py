"""A crowd before a server on this machine: `python -m bench.crowd URL [SOCKETS] [READS A SECOND]`, until it is stopped.

Opens the websockets, says `ready`, and then reads this and that.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from itertools import cycle

import aiohttp
from yarl import URL

READS = (
    *("/queue", "/prompt", "/history?max_items=10", "/api/jobs?limit=10", "/features", "/system_stats"),
    *("/object_info/KSampler", "/models/checkpoints", "/settings", "/metrics", "/view?filename=nothing.png"),
)
AT_ONCE = 50
LONGEST_SECONDS = 600.0
"""A crowd that nobody stops goes home."""


async def crowd(url: str, sockets: int, reads: float) -> None:
    """Come, read until cancelled, and go."""
    if URL(url).host not in ("127.0.0.1", "localhost", "::1"):
        raise ValueError("a crowd is only for servers on this machine")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        listening: list[asyncio.Task[None]] = []
        for first in range(0, sockets, AT_ONCE):
            group = (f"{url}/ws?clientId=crowd-{number}" for number in range(first, min(first + AT_ONCE, sockets)))
            opened = await asyncio.gather(*map(session.ws_connect, group))
            listening += [asyncio.create_task(_listen(ws)) for ws in opened]
        print("ready", flush=True)
        await _read(session, url, reads)


async def _listen(ws: aiohttp.ClientWebSocketResponse) -> None:
    """Take what comes through one socket."""
    async for _ in ws:
        pass


async def _read(session: aiohttp.ClientSession, url: str, reads: float) -> None:
    async def one(path: str) -> None:
        async with session.get(url + path) as answer:
            await answer.read()

    begun, under_way = time.monotonic(), set[asyncio.Task[None]]()
    for number, path in enumerate(cycle(READS)):
        due = begun + number / reads
        if due > begun + LONGEST_SECONDS:
            return
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        if len(under_way) < reads:  # a server that cannot keep up is not buried
            task = asyncio.create_task(one(path))
            under_way.add(task)
            task.add_done_callback(under_way.discard)


if __name__ == "__main__":
    address, sockets, reads = (*sys.argv[1:], *("1000", "200")[len(sys.argv) - 2 :])
    with contextlib.suppress(KeyboardInterrupt, aiohttp.ClientError):
        asyncio.run(crowd(address, int(sockets), float(reads)))
