"""The database: what is answered is on disk, damage is named, and neither clocks nor links harm it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from graph.files import Folders
from server.database import MIGRATIONS, Damaged, examine
from server.desk import Desk, StoreUnavailable
from server.job import Outcome, State, Submission
from server.lock import Held
from server.reader import Reader
from server.store import Accepted, QueueFull, Store
from server.temp_files import sweep
from tests.server.crashes import SOURCE
from tests.server.loop import in_loop
from tests.server.support import chain, deps_of, serving
from tests.server.test_durability import FIRST_VERSION
from tests.server.test_security import picture

OUTCOME = Outcome(State.COMPLETED, "{}", "[]", "{}", "{}")


def job(name: str, number: float = 0, prompt: str = "{}") -> Submission:
    return Submission(name, number, prompt, "{}", ("9",))


def ended(store: Store, *names: str) -> None:
    """Have jobs come and go."""
    for name in names:
        store.accept(job(name), 100)
        store.take()
        store.finish(name, OUTCOME)


def history(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return [row[0] for row in db.execute("SELECT id FROM jobs WHERE ended IS NOT NULL ORDER BY ended")]


# on disk


@in_loop
async def test_what_is_answered_is_committed_with_a_full_sync(tmp_path: Path) -> None:
    """Each commit of what somebody was answered waits for the disk; that a job was taken is nobody's answer."""
    desk = Desk(Store, tmp_path / "x.db")
    said: list[str] = []
    level = ["FULL"]

    def listen(statement: str) -> None:
        if statement.startswith("PRAGMA synchronous="):
            level[0] = statement.partition("=")[2]
        elif statement == "COMMIT":
            said.append(level[0])

    await desk(lambda store: store._db._db.set_trace_callback(listen))
    assert (await desk(lambda store: store._db.execute("PRAGMA synchronous").fetchone())) == (2,)
    said.clear()
    await desk(Store.accept, job("a"), 10)
    assert said == ["FULL"]
    await desk.lightly(Store.take)
    assert said == ["FULL", "NORMAL"]
    await desk(Store.finish, "a", OUTCOME)
    await desk(Store.set, "x", "y")
    await desk(Store.cancel_pending, None)
    await desk(Store.prune, 1, 0.0)
    assert said == ["FULL", "NORMAL", *["FULL"] * 4]
    assert (await desk(lambda store: store._db.execute("PRAGMA synchronous").fetchone())) == (2,)
    desk.close()


@in_loop
async def test_jobs_that_come_together_share_a_commit_and_none_is_answered_before_it(tmp_path: Path) -> None:
    desk = Desk(Store, tmp_path / "x.db")
    busy, commits = threading.Event(), [0]
    answered: list[int] = []

    def listen(statement: str) -> None:
        if statement == "COMMIT":
            assert not answered
            commits[0] += 1

    async def accept(number: int) -> Accepted:
        accepted = await desk(Store.accept, job(f"job-{number}", number), 30)
        answered.append(number)
        return accepted

    waiting = asyncio.ensure_future(desk(lambda store: busy.wait(20)))
    await asyncio.sleep(0)
    tasks = [asyncio.ensure_future(accept(number)) for number in range(40)]
    await asyncio.sleep(0)
    await desk_begins(desk, listen, busy)
    given = await asyncio.gather(*tasks, return_exceptions=True)
    await waiting
    assert [it.number if isinstance(it, Accepted) else type(it) for it in given] == [*range(30), *[QueueFull] * 10]
    assert commits[0] <= 2
    desk.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as db:
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (30,)


@in_loop
async def test_what_is_prepared_elsewhere_is_committed_together_and_what_cannot_be_prepared_takes_no_other_with_it(
    tmp_path: Path,
) -> None:
    """More jobs than fit into one commit, checked in four threads."""
    desk, pool = Desk(Store, tmp_path / "x.db"), ThreadPoolExecutor(4)
    held, busy = threading.Event(), threading.Event()
    answered: list[str] = []
    answered_at: list[int] = []

    def listen(statement: str) -> None:
        if statement == "COMMIT":
            answered_at.append(len(answered))

    def prepare(number: int) -> Submission:
        if number % 10 == 3:
            raise ValueError(number)
        return job(f"job-{number}", number)

    async def accept(number: int) -> None:
        submitted, accepted = await desk.after(pool, partial(prepare, number), lambda store, it: store.accept(it, 100))
        assert accepted.number == number
        answered.append(submitted.id)

    def hold(store: Store) -> None:
        held.set()
        busy.wait(20)

    waiting = asyncio.ensure_future(desk(hold))
    await asyncio.to_thread(held.wait, 20)
    tasks = [asyncio.ensure_future(accept(number)) for number in range(100)]
    await asyncio.sleep(0)
    await asyncio.to_thread(pool.shutdown)
    await desk_begins(desk, listen, busy)
    given = await asyncio.gather(*tasks, return_exceptions=True)
    await waiting
    wrong = [number for number, it in enumerate(given) if it is not None]
    assert wrong == list(range(3, 100, 10))
    assert all(type(given[number]) is ValueError for number in wrong)
    assert answered_at[0] == 0
    assert len(answered_at) <= 3
    desk.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as db:
        assert sorted(answered) == [row[0] for row in db.execute("SELECT id FROM jobs ORDER BY id")]
    assert len(answered) == 90


@in_loop
async def test_who_is_accepted_is_told_how_many_wait_or_run(tmp_path: Path) -> None:
    desk = Desk(Store, tmp_path / "x.db")
    assert [(await desk(Store.accept, job(f"{number}"), 10)).remaining for number in range(3)] == [1, 2, 3]
    await desk.lightly(Store.take)
    assert (await desk(Store.accept, job("3"), 10)).remaining == 4
    assert (await desk(Store.accept, job("3"), 10)).remaining == 4  # the same once more
    assert await desk(Store.finish, "0", OUTCOME) == 3
    desk.close()


async def desk_begins(desk: Desk[Store], listen: Any, busy: threading.Event) -> None:
    """Let the desk go on, with its commits counted from now on."""
    desk._store._db._db.set_trace_callback(listen)
    busy.set()


@in_loop
async def test_one_that_has_no_room_takes_no_other_with_it(tmp_path: Path) -> None:
    """SQLite undoes the whole transaction when the disk is full; the others are done again."""
    desk = Desk(Store, tmp_path / "x.db")
    busy = threading.Event()
    pages = await desk(lambda store: store._db.execute("PRAGMA page_count").fetchone()[0])
    await desk(lambda store: store._db.execute(f"PRAGMA max_page_count={pages + 20}").fetchone())
    waiting = asyncio.ensure_future(desk(lambda store: busy.wait(20)))
    await asyncio.sleep(0)
    prompts = ["small", "x" * 1_000_000, "small too"]
    tasks = [asyncio.ensure_future(desk(Store.accept, job(f"{i}", i, prompt), 30)) for i, prompt in enumerate(prompts)]
    await asyncio.sleep(0)
    busy.set()
    given = await asyncio.gather(*tasks, return_exceptions=True)
    await waiting
    assert [type(it) for it in given] == [Accepted, StoreUnavailable, Accepted]
    assert "disk is full" in str(given[1])
    desk.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as db:
        assert db.execute("SELECT id FROM jobs ORDER BY seq").fetchall() == [("0",), ("2",)]


@in_loop
async def test_what_is_asked_wrongly_is_not_called_unavailable(tmp_path: Path) -> None:
    desk = Desk(Store, tmp_path / "x.db")
    for wrong in ("SELECT ?", "INSERT INTO jobs(seq) VALUES(1)"):
        with pytest.raises((sqlite3.ProgrammingError, sqlite3.IntegrityError)):
            await desk(partial(lambda wrong, store: store._db.execute(wrong), wrong))
    await desk(Store.accept, job("a"), 10)
    desk.close()


# damage


def damaged(base: Path) -> bytes:
    """A database with jobs, with some of its pages overwritten."""
    base.mkdir(exist_ok=True)
    store = Store(base / "darkroom.db")
    ended(store, *(f"job-{number}" for number in range(50)))
    store.close()
    content = bytearray((base / "darkroom.db").read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 200] = b"\xab" * 200
    (base / "darkroom.db").write_bytes(content)
    return bytes(content)


@pytest.mark.parametrize("how", ["pages", "no database", "cut off"])
def test_damage_is_named(tmp_path: Path, how: str) -> None:
    content = damaged(tmp_path)
    if how == "no database":
        (tmp_path / "darkroom.db").write_bytes(b"this is a letter, not a database" * 1000)
    if how == "cut off":
        (tmp_path / "darkroom.db").write_bytes(content[: len(content) // 2])
    with pytest.raises(Damaged, match=r"darkroom\.db is damaged"):
        examine(tmp_path / "darkroom.db")


def test_soundness_is_believed(tmp_path: Path) -> None:
    examine(tmp_path / "x.db")
    store = Store(tmp_path / "x.db")
    ended(store, "a")
    examine(tmp_path / "x.db")
    store.close()
    examine(tmp_path / "x.db")


@in_loop
async def test_a_damaged_database_can_be_set_aside_and_pictures_stay(tmp_path: Path) -> None:
    content = damaged(tmp_path)
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "old.png").write_bytes(picture())
    with pytest.raises(Damaged, match="--set-database-aside"):
        async with serving(deps_of(tmp_path)):
            pass
    assert (tmp_path / "darkroom.db").read_bytes() == content
    async with serving(deps_of(tmp_path, set_database_aside=True)) as client:
        assert await client.get("/history") == {}
        async with client.session.get(f"{client.url}/view?filename=old.png") as answer:
            assert answer.status == 200 and await answer.read() == picture()
        prompt_id = await client.queue(chain())
        await client.entry(prompt_id)
    assert (tmp_path / "darkroom.db.damaged-1").read_bytes() == content
    async with serving(deps_of(tmp_path, set_database_aside=True)) as client:  # what is sound stays
        assert list(await client.get("/history")) == [prompt_id]
    assert not (tmp_path / "darkroom.db.damaged-2").exists()


def test_the_command_says_what_is_damaged_in_a_line(tmp_path: Path) -> None:
    damaged(tmp_path / "base")
    command = [sys.executable, "-m", "tests.server.stub_server", str(tmp_path / "base")]
    found = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=60)
    assert found.returncode == 1 and len(found.stderr.splitlines()) == 1
    assert "darkroom.db is damaged" in found.stderr and "--set-database-aside" in found.stderr


def test_a_job_costs_as_much_after_a_long_history_as_after_a_short_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted are instructions of SQLite's virtual machine."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    class Counting(sqlite3.Connection):
        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            self.set_progress_handler(count, 1)

    monkeypatch.setattr("server.database.sqlite3.connect", partial(sqlite3.connect, factory=Counting))
    store = Store(tmp_path / "x.db")

    def steps_of(name: str) -> int:
        nonlocal steps
        steps = 0
        ended(store, name)
        return steps

    ended(store, "first")
    short = steps_of("short")
    with store.together(durable=False):
        ended(store, *map(str, range(500)))
    assert steps_of("long") < 1.2 * short
    store.close()


# migrations


def test_a_database_is_kept_as_it_was_before_it_is_changed(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as db:
        db.executescript(FIRST_VERSION)
        before = list(db.iterdump())
    Store(tmp_path / "x.db").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db.version-1")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,) and list(db.iterdump()) == before
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    Store(tmp_path / "x.db").close()
    Store(tmp_path / "new.db").close()
    assert sorted(path.name for path in tmp_path.glob("*.version-*")) == ["x.db.version-1"]


def test_nothing_is_changed_that_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as db:
        db.executescript(FIRST_VERSION)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("graph.whole_files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        Store(tmp_path / "x.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert [path.name for path in tmp_path.iterdir() if "version" in path.name or "part" in path.name] == []


def test_jobs_of_before_keep_the_order_in_which_they_ended(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as db:
        db.executescript(FIRST_VERSION)
        for seq, finished in ((11, 9.0), (12, 5.0), (13, 7.0)):
            db.execute(
                "INSERT INTO jobs SELECT ?, 'job-' || ?, number, state, priority, rank, client_id, attempts, created,"
                " started, ?, targets, error, outputs, messages, meta, nodes, extra, prompt FROM jobs WHERE seq = 1",
                (seq, seq, finished),
            )
        db.commit()
    store = Store(tmp_path / "x.db")
    ended(store, "new")
    reader = Reader(tmp_path / "x.db")
    assert reader.history(None, None) == [1, 12, 13, 11, 14]
    assert history(tmp_path / "x.db") == ["ended", "job-12", "job-13", "job-11", "new"]
    store.close()
    reader.close()


# numbers


@pytest.mark.parametrize("number", [1e300, -1e300, 10**15 + 1, "1e17"])
@in_loop
async def test_numbers_that_no_program_counts_to_are_refused(tmp_path: Path, number: float) -> None:
    async with serving(deps_of(tmp_path)) as client:
        status, answer = await client.post("/prompt", {"prompt": chain(), "number": number})
        assert status == 400 and "number" in answer["error"]["message"]


@in_loop
async def test_a_database_with_such_a_number_is_healed(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "darkroom.db")) as db:
        db.executescript(FIRST_VERSION)
        db.execute("UPDATE jobs SET number = 1e300, rank = 1e300")
        db.commit()
    for seed in range(2):
        async with serving(deps_of(tmp_path)) as client:
            status, answer = await client.post("/prompt", {"prompt": chain(seed=seed)})
            assert status == 200 and answer["number"] == seed
            queue = await client.get("/queue")
            assert queue["queue_pending"][-1][0] == 10**15


@in_loop
async def test_numbers_of_clients_are_not_counted_on(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        await client.post("/queue/pause")
        await client.queue(chain(), number=10**15)
        await client.queue(chain(seed=1), front=True)
    async with serving(deps_of(tmp_path)) as client:
        assert (await client.post("/prompt", {"prompt": chain(seed=2)}))[1]["number"] == 1


# the clock


def test_the_history_is_shortened_in_the_order_in_which_jobs_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, real = Store(tmp_path / "x.db"), time.time
    ended(store, "a", "b")
    monkeypatch.setattr("server.store.time.time", lambda: real() + 400 * 86400)
    ended(store, "ahead")
    assert store.prune(10, 30.0) == 0  # the clock is not believed
    monkeypatch.undo()
    ended(store, "c", "d")
    assert store.prune(10, 30.0) == 0
    assert store.prune(3, 0.0) == 2 and history(tmp_path / "x.db") == ["ahead", "c", "d"]
    ended(store, "e")
    assert store.prune(3, 0.0) == 1 and history(tmp_path / "x.db") == ["c", "d", "e"]
    store.close()


@in_loop
async def test_age_does_not_count_while_the_clock_may_still_be_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server starts while the clock is 400 days ahead, and one job runs."""
    async with serving(deps_of(tmp_path)) as client:
        ids = [await client.queue(chain(seed=seed)) for seed in range(3)]
        await client.entry(ids[-1])
    real = time.time
    monkeypatch.setattr("server.store.time.time", lambda: real() + 400 * 86400)
    days: list[float] = []
    prune = Store.prune

    def counted(store: Store, keep: int, days_: float) -> int:
        days.append(days_)
        return prune(store, keep, days_)

    monkeypatch.setattr(Store, "prune", counted)
    deps = deps_of(tmp_path)
    async with serving(replace(deps, limits=replace(deps.limits, history_days=30.0))) as client:
        ids.append(await client.queue(chain(seed=9)))
        await client.entry(ids[-1])
        while not days:
            await asyncio.sleep(0.01)
        assert days == [0.0] and list(await client.get("/history")) == ids
    monkeypatch.setattr("server.app.CLOCK_SECONDS", -1.0)
    async with serving(replace(deps_of(tmp_path), limits=replace(deps.limits, history_days=30.0))) as client:
        await client.run(chain(seed=10))
        while len(days) < 2:
            await asyncio.sleep(0.01)
        assert days[-1] == 30.0


# where it lies


@in_loop
async def test_a_link_to_a_database_is_no_second_queue(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "linked.db").symlink_to(tmp_path / "darkroom.db")
    async with serving(deps_of(tmp_path)) as client:
        with pytest.raises(Held, match="another server"):
            async with serving(deps_of(tmp_path / "second", database=tmp_path / "second" / "linked.db")):
                pass
        assert (await client.run(chain()))["status"]["completed"]
    async with serving(deps_of(tmp_path / "second", database=tmp_path / "second" / "linked.db")) as client:
        assert len(await client.get("/history")) == 1
        with pytest.raises(Held, match="another server"):
            async with serving(deps_of(tmp_path)):
                pass


@in_loop
async def test_a_link_that_leads_back_to_itself_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.db").symlink_to(tmp_path / "b.db")
    (tmp_path / "b.db").symlink_to(tmp_path / "a.db")
    with pytest.raises(OSError, match=r"leads back|symbolic links"):
        async with serving(deps_of(tmp_path, database=tmp_path / "a.db")):
            pass


@pytest.mark.skipif(os.name == "nt", reason="other permissions")
@in_loop
async def test_a_new_base_directory_is_its_users_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        async with serving(deps_of(tmp_path / "deep" / "base")) as client:
            await client.run(chain())
        assert stat.S_IMODE((tmp_path / "deep" / "base").stat().st_mode) == 0o700
        for name in ("darkroom.db", "darkroom.db.lock", "darkroom.db.running"):
            assert stat.S_IMODE((tmp_path / "deep" / "base" / name).stat().st_mode) == 0o600
        shared = tmp_path / "shared"
        shared.mkdir(mode=0o755)
        Folders.standard(shared)
        assert stat.S_IMODE(shared.stat().st_mode) == 0o755  # what is there stays as its owner wants it
    finally:
        os.umask(before)


# the directory for passing files


def swept(folders: Folders) -> ExitStack:
    held = ExitStack()
    sweep(folders, held)
    return held


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(".darkroom"))


@in_loop
async def test_passing_files_are_removed_at_the_start(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)):
        (tmp_path / "temp" / "preview_00001_.png").write_bytes(picture())
        (tmp_path / "temp" / "deep").mkdir()
        (tmp_path / "temp" / "deep" / "x.png").write_bytes(picture())
        (tmp_path / "kept").mkdir()
        (tmp_path / "kept" / "mine.png").write_bytes(picture())
        (tmp_path / "temp" / "link").symlink_to(tmp_path / "kept")
    async with serving(deps_of(tmp_path)):
        assert names(tmp_path / "temp") == [] and names(tmp_path / "kept") == ["mine.png"]


@in_loop
async def test_passing_files_of_a_server_that_works_there_stay(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)):
        (tmp_path / "temp" / "shown.png").write_bytes(picture())
        async with serving(deps_of(tmp_path, database=tmp_path / "second.db")):
            assert names(tmp_path / "temp") == ["shown.png"]


def test_only_a_directory_that_is_ours_is_swept(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    swept(Folders.standard(tmp_path / "base", temp_dir=mine)).close()
    assert names(mine) == ["letter.txt"]
    (tmp_path / "base2").mkdir()
    (tmp_path / "base2" / "temp").symlink_to(mine)
    swept(Folders.standard(tmp_path / "base2")).close()
    assert names(mine) == ["letter.txt"]
    empty = Folders.standard(tmp_path / "base", temp_dir=tmp_path / "empty")
    swept(empty).close()
    (tmp_path / "empty" / "x.png").write_bytes(picture())
    swept(empty).close()
    assert names(tmp_path / "empty") == []


def test_pictures_that_lie_among_passing_files_stay(tmp_path: Path) -> None:
    folders = Folders.standard(tmp_path / "base", temp_dir=tmp_path / "all", output_dir=tmp_path / "all" / "output")
    for _ in range(2):
        swept(folders).close()
        (tmp_path / "all" / "output" / "x.png").write_bytes(picture())
    assert names(tmp_path / "all" / "output") == ["x.png"]


def form(content: bytes) -> aiohttp.FormData:
    fields = aiohttp.FormData()
    fields.add_field("image", content, filename="x.png")
    return fields


@in_loop
async def test_uploads_work_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("graph.whole_files.os.link", no_links)
    async with serving(deps_of(tmp_path)) as client:
        named = []
        for content in (picture(), picture("PNG", (9, 9)), picture()):
            async with client.session.post(f"{client.url}/upload/image", data=form(content)) as answer:
                assert answer.status == 200
                named.append((await answer.json())["name"])
        assert named == ["x.png", "x (1).png", "x.png"] and names(tmp_path / "input") == ["x (1).png", "x.png"]
        assert (await client.post("/userdata/a.json?overwrite=false", {"a": 1}))[0] == 200
        assert (await client.post("/userdata/a.json?overwrite=false", {"a": 2}))[0] == 409
