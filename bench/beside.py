"""The server beside another build of it, both in one run: `python -m bench.beside DIRECTORY`, a checkout to compare with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from bench.server import EXAMPLE, Client, real, serving, until_done

ROUNDS = 12
JOBS = 60
"""Jobs accepted in a round."""


async def _compare(other: Path, place: Path) -> None:
    async with _pair(other, place) as clients:
        print("| from POST or GET to the last byte or message | this build | the other | ratio |\n|---|---|---|---|")
        await _row(clients, "`/object_info`", _object_info, 20)
        await _row(clients, "the example again, nothing to do", _again, 20)
        for at_once in (1, 8):
            await _row(
                clients, f"a job accepted, {at_once} at once", lambda client, n=at_once: _accept(client, n), 1, JOBS
            )
        await _row(
            clients,
            f"`/history` of some {2 * ROUNDS * JOBS} jobs, newest 64",
            lambda it: it.get("/history?max_items=64"),
            5,
        )


@contextlib.asynccontextmanager
async def _pair(other: Path, place: Path) -> AsyncIterator[tuple[Client, Client]]:
    async with (
        serving(*real(place / "ours")) as ours,
        serving(str(other / "main.py"), *real(place / "theirs")[1:]) as theirs,
    ):
        for client in (ours, theirs):
            await client.get("/object_info")
            await _again(client)  # the first picture is drawn
        yield ours, theirs


async def _row(
    clients: tuple[Client, Client], name: str, call: Callable[[Client], Awaitable[object]], times: int, parts: int = 1
) -> None:
    """Both in turn, who begins changes; each figure is the best of a round, the ratio the median of the rounds'."""
    found: list[tuple[float, float]] = []
    for round_ in range(ROUNDS):
        best = [float("inf"), float("inf")]
        for side in (0, 1) if round_ % 2 else (1, 0):
            for _ in range(times):
                begun = time.perf_counter()
                await call(clients[side])
                best[side] = min(best[side], (time.perf_counter() - begun) / parts)
        found.append((best[0], best[1]))
    ours, theirs = (min(times) for times in zip(*found, strict=True))
    ratio = statistics.median(a / b for a, b in found)
    print(f"| {name} | {1000 * ours:.2f} ms | {1000 * theirs:.2f} ms | {ratio:.2f} |", flush=True)


async def _object_info(client: Client) -> None:
    await client.get("/object_info")


async def _again(client: Client) -> None:
    async with client.hearing() as ws:
        await client.post("/prompt", {"prompt": json.loads(EXAMPLE.read_text()), "client_id": "me"})
        await until_done(ws)


async def _accept(client: Client, at_once: int) -> None:
    """Jobs on disk; they wait meanwhile, and are taken back."""
    await client.post("/api/queue/pause", {})
    prompt, numbers = json.loads(EXAMPLE.read_text()), iter(range(JOBS))

    async def sender() -> None:
        for _ in numbers:
            await client.post("/prompt", {"prompt": prompt})

    await asyncio.gather(*(sender() for _ in range(at_once)))
    await client.post("/queue", {"clear": True})
    await client.post("/api/queue/resume", {})


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(_compare(Path(sys.argv[1]).resolve(), Path(place)))


if __name__ == "__main__":
    main()
