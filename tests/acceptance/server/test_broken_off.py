"""Requests that are broken off, cut into pieces, or never end: a server keeps neither their memory nor its others waiting."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.server.crashes import start

pytestmark = pytest.mark.acceptance

MIB = 2**20
SENT = 90 * MIB
TIMES = 40
SILENT = 400
FORM = "multipart/form-data; boundary=x"
HEAD = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'


async def _send(url: str, path: str, length: int, pieces: list[bytes], kind: str = FORM) -> asyncio.StreamWriter:
    host, port = url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    writer.write(head.encode())
    with contextlib.suppress(ConnectionError):  # refused before all of it was sent
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
    return writer


@pytest.mark.parametrize(("path", "limit"), [("/upload/image", 98), ("/userdata/x.bin", 45), ("/prompt", 14)])
def test_broken_off_bodies_leave_nothing_behind(tmp_path: Path, path: str, limit: int) -> None:
    async def body() -> None:
        lag = tmp_path / "lag"
        process, url = await start(tmp_path / "base", lag)
        async with aiohttp.ClientSession() as session:
            await (await session.get(f"{url}/object_info")).read()
            before = psutil.Process(process.pid).memory_info().rss
            pieces = [HEAD, *[b"\0" * MIB] * min(90, limit - 2)]
            for _ in range(TIMES):
                (await _send(url, path, limit * MIB, pieces)).transport.abort()
            assert (await session.get(f"{url}/queue")).status == 200
            grown = psutil.Process(process.pid).memory_info().rss - before
        held = max(map(float, lag.read_text().split()), default=0.0)
        print(f"{path}: {grown / MIB:.0f} MiB more after {TIMES}; the loop was held for {held * 1000:.0f} ms at most")
        assert grown < 100e6 and held < 0.05
        assert not list((tmp_path / "base").rglob("*.part"))
        process.terminate()
        assert await process.wait() == 0

    asyncio.run(body())


def test_an_upload_of_tiny_parts_holds_nobody(tmp_path: Path) -> None:
    async def body() -> None:
        lag = tmp_path / "lag"
        process, url = await start(tmp_path / "base", lag)
        part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
        for content in (part * 300_000, b"\r\n" * 10_000_000, HEAD + b"\r\n--" * 5_000_000):
            pieces = [content[at : at + MIB] for at in range(0, len(content), MIB)]
            (await _send(url, "/upload/image", len(content), pieces)).close()
        async with aiohttp.ClientSession() as session, session.get(f"{url}/queue") as answer:
            assert answer.status == 200
        held = max(map(float, lag.read_text().split()), default=0.0)
        print(f"the loop was held for {held * 1000:.0f} ms at most")
        assert held < 0.05
        process.terminate()
        assert await process.wait() == 0

    asyncio.run(body())


def test_half_sent_requests_are_not_kept(tmp_path: Path) -> None:
    async def body() -> None:
        process, url = await start(tmp_path / "base")
        host, port = url.removeprefix("http://").split(":")
        writers = []
        for number in range(SILENT):
            _, writer = await asyncio.open_connection(host, int(port))
            whole = b"POST /prompt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{"
            writer.write(whole[: number % len(whole) + 1])
            writers.append(writer)
        server, until = psutil.Process(process.pid), time.monotonic() + 60
        while sum(each.status == "ESTABLISHED" for each in server.net_connections("tcp")) > 0:
            assert time.monotonic() < until
            await asyncio.sleep(1)
        print(f"{SILENT} half-sent requests were gone after {60 - until + time.monotonic():.0f} s")
        for writer in writers:
            writer.close()
        process.terminate()
        assert await process.wait() == 0

    asyncio.run(body())
