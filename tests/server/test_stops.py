"""Clean stops lose and repeat nothing, and a crash counts against a job only when it came twice from the same node."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sqlite3
import sys
import threading
import time
from asyncio.subprocess import PIPE
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from graph.events import NodeFinished, NodeStarted
from server.deps import CREW, RUNNING
from server.job import Job, Submission
from server.running import Crash, Running
from server.serve_options import add_serve_options
from server.store import Store
from server.threads import settled
from server.worker import Worker
from tests.server.crashes import SOURCE, start
from tests.server.loop import in_loop
from tests.server.support import chain, deps_of, serving


def pictures(base: Path) -> int:
    return len(list((base / "output").glob("*.png")))


def held(worker: list[Worker], real: Callable[..., Any], entered: threading.Event) -> Callable[..., Any]:
    """A method of the store that does its work only when the server is stopping."""

    def call(*args: Any) -> Any:
        entered.set()
        while not worker or not worker[0]._stopping:
            time.sleep(0.002)
        return real(*args)

    return call


@in_loop
async def test_a_stop_between_a_runs_end_and_its_row_draws_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = threading.Event()
    worker: list[Worker] = []
    async with serving(deps_of(tmp_path)) as client:
        worker.append(client.app[CREW].workers[0])
        monkeypatch.setattr(Store, "finish", held(worker, Store.finish, entered))
        prompt_id = await client.queue(chain())
        assert await asyncio.to_thread(entered.wait, 20)
    monkeypatch.undo()
    async with serving(deps_of(tmp_path)) as client:
        assert (await client.get("/queue"))["queue_running"] == (await client.get("/queue"))["queue_pending"] == []
        assert (await client.entry(prompt_id))["status"]["completed"]
    assert pictures(tmp_path) == 1


@in_loop
async def test_a_stop_while_the_last_picture_is_written_does_not_have_it_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = threading.Event()
    worker: list[Worker] = []
    async with serving(deps_of(tmp_path)) as client:
        worker.append(client.app[CREW].workers[0])
        monkeypatch.setattr("tests.server.stub_nodes.Image.new", held(worker, Image.new, entered))
        prompt_id = await client.queue(chain())
        assert await asyncio.to_thread(entered.wait, 20)
    monkeypatch.undo()
    with contextlib.closing(sqlite3.connect(tmp_path / "darkroom.db")) as db:
        assert db.execute("SELECT id, state, attempts FROM jobs").fetchall() == [(prompt_id, "completed", 0)]
    assert pictures(tmp_path) == 1


@in_loop
async def test_a_stop_while_a_job_is_taken_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = Store.take
    for again in range(3):
        entered = threading.Event()
        worker: list[Worker] = []

        def slow(store: Store, *args: str) -> Job | None:
            if (job := take(store, *args)) is not None:
                entered.set()  # noqa: B023  of this round
                while not worker or not worker[0]._stopping:  # noqa: B023
                    time.sleep(0.002)
            return job

        monkeypatch.setattr(Store, "take", slow)
        async with serving(deps_of(tmp_path)) as client:
            worker.append(client.app[CREW].workers[0])
            if not again:
                await client.post("/api/queue/pause", "")
                await client.queue(chain(), prompt_id="taken")
                await client.post("/api/queue/resume", "")
            assert await asyncio.to_thread(entered.wait, 20)
        monkeypatch.undo()
        with contextlib.closing(sqlite3.connect(tmp_path / "darkroom.db")) as db:
            assert db.execute("SELECT state, attempts, started FROM jobs").fetchall() == [("pending", 0, None)]
    async with serving(deps_of(tmp_path)) as client:
        assert (await client.entry("taken"))["status"]["completed"]
    assert pictures(tmp_path) == 1


@in_loop
async def test_a_job_that_a_user_stopped_is_not_run_again_after_a_stop(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        prompt_id = await client.queue(chain(steps=5000, seconds=0.01))
        async with asyncio.timeout(10):
            while not (await client.get("/queue"))["queue_running"]:
                await asyncio.sleep(0.01)
        assert (await client.post("/interrupt", ""))[0] == 200
        client.app[CREW].workers[0]._stopping = True  # the signal comes before the node has heard of it
    async with serving(deps_of(tmp_path)) as client:
        assert (await client.get(f"/api/jobs/{prompt_id}"))["status"] == "cancelled"


@in_loop
async def test_a_stop_does_not_wait_for_an_engine_that_is_being_built(tmp_path: Path) -> None:
    built = threading.Event()
    begun = time.monotonic()
    async with serving(deps_of(tmp_path, wait=lambda: built.wait(30))):
        asyncio.get_running_loop().call_later(0.5, built.set)  # what closes the backend waits for its thread
    assert time.monotonic() - begun < 9


@in_loop
async def test_a_node_that_never_stops_is_left_and_its_job_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.worker.GRACE_SECONDS", 0.05)
    monkeypatch.setattr("server.app.CLOSING_SECONDS", 0.05)
    async with serving(deps_of(tmp_path)) as client:
        prompt_id = await client.queue(chain(steps=1, seconds=3.0))
        async with asyncio.timeout(10):
            while client.app[RUNNING]._nodes != {"s": 1}:
                await asyncio.sleep(0.01)
    with contextlib.closing(sqlite3.connect(tmp_path / "darkroom.db")) as db:
        assert db.execute("SELECT id, state, attempts FROM jobs").fetchall() == [(prompt_id, "pending", 0)]


@pytest.mark.parametrize(
    ("crashes", "tries", "ended"),
    [
        ([("a", "1"), ("a", "1")], 2, [(1, 0), (0, 1)]),
        ([("a", "1"), ("a", "2"), ("a", "1")], 2, [(1, 0), (1, 0), (1, 0)]),  # another node each time
        ([("a", "1"), ("a", "2"), ("a", "2")], 2, [(1, 0), (1, 0), (0, 1)]),
        ([("a",), ("a",), ("a",)], 2, [(1, 0)] * 3),  # taken, but no node of it ran
        ([("b", "1"), ("b", "1")], 2, [(1, 0)] * 2),  # another job ran
        ([("a", "1"), ("a",), ("a", "1")], 2, [(1, 0), (1, 0), (0, 1)]),
        ([("a", "1", "2"), ("a", "2", "3")], 2, [(1, 0), (0, 1)]),  # of several at once one is the same
        ([("a", "1"), ("a", "1")], 3, [(1, 0), (1, 0)]),
        ([("a", "1")], 1, [(0, 1)]),
        ([None, None], 2, [(1, 0), (0, 1)]),  # nothing is known of what ran
    ],
)
def test_which_crashes_count(
    tmp_path: Path, crashes: list[tuple[str, ...] | None], tries: int, ended: list[tuple[int, int]]
) -> None:
    store = Store(tmp_path / "x.db")
    store.accept(Submission("a", 0, "{}", "{}", ("9",)), 10)
    for crash, expected in zip(crashes, ended, strict=True):
        assert store.take() is not None
        assert store.recover(None if crash is None else Crash(crash[0], crash[1:]), tries) == expected
    store.close()


def test_a_job_that_is_tried_again_begins_anew(tmp_path: Path) -> None:
    store = Store(tmp_path / "x.db")
    store.accept(Submission("a", 0, "{}", "{}", ("9",)), 10)
    for _ in range(2):
        store.take()
        store.recover(Crash("a", ("1",)))
    assert store.retry("a", 1, 10)
    store.take()
    assert store.recover(Crash("a", ("1",))) == (1, 0)
    store.close()


def test_what_runs_is_known_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "x.running"
    running = Running(path)
    assert running.left is None
    for _ in range(2):  # as if the process had been killed there
        running.begin("job")
        assert Running(path).left == Crash("job", ())
        for node in ("1", "ü" * 5000, "3"):
            running.note(NodeStarted("job", node))
        running.note(NodeStarted("another", "9"))
        running.note(NodeFinished("job", "1", {}))
        left = Running(path).left
        assert left == Crash("job", ("ü" * 60, "3"))
        for number in range(1000):
            running.note(NodeStarted("job", f"{number}" * 30))
        left = Running(path).left
        assert left is not None and left.job == "job" and len(left.nodes) == 8
        running.end()
        assert Running(path).left == Crash("", ())
    running.close()
    running.note(NodeStarted("", "later"))
    for damage in (b"", b"[", b"7", b"{}", b"[]", b"\xff" * 100):
        path.write_bytes(damage)
        assert Running(path).left is None


@in_loop
async def test_kills_in_different_nodes_do_not_fail_a_job(tmp_path: Path) -> None:
    """Killed in the first slow node, then in the second: the job runs to its end all the same."""
    base = tmp_path / "base"
    prompt = chain(steps=40, seconds=0.02)
    prompt["t"] = {"class_type": "Steps", "inputs": {**prompt["s"]["inputs"], "value": ["s", 0], "seed": 1}}
    prompt["o"]["inputs"]["value"] = ["t", 0]
    async with aiohttp.ClientSession() as session:
        for node in ("s", "t"):
            process, url = await start(base)
            await session.post(f"{url}/prompt", json={"prompt": prompt, "prompt_id": "killed"})
            async with asyncio.timeout(30):
                while node not in (await (await session.get(f"{url}/api/jobs/killed")).json())["nodes"]:
                    await asyncio.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            await process.wait()
        process, url = await start(base)
        async with asyncio.timeout(30):
            while not (entry := await (await session.get(f"{url}/history/killed")).json()):
                await asyncio.sleep(0.02)
        assert entry["killed"]["status"]["completed"]
        assert (await (await session.get(f"{url}/api/jobs/killed")).json())["attempts"] == 1
    process.terminate()
    assert await process.wait() == 0


BEGINNING = """
import sys, time, threading, runpy
import server.app
from tests.server import stub_nodes
server.app.CLOSING_SECONDS = 0.2
threading.Thread(target=time.sleep, args=(3,)).start()  # as a file that is still being written keeps Python from ending
def slow(folders, wait=None):
    def build():
        time.sleep(1.5)
        raise RuntimeError('half of Python is gone')
    return build
stub_nodes.factory = slow
runpy.run_module('tests.server.stub_server', run_name='__main__')
"""


@in_loop
async def test_a_stop_before_there_is_an_engine_is_clean(tmp_path: Path) -> None:
    """Whatever becomes of the engine that is left behind in the making."""
    command = sys.executable, "-c", BEGINNING, str(tmp_path / "base")
    process = await asyncio.create_subprocess_exec(*command, cwd=SOURCE, stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None
    assert b"listens" in await process.stdout.readline()
    process.terminate()
    _, told = await process.communicate()
    assert process.returncode == 0
    assert b"Traceback" not in told and b"could not be built" not in told, told.decode()


def test_who_waits_for_another_threads_future_may_be_gone(caplog: pytest.LogCaptureFixture) -> None:
    """Also with the event loop that waited."""
    future: Future[int] = Future()

    async def wait() -> None:
        waiting = asyncio.create_task(settled(future))
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(wait())
    future.set_result(1)
    assert caplog.records == []


def test_the_number_of_tries_is_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_serve_options(parser)
    assert parser.parse_args([]).job_tries == 2
    assert parser.parse_args(["--job-tries", "5"]).job_tries == 5
    with pytest.raises(SystemExit):
        parser.parse_args(["--job-tries", "0"])
    assert "expected 1 or more" in capsys.readouterr().err
