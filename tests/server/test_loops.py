"""Loops that live as long as the server, when something in them fails: they go on, it is told, or the server stops."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from graph.cache import Cache
from graph.context import Context, Run
from graph.errors import Interrupted, NodeError
from graph.events import Event, RunFinished, RunStarted
from graph.execute import Executor
from graph.files import Folders
from graph.result import Outputs
from graph.spec import Registry, node
from server.backend import Engine, Holdings, LocalBackend
from server.crew import Crew
from server.deps import WATCH, Deps, Limits
from server.feed import GATHER_SECONDS, Feed
from server.hub import Hub
from server.metrics import Metrics
from server.resting import unload_when_idle
from server.store import Store
from server.watch import Watch
from server.webhooks import Webhooks
from tests.server.crashes import SOURCE
from tests.server.loop import in_loop
from tests.server.stub_nodes import factory
from tests.server.support import Client, chain, deps_of, serving


async def failures(client: Client, loop: str) -> int:
    """How many of a loop the metrics tell."""
    async with client.session.get(f"{client.url}/metrics") as answer:
        for line in (await answer.text()).splitlines():
            if line.startswith(f'darkroom_loop_failures_total{{loop="{loop}"}}'):
                return int(float(line.rpartition(" ")[2]))
    return 0


def failing(times: int, real: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """`real`, but for the first calls."""
    left = [times]

    def call(*args: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise error
        return real(*args)

    return call


@in_loop
async def test_memory_that_cannot_be_let_go_of_stops_no_job(tmp_path: Path) -> None:
    folders = Folders.standard(tmp_path)

    def build() -> Engine:
        def free(unload_models: bool, free_memory: bool) -> None:
            raise RuntimeError("a device is lost")

        return replace(factory(folders)(), free=free)

    deps = Deps(folders, tmp_path / "darkroom.db", LocalBackend(build, folders))
    async with serving(deps) as client:
        assert (await client.post("/free", {"free_memory": True}))[0] == 200
        assert (await client.run(chain()))["status"]["completed"]
        assert await failures(client, "worker") == 1


@in_loop
async def test_a_server_that_rests_lets_go_of_weights_and_says_of_which(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folders, held, freed = Folders.standard(tmp_path), {"a.safetensors": 0}, asyncio.Queue[tuple[bool, ...]]()
    loop = asyncio.get_running_loop()

    def build() -> Engine:
        def free(*asked: bool) -> None:
            held["a.safetensors"] = 0
            loop.call_soon_threadsafe(freed.put_nowait, asked)

        engine = factory(folders)()
        return replace(
            engine, free=free, gauges=lambda: {"weights": held["a.safetensors"], "results": 2**29}, holds=lambda: held
        )

    backend = LocalBackend(build, folders)
    async with serving(Deps(folders, tmp_path / "darkroom.db", backend, limits=Limits(idle=0.05))) as client:
        for seed in range(2):
            held["a.safetensors"] = 2**30
            assert (await client.run(chain(seed=seed)))["status"]["completed"]
            assert await asyncio.wait_for(freed.get(), 20) == (True, False)
    told = [record.getMessage() for record in caplog.records if record.name == "server.resting"]
    assert len(told) >= 2, "once more if a job was long in coming"
    assert told[0].endswith(": 1.00 GiB of weights leave memory (a.safetensors); 0.50 GiB of results stay")


class _Rests(Crew):
    """A crew that has rested for so long at each look; after the last, the loop that looks is cancelled."""

    def __init__(self, *rests: float) -> None:
        super().__init__(())
        self.rests, self.freed_at = list(rests), list[float]()

    @property
    def rest(self) -> float:
        if not self.rests:
            raise asyncio.CancelledError
        return self.rests.pop(0)

    def holdings(self) -> Sequence[Holdings]:
        return [Holdings(gauges={"weights": 1})]

    def free(self, unload_models: bool, free_memory: bool) -> None:
        self.freed_at.append(len(self.rests))


@in_loop
async def test_weights_stay_while_a_job_runs_and_shortly_after() -> None:
    crew = _Rests(0.0, 0.0, 0.02, 0.039)
    with pytest.raises(asyncio.CancelledError):
        await unload_when_idle(crew, 0.04)
    assert crew.freed_at == []


@in_loop
async def test_a_terminal_that_goes_away_ends_no_job(tmp_path: Path) -> None:
    told: list[Event] = []

    def sink(titles: Mapping[str, str]) -> Callable[[Event], None]:
        def write(event: Event) -> None:
            told.append(event)
            raise OSError(5, "Input/output error")

        return write

    async with serving(deps_of(tmp_path, sink=sink)) as client:
        for seed in range(2):
            assert (await client.run(chain(seed=seed)))["status"]["completed"]
        assert len(told) == 2 == await failures(client, "events")  # each job tries once


@pytest.mark.parametrize("name", ["show", "close", "open", "encode"])
@in_loop
async def test_whatever_cannot_be_shown_the_job_ends_as_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """One part of the live side fails at every call: the job ends, it is recorded, and the next one runs."""
    async with serving(deps_of(tmp_path)) as client, client.listen("me") as ear:
        await ear.next()

        def broken(*_: object) -> None:
            raise RuntimeError("cannot be shown")

        monkeypatch.setattr(Hub, name, broken)
        first = await client.queue(chain(), client_id="me")
        entry = await client.entry(first)
        monkeypatch.undo()
        assert entry["status"]["completed"] is (name != "open")
        assert (await client.run(chain(seed=2)))["status"]["completed"]


class Numeric:
    """A number of another library."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __float__(self) -> float:
        return float(self.value)


@in_loop
async def test_progress_in_any_numbers_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    odd: list[Any] = [np.int64(1), np.float32(1.5), Numeric(2), float("nan"), "two", None, 10**400, np.float64("inf")]

    @node("Odd", category="stub", terminal=True)
    def counts(ctx: Context[Any]) -> Outputs:
        """Reports numbers of all kinds."""
        for number in odd:
            ctx.progress(number, number)
        return Outputs()

    def build() -> Engine:
        registry = Registry([counts])
        return Engine(Executor(None, registry, folders, Cache(2**20, lambda value: 8)), registry)

    folders = Folders.standard(tmp_path)
    deps = Deps(folders, tmp_path / "darkroom.db", LocalBackend(build, folders))
    async with serving(deps) as client, client.listen("me") as ear:
        prompt_id = await client.queue({"1": {"class_type": "Odd", "inputs": {}}}, client_id="me")
        heard = await ear.until_done(prompt_id)
        values = [data["value"] for type_, data in heard if type_ == "progress"]
        assert values == [1, 1.5, 2, 0, 0, 0, 0, 0]
        assert (await client.entry(prompt_id))["status"]["completed"]
        assert await failures(client, "events") == 0


@in_loop
async def test_a_preview_that_never_comes_holds_no_job_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.feed.PREVIEW_PATIENCE", 0.05)
    forever = threading.Event()
    monkeypatch.setattr("server.hub.encode_preview", lambda _: forever.wait(60) and None)
    async with serving(deps_of(tmp_path)) as client, client.listen("me") as ear:
        prompt_id = await client.queue(chain(), client_id="me")
        heard = await ear.until_done(prompt_id)
        forever.set()
        assert [type_ for type_, _ in heard].count("progress") == 3 and "binary" not in ear.types()


@pytest.mark.parametrize("method", ["take", "finish"])
@in_loop
async def test_the_worker_goes_on_after_any_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr("server.watch.PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(Store, method, failing(2, getattr(Store, method), ValueError("out of order")))
    async with serving(deps_of(tmp_path)) as client:
        entry = await client.run(chain())
        assert entry["status"]["completed"]  # after `finish` failed twice it was put back, and ran again
        assert (await client.run(chain(seed=1)))["status"]["completed"]
        assert await failures(client, "worker") == 2


@in_loop
async def test_an_outcome_that_cannot_be_written_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "finish", failing(1, Store.finish, ValueError("cannot be written")))
    async with serving(deps_of(tmp_path)) as client, client.listen("me") as ear:
        prompt_id = await client.queue(chain(), client_id="me")
        heard = await ear.until_done(prompt_id)
        entry = await client.entry(prompt_id)
        assert entry["status"]["status_str"] == "error" and entry["outputs"] == {}
        assert "execution_error" in [type_ for type_, _ in heard]
        assert "execution_success" not in [type_ for type_, _ in heard]


@pytest.mark.parametrize("owner, method", [(Store, "reports"), (Store, "report_done"), (Webhooks, "_post")])
@in_loop
async def test_reports_go_on_after_any_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, method: str
) -> None:
    monkeypatch.setattr("server.watch.PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(owner, method, failing(1, getattr(owner, method), ValueError("out of order")))
    heard, arrived = [], asyncio.Event()

    async def hear(request: web.Request) -> web.Response:
        heard.append((await request.json())["prompt_id"])
        arrived.set()
        return web.Response()

    hearing = web.Application()
    hearing.router.add_post("/", hear)
    runner = web.AppRunner(hearing)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    async with serving(deps_of(tmp_path, webhook_hosts=[f"127.0.0.1:{port}"])) as client:
        for name in ("first", "second"):
            arrived.clear()
            await client.queue(chain(), prompt_id=name, extra_data={"webhook": f"http://127.0.0.1:{port}/"})
            while name not in heard:
                await asyncio.wait_for(arrived.wait(), 20)
                arrived.clear()
        assert await failures(client, "webhooks") == 1
    await runner.cleanup()


@in_loop
async def test_a_history_that_cannot_be_shortened_now_is_shortened_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.watch.PAUSE_SECONDS", 0.01)
    pruned = threading.Event()

    def prune(store: Store, keep: int, days: float) -> int:
        pruned.set()
        return 0

    monkeypatch.setattr(Store, "prune", failing(1, prune, ValueError("out of order")))
    async with serving(deps_of(tmp_path)) as client:
        await client.run(chain())
        while not await failures(client, "history"):
            await asyncio.sleep(0.01)
        await client.run(chain(seed=1))
        assert await asyncio.to_thread(pruned.wait, 20)


@in_loop
async def test_a_base_directory_that_is_moved_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.app.LOOK_SECONDS", 0.01)
    base = tmp_path / "base"
    async with serving(deps_of(base)) as client:
        await client.run(chain())
        gave_up = asyncio.create_task(client.app[WATCH].gave_up())
        base.rename(tmp_path / "elsewhere")
        assert "moved or replaced" in await asyncio.wait_for(gave_up, 20)


@in_loop
async def test_a_lock_file_that_is_removed_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another server could lock a new one, and both would work on one queue."""
    monkeypatch.setattr("server.app.LOOK_SECONDS", 0.01)
    async with serving(deps_of(tmp_path)) as client:
        (tmp_path / "darkroom.db.lock").unlink()
        assert "darkroom.db.lock was moved" in await asyncio.wait_for(client.app[WATCH].gave_up(), 20)


def test_a_worker_that_cannot_go_on_stops_the_server_with_a_reason(tmp_path: Path) -> None:
    broken = (
        "import sys; from server.store import Store\n"
        "def take(store): raise ValueError('out of order')\n"
        "Store.take = take\n"
        "sys.argv = ['stub', sys.argv[1]]\n"
        "import runpy; runpy.run_module('tests.server.stub_server', run_name='__main__')\n"
    )
    command = [sys.executable, "-c", broken, str(tmp_path / "base")]
    found = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=60)
    assert found.returncode == 1
    last = [line for line in found.stderr.splitlines() if line.startswith("the server stops: ")]
    assert last == ["the server stops: worker failed 5 times in a row, at last with ValueError: out of order"]


def test_a_server_without_an_engine_stops_with_a_reason(tmp_path: Path) -> None:
    broken = (
        "import sys, tests.server.stub_nodes as nodes\n"
        "def specs(folders): raise ImportError('no torch')\n"
        "nodes.specs = specs\n"
        "sys.argv = ['stub', sys.argv[1]]\n"
        "import runpy; runpy.run_module('tests.server.stub_server', run_name='__main__')\n"
    )
    command = [sys.executable, "-c", broken, str(tmp_path / "base")]
    found = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=60)
    assert found.returncode == 1 and "the server stops: the engine could not be built" in found.stderr


@in_loop
async def test_a_loop_is_given_up_when_nothing_goes_well_between_its_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.watch.PAUSE_SECONDS", 0.0)
    watch, turns = Watch(Metrics()), [0]

    async def fails(now_and_then: bool) -> None:
        turns[0] += 1
        if now_and_then:
            watch.went_well("x")
        if turns[0] < 10:
            raise ValueError(turns[0])

    await watch.begin("x", lambda: fails(now_and_then=True), needed=True)
    assert turns == [10]
    turns[0] = 0
    watch.went_well("x")
    await watch.begin("x", lambda: fails(now_and_then=False))
    assert turns == [10]  # nobody needs it
    turns[0] = 0
    watch.went_well("x")
    await watch.begin("x", lambda: fails(now_and_then=False), needed=True)
    assert turns == [5] and "x failed 5 times" in await watch.gave_up()


@in_loop
async def test_what_fails_where_nobody_waits_is_counted() -> None:
    metrics = Metrics()
    loop = asyncio.get_running_loop()
    Watch(metrics).overhear(loop)

    def broken() -> None:
        raise ValueError("in a callback")

    loop.call_soon(broken)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert b'darkroom_loop_failures_total{loop="event loop"} 1.0' in metrics.text()


@pytest.mark.parametrize(
    ("ending", "status"),
    [(NodeError("s", "Steps", "", "broke"), "failed"), (Interrupted(), "cancelled"), (None, "completed")],
)
@in_loop
async def test_a_run_that_tells_no_end_ends_by_its_result(
    tmp_path: Path, ending: Exception | None, status: str
) -> None:
    """As when the event could not be shown, or the engine failed before it told it."""

    class Silent(LocalBackend):
        def submit(self, run: Run, targets: object, graph: object = None) -> Future[Any]:
            future: Future[Any] = Future()
            run.tell(RunStarted(run.id, ()))
            future.set_result({}) if ending is None else future.set_exception(ending)
            return future

    folders = Folders.standard(tmp_path)
    async with serving(Deps(folders, tmp_path / "darkroom.db", Silent(factory(folders), folders))) as client:
        prompt_id = await client.queue(chain())
        await client.entry(prompt_id)
        assert (await client.get(f"/api/jobs/{prompt_id}"))["status"] == status


def test_events_after_the_server_has_closed_harm_no_engine() -> None:
    """A node that was left behind tells them on its own thread."""
    told: list[Feed] = []

    async def make() -> None:
        told.append(Feed(None, None, Watch(Metrics())))  # type: ignore[arg-type]
        gathered, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.call_later(2 * GATHER_SECONDS, gathered.set)
        await gathered.wait()  # from here on the next event would wake the loop

    asyncio.run(make())
    told[0](RunFinished("x"))
