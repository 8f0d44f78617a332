"""The next job is taken in the transaction that accepts it, or ends the one before; none is lost or run twice by that."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.crew import Crew
from server.deps import STORE, WATCH
from server.explaining import Explaining
from server.job import Job
from server.store import Store
from tests.server.loop import in_loop
from tests.server.support import chain, deps_of, serving


def follow(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the store is asked, each transaction in brackets; `take` only where it gives a job."""
    told: list[str] = []
    together = Store.together

    @contextlib.contextmanager
    def transaction(store: Store, durable: bool) -> Iterator[None]:
        told.append("(")
        with together(store, durable):
            yield
        told.append(")")

    def noted(name: str) -> Callable[..., Any]:
        method = getattr(Store, name)

        def call(*args: Any) -> Any:
            given = method(*args)
            if given is not None:
                told.append(name)
            return given

        return call

    monkeypatch.setattr(Store, "together", transaction)
    for name in ("accept", "take", "finish"):
        monkeypatch.setattr(Store, name, noted(name))
    return told


def asked(told: list[str]) -> list[str]:
    """The transactions in which something was done, as texts."""
    return [text for part in " ".join(told).split(")") if (text := part.strip("( "))]


@in_loop
async def test_a_job_is_taken_by_the_transaction_that_accepts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(deps_of(tmp_path)) as client:
        await client.run(chain())  # the worker has looked, and waits
        told = follow(monkeypatch)
        entry = await client.run(chain(steps=2))
        assert entry["status"]["completed"]
    assert asked(told) == ["accept take", "finish"]


@in_loop
async def test_the_next_job_is_taken_by_the_transaction_that_ends_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(deps_of(tmp_path)) as client:
        await client.post("/api/queue/pause", "")
        ids = [await client.queue(chain(steps=steps)) for steps in (2, 3, 4)]
        told = follow(monkeypatch)
        await client.post("/api/queue/resume", "")
        for id_ in ids:
            assert (await client.entry(id_))["status"]["completed"]
    assert asked(told) == ["take", "finish take", "finish take", "finish"]


@in_loop
async def test_jobs_of_many_clients_at_once_run_once_each_in_their_order(tmp_path: Path) -> None:
    """Of two that come in the same moment, one may have begun before the other is accepted; a client's own come in turn."""
    async with serving(deps_of(tmp_path)) as client:

        async def send(number: int) -> list[str]:
            return [await client.queue(chain(), client_id=f"c{number}") for _ in range(10)]

        sent = await asyncio.gather(*map(send, range(5)))
        ids = [id_ for of_one in sent for id_ in of_one]
        for id_ in ids:
            assert (await client.entry(id_))["status"]["completed"]
        history = await client.get("/history?max_items=-1")
    assert sorted(history) == sorted(ids)
    for of_one in sent:
        assert [id_ for id_ in history if id_ in of_one] == of_one


@in_loop
async def test_a_job_that_was_taken_and_has_not_begun_can_be_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explain, go_on, busy = Explaining.explain, asyncio.Event(), asyncio.Event()

    async def slow(explaining: Explaining) -> None:
        busy.set()
        await go_on.wait()
        await explain(explaining)

    async with serving(deps_of(tmp_path)) as client:
        await client.run(chain())
        monkeypatch.setattr(Explaining, "explain", slow)
        await busy.wait()  # what the worker does when it rests
        id_ = await client.queue(chain(steps=3))
        assert [item[1] for item in (await client.get("/queue"))["queue_running"]] == [id_]
        assert (await client.post(f"/api/jobs/{id_}/cancel", ""))[1] == {"cancelled": True}
        go_on.set()
        entry = await client.entry(id_)
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"


@in_loop
async def test_a_job_cancelled_before_it_began_does_not_run_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Crew.stop

    async def late(crew: Crew, serving: list[asyncio.Task[None]]) -> None:
        worker = crew.workers[0]
        worker._stopping = True  # a job is given to it in this very moment, and its user stops it
        await client.app[STORE](Store.release, "given")
        job = await client.app[STORE](Store.take)
        assert isinstance(job, Job)
        worker.give(job)
        assert crew.interrupt("given")
        await stop(crew, serving)

    async with serving(deps_of(tmp_path)) as client:
        await client.post("/api/queue/pause", "")
        await client.queue(chain(), prompt_id="given")
        monkeypatch.setattr(Crew, "stop", late)
    with contextlib.closing(sqlite3.connect(tmp_path / "darkroom.db")) as db:
        assert db.execute("SELECT state FROM jobs").fetchall() == [("cancelled",)]


@in_loop
async def test_a_job_that_cannot_be_taken_once_is_taken_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take, failed = Store.take, threading.Event()

    def failing(store: Store, *args: str) -> Job | None:
        if (job := take(store, *args)) is not None and not failed.is_set():
            failed.set()
            store.release(job.id)
            raise ValueError("made up")
        return job

    monkeypatch.setattr(Store, "take", failing)
    async with serving(deps_of(tmp_path)) as client:
        assert (await client.run(chain()))["status"]["completed"]
        assert client.app[WATCH]._in_a_row["worker"] == 0
    assert failed.is_set()
