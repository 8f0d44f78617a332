"""Accepted work is never lost."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import aiohttp
import pytest

from server.job import Submission
from server.lock import Held
from server.store import Newer, Store
from tests.server.crashes import kill_many, start
from tests.server.loop import in_loop
from tests.server.support import Ear, chain, deps_of, serving


@in_loop
async def test_killed_at_random_moments(tmp_path: Path) -> None:
    damage = await kill_many(tmp_path / "base", kills=6, seed=1)
    assert damage.kills == 6 and damage.accepted
    assert not damage.lost and not damage.truncated and not damage.repeated
    assert len(damage.failed) <= damage.kills / 2  # a job that two kills hit counts as failed


@in_loop
async def test_a_job_that_kills_the_server_fails_the_second_time(tmp_path: Path) -> None:
    deadly = chain()
    deadly["s"] = {"class_type": "Die", "inputs": {"value": ["a0", 0]}}
    process, url = await start(tmp_path / "base")
    async with aiohttp.ClientSession() as session:
        await session.post(f"{url}/prompt", json={"prompt": deadly, "prompt_id": "deadly"})
        assert await process.wait() == 9
        process, url = await start(tmp_path / "base")
        assert await process.wait() == 9
        process, url = await start(tmp_path / "base")
        await session.post(f"{url}/prompt", json={"prompt": chain(), "prompt_id": "good"})
        async with asyncio.timeout(20):
            while not (entry := await (await session.get(f"{url}/history/good")).json()):
                await asyncio.sleep(0.01)
        assert entry["good"]["status"]["completed"]
        entry = (await (await session.get(f"{url}/history/deadly")).json())["deadly"]
        assert entry["status"]["status_str"] == "error"
        kind, data = entry["status"]["messages"][-1]
        assert kind == "execution_error" and "stopped 2 times" in data["exception_message"]
    process.terminate()
    assert await process.wait() == 0


@in_loop
async def test_stopping_puts_the_running_job_back(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(3):  # more often than crashes are forgiven
            async with serving(deps_of(tmp_path)) as client:
                ear = Ear(await session.ws_connect(f"{client.url}/ws"))
                await client.post("/prompt", {"prompt": chain(steps=5000, seconds=0.01), "prompt_id": "long"})
                async with asyncio.timeout(10):
                    while not (await client.get("/queue"))["queue_running"]:
                        await asyncio.sleep(0.01)
            await ear.until(lambda type_, data: type_ == "closed")
            assert ear.heard[-1] == ("closed", (1001, "the server shuts down"))
    async with serving(deps_of(tmp_path)) as client:
        job = await client.get("/api/jobs/long")
        assert job["status"] in ("pending", "in_progress") and job["attempts"] == 0
        await client.post("/api/jobs/long/cancel")


@in_loop
async def test_history_survives_a_restart(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        first = await client.queue(chain(), client_id="me")
        before = await client.entry(first)
        await client.post("/api/queue/pause")
        waiting = await client.queue(chain(seed=2))
    async with serving(deps_of(tmp_path)) as client:
        assert await client.get("/history") == {first: before}
        assert [item[1] for item in (await client.get("/queue"))["queue_pending"]] == [waiting]
        assert (await client.get("/api/jobs"))["paused"] is True
        await client.post("/api/queue/resume")
        assert (await client.entry(waiting))["status"]["completed"]
        _, answer = await client.post("/prompt", {"prompt": chain(seed=3)})
        assert answer["number"] == 2


@in_loop
async def test_one_server_for_each_database(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)):
        with pytest.raises(Held, match="another server"):
            async with serving(deps_of(tmp_path)):
                pass
        async with serving(deps_of(tmp_path, database=tmp_path / "second.db")) as client:
            assert (await client.run(chain()))["status"]["completed"]


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(Newer, match="99"):
        Store(tmp_path / "x.db")


@in_loop
async def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.worker.RETRY_SECONDS", 0.02)
    async with serving(deps_of(tmp_path)) as client:
        kept = await client.queue(chain(steps=30, seconds=0.01))
        finish, full = Store.finish, [True]

        def failing(store: Store, *args: object) -> None:
            if full[0]:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorname = "SQLITE_FULL"
                raise error
            finish(store, *args)  # type: ignore[arg-type]

        monkeypatch.setattr(Store, "finish", failing)
        monkeypatch.setattr(Store, "accept", failing)
        status, answer = await client.post("/prompt", {"prompt": chain()})
        assert status == 503 and "disk is full" in answer["error"]["message"]
        await asyncio.sleep(0.5)
        full[0] = False
        assert (await client.entry(kept))["status"]["completed"]


def test_an_old_database_is_migrated(tmp_path: Path) -> None:
    Store(tmp_path / "x.db").close()
    store = Store(tmp_path / "x.db")
    job = Submission("a", 0, "{}", "{}", ("9",), types=frozenset({"Save"}))
    assert store.accept(job, 10).repeated is False
    assert store.accept(job, 10).repeated is True
    taken = store.take()
    assert taken is not None and taken.targets == ("9",)
    assert store.recover() == (1, 0)
    store.take()
    assert store.recover() == (0, 1)
    assert store.entry("a") is not None
    store.close()
