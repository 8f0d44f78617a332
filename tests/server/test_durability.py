"""Accepted work is never lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from graph.identity import FileIdentity
from server.database import Database, Newer
from server.deps import STORE
from server.digests import StoredDigests
from server.job import Outcome, State, Submission
from server.lock import Held
from server.reader import Reader, Search
from server.store import Store
from tests.server.crashes import SOURCE, kill_many, start
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
async def test_a_newer_database_is_refused_politely(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    with contextlib.closing(sqlite3.connect(base / "darkroom.db")) as db:
        db.execute("PRAGMA user_version=99")
    command = [sys.executable, "-m", "tests.server.stub_server", str(base)]
    found = await asyncio.to_thread(subprocess.run, command, cwd=SOURCE, capture_output=True, text=True)
    assert found.returncode == 1 and "version 99" in found.stderr and "Traceback" not in found.stderr


@in_loop
async def test_a_locked_database_is_said_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Database.__init__, "__defaults__", (0.05,))
    monkeypatch.setattr("server.worker.RETRY_SECONDS", 0.02)
    async with serving(deps_of(tmp_path)) as client:
        kept = await client.queue(chain(steps=30, seconds=0.01))
        async with asyncio.timeout(10):
            while not (await client.get("/queue"))["queue_running"]:
                await asyncio.sleep(0.01)
        with contextlib.closing(sqlite3.connect(tmp_path / "darkroom.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            status, answer = await client.post("/prompt", {"prompt": chain()})
            assert status == 503 and "locked" in answer["error"]["message"]
            assert (await client.post("/queue", {"clear": True}))[0] == 503
            assert (await client.get("/queue"))["queue_running"]  # reading goes on
            await asyncio.sleep(0.6)  # the job ends meanwhile
            other.execute("ROLLBACK")
        assert (await client.entry(kept))["status"]["completed"]


@in_loop
async def test_a_disk_that_is_really_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database may not grow beyond a size; SQLite answers as it does on a full disk."""
    async with serving(deps_of(tmp_path)) as client:
        await client.post("/api/queue/pause")
        kept = await client.queue(chain(seed=1))
        pages = await client.app[STORE](lambda store: store._db.execute("PRAGMA page_count").fetchone()[0])
        await client.app[STORE](lambda store: store._db.execute(f"PRAGMA max_page_count={pages + 2}").fetchone())
        statuses = []
        for number in range(30):
            status, answer = await client.post("/prompt", {"prompt": chain(seed=number, length=20)})
            statuses.append(status)
        assert statuses[-1] == 503 and "disk is full" in answer["error"]["message"]
        accepted = 1 + statuses.count(200)
        assert len((await client.get("/queue"))["queue_pending"]) == accepted
        await client.app[STORE](lambda store: store._db.execute("PRAGMA max_page_count=1000000").fetchone())
        await client.post("/api/queue/resume")
        assert (await client.entry(kept))["status"]["completed"]


def test_what_files_are_is_remembered_over_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graph.identity.HASHED_WHOLE", 10)
    first, copy = tmp_path / "a.safetensors", tmp_path / "copy.safetensors"
    for path in (first, copy):
        path.write_bytes(b"x" * 100)
        os.utime(path, (1, 1))
    past = time.time_ns() + 10 * 10**9
    monkeypatch.setattr("graph.identity.time.time_ns", lambda: past)  # the files have rested
    digests = StoredDigests(tmp_path / "x.db")
    identity = FileIdentity()
    identity.keep_in(digests)
    assert identity(first) != identity(copy)
    identity.settle(lambda: False)
    name = identity(first)
    assert identity(copy) == name
    digests.close()

    again = StoredDigests(tmp_path / "x.db")
    identity = FileIdentity()
    identity.keep_in(again)
    monkeypatch.setattr("graph.identity._by_stamp", None)  # nothing is read any more
    assert identity(first) == identity(copy) == name and identity.is_settled
    third = tmp_path / "third.safetensors"
    third.write_bytes(b"x" * 100)
    monkeypatch.undo()
    monkeypatch.setattr("graph.identity.HASHED_WHOLE", 10)
    monkeypatch.setattr("graph.identity.time.time_ns", lambda: past)
    assert identity(third) != name
    identity.settle(lambda: False)
    assert identity(third) == name  # a copy made after the restart is known by its content
    again.close()


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


FIRST_VERSION = """
    CREATE TABLE jobs(
        seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, number NOT NULL, state TEXT NOT NULL,
        priority INTEGER NOT NULL, rank REAL NOT NULL, client_id TEXT, attempts INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL, started REAL, finished REAL, targets TEXT NOT NULL,
        error TEXT, outputs TEXT, messages TEXT, meta TEXT, nodes TEXT, extra TEXT NOT NULL, prompt TEXT NOT NULL);
    CREATE INDEX jobs_queue ON jobs(priority DESC, rank, seq) WHERE state = 'pending';
    CREATE INDEX jobs_state ON jobs(state, created);
    CREATE INDEX jobs_ended ON jobs(finished, seq) WHERE finished IS NOT NULL AND started IS NOT NULL;
    CREATE TABLE job_types(
        type TEXT NOT NULL, job INTEGER NOT NULL REFERENCES jobs(seq) ON DELETE CASCADE,
        PRIMARY KEY(type, job)) WITHOUT ROWID;
    CREATE INDEX job_types_job ON job_types(job);
    CREATE TABLE settings(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    PRAGMA user_version=1;
    INSERT INTO jobs VALUES(1, 'ended', 4, 'completed', 0, 4, 'me', 0, 1.0, 2.0, 3.0, '["9"]', NULL, '{}', '[]', '{}',
        '{}', '{}', '{"9": {}}');
    INSERT INTO jobs VALUES(2, 'waits', 5, 'pending', 0, 5, NULL, 0, 1.0, NULL, NULL, '["9"]', NULL, NULL, NULL, NULL,
        NULL, '{}', '{"9": {}}');
    INSERT INTO job_types VALUES('Save', 1), ('Save', 2);
    INSERT INTO settings VALUES('queue_paused', 'true');
"""


def test_a_database_of_the_first_version_is_migrated(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as db:
        db.executescript(FIRST_VERSION)
    for _ in range(2):  # once is enough, and twice does no harm
        store, reader = Store(tmp_path / "x.db"), Reader(tmp_path / "x.db")
        assert [row["id"] for row in reader.search(Search(type="Save"))[0]] == ["waits", "ended"]
        assert reader.entry("ended") is not None and reader.remaining() == 1
        assert store.setting("queue_paused", "") == "true" and store.next_number() == 6
        store.close()
        reader.close()


def test_jobs_that_ended_long_ago_are_pruned(tmp_path: Path) -> None:
    store = Store(tmp_path / "x.db")
    for number, days in enumerate((0, 1, 3, 9)):
        store.accept(Submission(str(number), number, "{}", "{}", ("9",), types=frozenset()), 10)
        store.take()
        store.finish(str(number), Outcome(State.COMPLETED, "{}", "[]", "{}", "{}"))
        store._db.execute("UPDATE jobs SET finished = finished - ? WHERE id = ?", (days * 86400 + 60, str(number)))
    assert store.prune(0, 0.0) == 0 and store.prune(0, 2.0) == 2
    assert [Reader(tmp_path / "x.db").entry(name) is not None for name in "0123"] == [True, True, False, False]
    store.close()


def test_a_job_is_accepted_once_and_forgiven_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "x.db")
    job = Submission("a", 0, "{}", "{}", ("9",), types=frozenset({"Save"}))
    assert store.accept(job, 10).repeated is False
    assert store.accept(job, 10).repeated is True
    taken = store.take()
    assert taken is not None and taken.targets == ("9",)
    assert store.recover() == (1, 0)
    store.take()
    assert store.recover() == (0, 1)
    assert Reader(tmp_path / "x.db").entry("a") is not None
    store.close()
