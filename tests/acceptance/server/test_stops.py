"""The server as a program that lives long: signals at bad moments, a disk that is full, and faults everywhere at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.server.crashes import SOURCE
from tests.server.support import chain

pytestmark = pytest.mark.acceptance

STOPS = 60
MOUNT = "mount -t tmpfs -o size=6m none {base} && exec {python} -m tests.server.stub_server {base}"
STUB = (
    "import runpy; sys.argv = ['stub', sys.argv[1]]; runpy.run_module('tests.server.stub_server', run_name='__main__')"
)
SLOW = """
import sys, time, pathlib
from server.store import Store
mark, real = pathlib.Path(sys.argv[2]), Store.{method}
def slow(store, *args):
    given = real(store, *args) if '{method}' == 'take' else None
    if '{method}' == 'finish' or given is not None:
        mark.touch()
        time.sleep(1.5)
    return given if '{method}' == 'take' else real(store, *args)
Store.{method} = slow
"""
UNLUCKY = """
import random, sys
from server.feed import Feed
from server.hub import Hub
from server.store import Store
from server.transcript import Transcript
chance = random.Random(7)
def unlucky(owner, name, often):
    real = getattr(owner, name)
    def call(*args):
        if chance.random() < often:
            raise RuntimeError(f'{name} fails')
        return real(*args)
    setattr(owner, name, call)
for owner, name, often in ((Store, 'take', .05), (Store, 'finish', .05), (Store, 'prune', .3), (Hub, 'show', .2),
        (Hub, 'tell', .1), (Hub, 'close', .1), (Hub, 'encode', .1), (Transcript, 'outcome', .1)):
    unlucky(owner, name, often)
"""


@contextlib.asynccontextmanager
async def serving(*command: str) -> AsyncIterator[tuple[Process, str]]:
    """A server process and its address; it is stopped at the end, which has to be clean."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=SOURCE, stdout=PIPE, stderr=DEVNULL, start_new_session=True
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", (await process.stdout.readline()).decode())
        assert found, "the server did not start"
        yield process, found[0]
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) in (0, -signal.SIGKILL)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def stub(base: Path) -> tuple[str, ...]:
    return sys.executable, "-m", "tests.server.stub_server", str(base)


async def ended(session: aiohttp.ClientSession, url: str, job: str) -> Any:
    """A job's record, once it has ended."""
    async with asyncio.timeout(120):
        while True:
            async with session.get(f"{url}/api/jobs/{job}") as answer:
                record = await answer.json() if answer.status == 200 else {"status": "pending"}
            if record["status"] not in ("pending", "in_progress"):
                return record
            await asyncio.sleep(0.02)


async def posted(session: aiohttp.ClientSession, url: str, body: object) -> int:
    """The status of the answer to a workflow."""
    async with session.post(f"{url}/prompt", json=body) as answer:
        return answer.status


@pytest.mark.parametrize("method", ["finish", "take"])
def test_a_signal_in_a_gap_loses_and_repeats_nothing(tmp_path: Path, method: str) -> None:
    """SIGTERM while the end of a run is being written, and while a job is being taken; each twice."""
    base = tmp_path / "base"

    async def body() -> None:
        async with aiohttp.ClientSession() as session:
            for round_ in range(2):
                mark = tmp_path / f"entered-{round_}"
                command = sys.executable, "-c", SLOW.format(method=method) + STUB, str(base), str(mark)
                async with serving(*command) as (process, url):
                    asked: list[asyncio.Task[int]] = []
                    if method == "finish" or not round_:
                        body = {"prompt": chain(seed=round_), "prompt_id": f"job-{round_}"}
                        asked.append(asyncio.create_task(posted(session, url, body)))
                    async with asyncio.timeout(60):
                        while not mark.exists():  # a job is taken as it is accepted: the answer comes after the gap
                            await asyncio.sleep(0.01)
                    process.send_signal(signal.SIGTERM)
                    assert await asyncio.gather(*asked) == [200] * len(asked)
                    assert await asyncio.wait_for(process.wait(), 60) == 0
            async with serving(*stub(base)) as (_, url):
                for round_ in range(1 if method == "take" else 2):
                    record = await ended(session, url, f"job-{round_}")
                    assert record["status"] == "completed" and record["attempts"] == 0

    asyncio.run(body())
    assert len(list((base / "output").glob("*.png"))) == (1 if method == "take" else 2)


def test_a_signal_while_a_picture_is_written_does_not_have_it_drawn_again(tmp_path: Path) -> None:
    """SIGTERM at twenty moments of a short run: it ends, or goes back before it has written anything."""

    async def body() -> None:
        for i in range(20):
            base = tmp_path / str(i)
            async with aiohttp.ClientSession() as session:
                async with serving(*stub(base)) as (process, url):
                    assert await posted(session, url, {"prompt": chain(), "prompt_id": "job"}) == 200
                    await asyncio.sleep(i % 10 / 1000)
                    process.send_signal(signal.SIGTERM)
                    assert await asyncio.wait_for(process.wait(), 60) == 0
                async with serving(*stub(base)) as (_, url):
                    assert (await ended(session, url, "job"))["status"] == "completed"
            assert len(list((base / "output").glob("*.png"))) == 1

    asyncio.run(body())


def test_signals_at_random_moments(tmp_path: Path) -> None:
    """Each stop is clean, no job is lost, none has failed, and none is taken for one that crashed."""
    base, chance = tmp_path / "base", random.Random(3)
    accepted: set[str] = set()

    async def load(url: str, round_: int) -> None:
        async with aiohttp.ClientSession() as session:
            with contextlib.suppress(aiohttp.ClientError):
                for i in range(12):
                    name = f"job-{round_}-{i}"
                    body = {"prompt": chain(value=round_, seed=i, steps=2, seconds=0.005), "prompt_id": name}
                    async with session.post(f"{url}/prompt", json=body) as answer:
                        if answer.status == 200:
                            accepted.add(name)

    async def body() -> None:
        for round_ in range(STOPS):
            async with serving(*stub(base)) as (process, url):
                task = asyncio.create_task(load(url, round_))
                await asyncio.sleep(chance.uniform(0.0, 0.25))
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), 60) == 0
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            with contextlib.closing(sqlite3.connect(base / "darkroom.db")) as db:
                wrong = "SELECT count(*) FROM jobs WHERE attempts > 0 OR state NOT IN ('pending', 'completed')"
                assert db.execute(wrong).fetchone() == (0,)
        async with serving(*stub(base)) as (_, url), aiohttp.ClientSession() as session:
            for name in accepted:
                assert (await ended(session, url, name))["status"] == "completed"

    asyncio.run(body())
    print(f"{STOPS} stops, {len(accepted)} jobs accepted")
    assert len(accepted) > STOPS


def test_everything_fails_now_and_then(tmp_path: Path) -> None:
    """Faults in all that the server does for a job: each job ends, and the server tells of the faults and goes on."""

    async def body() -> None:
        command = sys.executable, "-c", UNLUCKY + STUB, str(tmp_path / "base")
        async with (
            serving(*command) as (_, url),
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{url}/ws?clientId=me"),
        ):
            for number in range(100):
                body = {"prompt": chain(seed=number), "prompt_id": f"job-{number}", "client_id": "me"}
                async with session.post(f"{url}/prompt", json=body) as answer:
                    assert answer.status == 200
            states = [(await ended(session, url, f"job-{number}"))["status"] for number in range(100)]
            async with session.get(f"{url}/metrics") as answer:
                told = dict(re.findall(r'darkroom_loop_failures_total\{loop="(\w+)"\} (\S+)', await answer.text()))
        print({state: states.count(state) for state in set(states)}, told)
        assert states.count("completed") > 60 and set(told) >= {"worker", "events", "history"}

    asyncio.run(body())


def test_forty_settings_at_once_outlive_a_kill(tmp_path: Path) -> None:
    async def body() -> None:
        async with serving(*stub(tmp_path / "base")) as (process, url), aiohttp.ClientSession() as session:

            async def change(number: int) -> None:
                async with session.post(f"{url}/settings/my.{number}", json=number) as answer:
                    assert answer.status == 200

            await asyncio.gather(*(change(number) for number in range(40)))
            process.send_signal(signal.SIGKILL)
            await process.wait()
        async with (
            serving(*stub(tmp_path / "base")) as (_, url),
            aiohttp.ClientSession() as session,
            session.get(f"{url}/settings") as answer,
        ):
            assert await answer.json() == {f"my.{number}": number for number in range(40)}

    asyncio.run(body())


def mounting() -> bool:
    """Whether this user may have a small file system of their own."""
    command = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=1m none /mnt"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.skipif(not mounting(), reason="this user may mount nothing")
def test_a_base_on_a_full_disk(tmp_path: Path) -> None:
    """The disk fills up under a running server: requests are refused with the reason, and nothing accepted is lost."""
    base = tmp_path / "base"
    base.mkdir()

    async def body() -> None:
        script = MOUNT.format(base=base, python=sys.executable)
        async with serving("unshare", "-rm", "sh", "-c", script) as (_, url), aiohttp.ClientSession() as session:

            async def post(path: str, body: Any) -> tuple[int, str]:
                data = body if isinstance(body, bytes) else json.dumps(body)
                async with session.post(f"{url}{path}", data=data) as answer:
                    return answer.status, await answer.text()

            slow = chain(steps=100, seconds=0.01)
            assert (await post("/prompt", {"prompt": slow, "prompt_id": "running"}))[0] == 200
            size, filled = 2**20, 0
            while size > 256:  # until not even a little has room
                status, _ = await post(f"/userdata/fill-{filled}.bin", bytes(size))
                assert status in (200, 507)
                filled += 1
                if status == 507:
                    size //= 2
            statuses = set()
            for number in range(20):
                status, text = await post("/prompt", {"prompt": chain(seed=number), "prompt_id": f"full-{number}"})
                statuses.add(status)
                assert status in (200, 503) and (status == 200 or "disk is full" in text)
            assert (await post("/settings/long", "x" * 100_000))[0] == 507
            async with session.get(f"{url}/queue") as answer:
                assert answer.status == 200
            for number in range(filled):
                async with session.delete(f"{url}/userdata/fill-{number}.bin") as answer:
                    assert answer.status in (204, 404)
            assert (await ended(session, url, "running"))["status"] in (
                "completed",
                "failed",
            )  # its picture had no room
            assert (await post("/prompt", {"prompt": chain(seed=99), "prompt_id": "after"}))[0] == 200
            assert (await ended(session, url, "after"))["status"] == "completed"
            print(f"{filled} files filled it; while it was full /prompt answered {statuses}")
            assert 503 in statuses

    asyncio.run(body())


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")
def test_the_system_is_asked_to_write_before_a_job_is_answered(tmp_path: Path) -> None:
    """Seen from outside: between a request and its answer the system wrote the log of the database to the disk."""
    trace, base = tmp_path / "trace", tmp_path / "base"

    async def body() -> None:
        command = ["strace", "-f", "-y", "-o", str(trace), "-e", "trace=fdatasync,fsync,sendto,write,writev,recvfrom"]
        async with serving(*command, *stub(base)) as (_, url), aiohttp.ClientSession() as session:
            async with session.post(f"{url}/api/queue/pause") as answer:
                assert answer.status == 200
            for number in range(10):
                async with session.post(f"{url}/prompt", json={"prompt": chain(), "prompt_id": f"j{number}"}) as answer:
                    assert answer.status == 200

    asyncio.run(body())
    lines = trace.read_text(errors="replace").splitlines()
    answers = [i for i, line in enumerate(lines) if "HTTP/1.1 200 OK" in line]
    asked = [i for i, line in enumerate(lines) if "POST /prompt" in line]
    synced = [i for i, line in enumerate(lines) if re.search(r"f(data)?sync\(\d+<.*darkroom\.db-wal>", line)]
    assert len(asked) == 10
    for request in asked:
        answer = min(i for i in answers if i > request)
        assert any(request < sync < answer for sync in synced), lines[request : answer + 1]
