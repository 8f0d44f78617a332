"""The server beside another build of it, both in one run: `python -m bench.beside CHECKOUT [BASE]`.

BASE is where both keep their databases: a disk, or memory (`/dev/shm`), where waiting for the disk costs nothing.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from bench.server import Client, prompt_of, run, serving
from bench.turns import chain

ROUNDS = 8
NODES = 7
JOBS = 60
"""Jobs accepted in a round."""


async def _compare(other: Path, place: Path) -> None:
    async with (
        serving("-m", "bench.server", str(place / "ours")) as ours,
        serving("-m", "bench.server", str(place / "theirs"), root=other) as theirs,
    ):
        clients = ours, theirs
        print("| nodes that do nothing | this build | the other | ratio |\n|---|---|---|---|", flush=True)
        await _row(clients, "`/object_info`", _object_info, 20)
        await _row(clients, f"a chain of {NODES} again, from POST to its last message", _again, 20)
        for n in (10, 100):
            await _row(clients, f"a chain of {n} run anew, a node", partial(_anew, n), 5, n)
        for at_once in (1, 8):
            await _row(clients, f"a job accepted, {at_once} at once", partial(_accept, at_once), 1, JOBS)
        await _row(clients, "`/history?max_items=64`", _history, 5)


async def _row(
    clients: tuple[Client, Client], name: str, call: Callable[[Client], Awaitable[float]], times: int, parts: int = 1
) -> None:
    """Both in turn, who begins changes; each figure is the best of a round, the ratio the median of the rounds'. call: gives
    the seconds that it took.
    """
    found: list[tuple[float, float]] = []
    for round_ in range(ROUNDS):
        best = [float("inf"), float("inf")]
        for side in (0, 1) if round_ % 2 else (1, 0):
            for _ in range(times):
                best[side] = min(best[side], await call(clients[side]) / parts)
        found.append((best[0], best[1]))
    ours, theirs = (min(times) for times in zip(*found, strict=True))
    ratio = statistics.median(a / b for a, b in found)
    print(f"| {name} | {1000 * ours:.2f} ms | {1000 * theirs:.2f} ms | {ratio:.2f} |", flush=True)


async def _object_info(client: Client) -> float:
    begun = time.perf_counter()
    await client.get("/object_info")
    return time.perf_counter() - begun


async def _history(client: Client) -> float:
    begun = time.perf_counter()
    await client.get("/history?max_items=64")
    return time.perf_counter() - begun


async def _again(client: Client) -> float:
    async with client.hearing() as ws:
        return await run(client, ws, prompt_of(chain(NODES)))


async def _anew(nodes: int, client: Client) -> float:
    async with client.hearing() as ws:
        return await run(client, ws, prompt_of(chain(nodes), time.time_ns()))


async def _accept(at_once: int, client: Client) -> float:
    """Jobs on disk; they wait meanwhile, and are taken back."""
    await client.post("/api/queue/pause", {})
    prompt, numbers = prompt_of(chain(NODES)), iter(range(JOBS))

    async def sender() -> None:
        for _ in numbers:
            await client.post("/prompt", {"prompt": prompt})

    begun = time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(at_once)))
    seconds = time.perf_counter() - begun
    await client.post("/queue", {"clear": True})
    await client.post("/api/queue/resume", {})
    return seconds


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as place:
        asyncio.run(_compare(Path(sys.argv[1]).resolve(), Path(place)))


if __name__ == "__main__":
    main()
