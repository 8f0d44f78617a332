"""Kills a real server at random moments under load, and counts what is left."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from PIL import Image

from tests.server.support import chain

SOURCE = Path(__file__).resolve().parents[2]


@dataclass
class Damage:
    """What the kills have done; `kills` alone should not be 0."""

    kills: int = 0
    accepted: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    truncated: list[str] = field(default_factory=list)
    repeated: set[str] = field(default_factory=set)


async def start(base: Path, *more: Path) -> tuple[Process, str]:
    """A server process and its address; `more` goes to it as well."""
    command = [sys.executable, "-m", "tests.server.stub_server", str(base), *map(str, more)]
    with (base.parent / "server.log").open("a") as log:
        process = await asyncio.create_subprocess_exec(*command, cwd=SOURCE, stdout=PIPE, stderr=log)
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    found = re.search(r"http://\S+", line)
    assert found, f"the server did not start: {(base.parent / 'server.log').read_text()[-2000:]}"
    return process, found[0]


async def kill_many(base: Path, kills: int, seed: int) -> Damage:
    """Start, load, kill; at the end let the queue run empty and look."""
    chance, damage = random.Random(seed), Damage()
    finished: set[str] = set()
    for round_ in range(kills):
        process, url = await start(base)
        load = asyncio.create_task(_load(url, damage, round_))
        await asyncio.sleep(chance.uniform(0.0, 0.25))
        process.kill()
        await process.wait()
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
        damage.kills += 1
        finished = _check_finished(base, finished, damage)
    process, url = await start(base)
    async with aiohttp.ClientSession() as session:
        await _until_empty(session, url)
        async with session.get(f"{url}/api/history") as answer:
            history = await answer.json()
    process.terminate()
    assert await process.wait() == 0
    damage.lost = damage.accepted - history.keys()
    damage.failed = {id_ for id_ in damage.accepted & history.keys() if not history[id_]["status"]["completed"]}
    _check_finished(base, finished, damage)
    damage.truncated = [path.name for path in (base / "output").glob("*.png") if not _is_whole(path)]
    return damage


async def _load(url: str, damage: Damage, round_: int) -> None:
    """Submit as fast as the server takes it."""
    async with aiohttp.ClientSession() as session:
        with contextlib.suppress(aiohttp.ClientError):
            for i in range(12):
                prompt_id = f"job-{round_}-{i}"
                prompt = chain(value=round_, seed=i, steps=2, seconds=0.005)
                prompt["o"]["inputs"]["prefix"] = prompt_id
                async with session.post(f"{url}/prompt", json={"prompt": prompt, "prompt_id": prompt_id}) as answer:
                    if answer.status == 200:
                        damage.accepted.add(prompt_id)


async def _until_empty(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(120):
        while True:
            async with session.get(f"{url}/prompt") as answer:
                if (await answer.json())["exec_info"]["queue_remaining"] == 0:
                    return
            await asyncio.sleep(0.02)


def _check_finished(base: Path, before: set[str], damage: Damage) -> set[str]:
    """Jobs that had finished must not be taken again."""
    with contextlib.closing(sqlite3.connect(base / "darkroom.db")) as db:
        rows = db.execute("SELECT id, state FROM jobs").fetchall()
    now = {id_ for id_, state in rows if state == "completed"}
    damage.repeated |= before - now
    return now


def _is_whole(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            picture.load()
    except OSError:
        return False
    return True
