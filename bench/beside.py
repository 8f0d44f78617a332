"""The server beside another build of it, both in one run: `python -m bench.beside CHECKOUT [BASE]`.

BASE is where both keep their databases: a disk, or memory (`/dev/shm`), where waiting for the disk costs nothing.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench.server import EXAMPLE, Client, prompt_of, real, run, serving
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
        _head("nodes that do nothing")
        await _row(clients, "`/object_info`", _object_info, 20)
        await _row(clients, f"a chain of {NODES} again, from POST to its last message", _again, 20)
        for n in (10, 100):
            await _row(clients, f"a chain of {n} run anew, a node", partial(_anew, n), 5, n)
        await _accepting(clients, prompt_of(chain(NODES)))
        await _row(clients, "`/history?max_items=64`", _history, 5)
    example = json.loads(EXAMPLE.read_text())
    async with (
        serving(*real(place / "our_example")) as ours,
        serving(*real(place / "their_example"), root=other) as theirs,
    ):
        clients = ours, theirs
        _head("the example")
        await _row(clients, "`/object_info`", _object_info, 20)
        await _row(clients, "again, from POST to its last message", partial(_run, example), 20)
        await _accepting(clients, example)


def _head(what: str) -> None:
    print(f"\n| {what} | this build | the other | ratio | of processor time |\n|---|---|---|---|---|", flush=True)


async def _accepting(clients: tuple[Client, Client], prompt: Any) -> None:
    for at_once in (1, 8):
        await _row(clients, f"a job accepted, {at_once} at once", partial(_accept, prompt, at_once), 1, JOBS)


async def _row(
    clients: tuple[Client, Client], name: str, call: Callable[[Client], Awaitable[float]], times: int, parts: int = 1
) -> None:
    """Both in turn, who begins changes; each figure is the best of a round, the ratios the medians of the rounds'. call:
    gives the seconds that it took. What the processors worked for the servers counts beside it: other programs disturb it less.
    """
    found: list[tuple[float, float]] = []
    spent: list[float] = []
    for round_ in range(ROUNDS):
        best, worked = [float("inf"), float("inf")], [0.0, 0.0]
        for side in (0, 1) if round_ % 2 else (1, 0):
            before = _worked(clients[side])
            for _ in range(times):
                best[side] = min(best[side], await call(clients[side]) / parts)
            worked[side] = _worked(clients[side]) - before
        found.append((best[0], best[1]))
        spent.append(worked[0] / worked[1])
    ours, theirs = (min(times) for times in zip(*found, strict=True))
    ratio = statistics.median(a / b for a, b in found)
    shown = f"{1000 * ours:.2f} ms | {1000 * theirs:.2f} ms | {ratio:.2f} | {statistics.median(spent):.2f}"
    print(f"| {name} | {shown} |", flush=True)


def _worked(client: Client) -> float:
    """Seconds that processors have worked for a server's threads."""
    threads = Path(f"/proc/{client.process}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in threads) / 1e9


async def _object_info(client: Client) -> float:
    begun = time.perf_counter()
    await client.get("/object_info")
    return time.perf_counter() - begun


async def _history(client: Client) -> float:
    begun = time.perf_counter()
    await client.get("/history?max_items=64")
    return time.perf_counter() - begun


async def _again(client: Client) -> float:
    return await _run(prompt_of(chain(NODES)), client)


async def _anew(nodes: int, client: Client) -> float:
    return await _run(prompt_of(chain(nodes), time.time_ns()), client)


async def _run(prompt: Any, client: Client) -> float:
    async with client.hearing() as ws:
        return await run(client, ws, prompt)


async def _accept(prompt: Any, at_once: int, client: Client) -> float:
    """Jobs on disk; they wait meanwhile, and are taken back."""
    await client.post("/api/queue/pause", {})
    numbers = iter(range(JOBS))

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
    """Print the tables."""
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as place:
        asyncio.run(_compare(Path(sys.argv[1]).resolve(), Path(place)))


if __name__ == "__main__":
    main()
