"""Jobs on several workers: each in a process of its own, and as good as in one, whatever happens to a process."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import PIL.Image
import pytest

from graph.events import RunStarted
from graph.files import Folders
from graph.live import Results
from graph.recipe import Recipe
from server.backend import Engine, LocalBackend
from server.client import BlockingClient
from server.deps import CREW, WATCH, Limits
from server.kept_results import Fetch, KeptResults
from server.links import piped
from server.list_workers import list_workers
from server.process_backend import ProcessBackend
from server.wire import Channel, Message
from server.worker_process import _Process, _Telling
from tests.server.loop import in_loop
from tests.server.stub_nodes import factory
from tests.server.support import Client, Ear, Json, chain, deps_of, in_background, serving

SOURCE = Path(__file__).resolve().parents[2]


WRITES_LATE = """
import runpy, sys, time
from pathlib import Path
from PIL import Image
def late(*args, real=Image.new, base=Path(sys.argv[1])):
    (base / "entered").touch()
    while not (base / "go").exists():
        time.sleep(0.01)
    return real(*args)
Image.new = late
runpy.run_module("tests.server.stub_worker", run_name="__main__")
"""


def processes(
    base: Path, number: int, lease: float = 60.0, stub: tuple[str, ...] = ("-m", "tests.server.stub_worker")
) -> list[ProcessBackend]:
    """Workers of the stub nodes."""
    command = [sys.executable, *stub, str(base)]
    surroundings = {**os.environ, "PYTHONPATH": str(SOURCE)}
    kept = KeptResults()
    return [ProcessBackend(f"cpu-{at}", piped(command, surroundings), lease=lease, kept=kept) for at in range(number)]


@contextlib.asynccontextmanager
async def crewed(
    base: Path, number: int = 2, lease: float = 60.0, **changes: Any
) -> AsyncIterator[tuple[Client, list[ProcessBackend]]]:
    """A server with workers, once all are ready."""
    backends = processes(base, number, lease)
    async with serving(deps_of(base, workers=backends, **changes)) as client:
        async with asyncio.timeout(60):
            for backend in backends:
                await backend.ready()
        yield client, backends


async def until(true: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait for something that is to become true."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


async def running(client: Client, number: int) -> list[str]:
    """The ids of the jobs that run, once there are `number`."""
    async with asyncio.timeout(30):
        while len(found := (await client.get("/queue"))["queue_running"]) < number:
            await asyncio.sleep(0.01)
    return [item[1] for item in found]


def on(backends: list[ProcessBackend], client: Client, job: str) -> ProcessBackend:
    """The worker that runs a job."""
    workers = client.app[CREW].workers
    return next(
        backend
        for worker, backend in zip(workers, backends, strict=True)
        if worker.running is not None and worker.running.id == job
    )


def kill(backend: ProcessBackend, number: int = signal.SIGKILL) -> None:
    assert backend.process_id is not None
    os.kill(backend.process_id, number)


async def begins_again_after_what_was_kept(client: Client, ear: Ear, backends: list[ProcessBackend]) -> None:
    """A job whose worker is lost at its second long node does not run the first one again."""
    prompt = chain(value=3, steps=11, seconds=0.1)
    prompt["again"] = {"class_type": "Steps", "inputs": {**prompt["s"]["inputs"], "value": ["s", 0], "steps": 40}}
    prompt["o"]["inputs"]["value"] = ["again", 0]
    job = await client.queue(prompt, client_id="me")
    await ear.until(lambda type_, data: type_ == "progress" and data["node"] == "again")
    kill(on(backends, client, job))
    before = len(ear.heard)
    await ear.until_done(job)
    begun = [data["node"] for type_, data in ear.heard[before:] if type_ == "executing"]
    assert "again" in begun
    assert "s" not in begun
    assert (await client.entry(job))["status"]["completed"]


def test_a_part_of_a_run_ends_also_where_what_named_its_results_cannot_be_told(tmp_path: Path) -> None:
    def fail(parts: bool) -> list[Recipe]:
        raise RuntimeError("no")

    out, done = io.BytesIO(), Future[Results]()
    done.set_result({})
    process = _Process(LocalBackend(factory(Folders.standard(tmp_path)), Folders.standard(tmp_path)), Channel(out, out))
    told = _Telling(explains=True, started=RunStarted("a", (), recipes=fail))
    process._runs["a"] = told
    process._end("a", told, done, cast(Engine, None))
    out.seek(0)
    assert process._channel.receive() == Message("ended", {"id": "a", "how": "done"})


@in_loop
async def test_a_stop_while_a_process_writes_the_last_picture_does_not_have_it_drawn_again(tmp_path: Path) -> None:
    async def let_go(client: Client) -> None:
        while client.app[CREW].workers[0].takes:
            await asyncio.sleep(0.01)
        (tmp_path / "go").touch()

    backends = processes(tmp_path, 1, stub=("-c", WRITES_LATE))
    async with serving(deps_of(tmp_path, workers=backends)) as client:
        await client.queue(chain(), prompt_id="written")
        await until((tmp_path / "entered").exists)
        going = asyncio.create_task(let_go(client))
    await going
    async with crewed(tmp_path, 1) as (client, _):
        assert (await client.get("/api/jobs/written"))["status"] == "completed"
    assert len(list((tmp_path / "output").glob("*.png"))) == 1


@in_loop
async def test_two_jobs_run_at_the_same_time_and_tell_what_one_process_would(tmp_path: Path) -> None:
    async def told(client: Client) -> list[tuple[str, Json]]:
        async with client.listen("me") as ear:
            await ear.next()
            prompt_id = await client.queue(chain(value=3), client_id="me", prompt_id="same")
            heard = await ear.until_done(prompt_id)
        return [(type_, _timeless(data)) for type_, data in heard if type_ not in ("status", "progress_state")]

    async with serving(deps_of(tmp_path / "one")) as client:
        alone = await told(client)
        alone_entry = await client.entry("same")
    async with crewed(tmp_path / "two") as (client, _):
        assert await told(client) == alone
        entry = await client.entry("same")
        assert entry["status"]["completed"] is alone_entry["status"]["completed"] is True
        assert entry["outputs"].keys() == alone_entry["outputs"].keys()
        ids = [await client.queue(chain(value=i, steps=400, seconds=0.02)) for i in range(2)]
        assert set(await running(client, 2)) == set(ids)
        await client.post("/interrupt", "{}")
        for id_ in ids:
            assert (await client.entry(id_))["status"]["status_str"] == "error"
            assert (await client.get(f"/api/jobs/{id_}"))["status"] == "cancelled"


def _timeless(data: Json) -> Json:
    """Without what differs from run to run."""
    if isinstance(data, dict):
        return {key: _timeless(value) for key, value in data.items() if key not in ("timestamp", "filename")}
    return [_timeless(item) for item in data] if isinstance(data, list) else data


@pytest.mark.parametrize("how", ["raise", "blame"])
@in_loop
async def test_a_failure_keeps_node_type_message_and_kind(tmp_path: Path, how: str) -> None:
    prompt = chain()
    prompt["f"] = {"class_type": "Fail", "inputs": {"value": ["s", 0], "how": how}}
    prompt["o"]["inputs"]["value"] = ["f", 0]
    async with serving(deps_of(tmp_path / "one")) as client:
        alone = (await client.get(f"/api/jobs/{await _ended(client, prompt)}"))["execution_error"]
    async with crewed(tmp_path / "two", 1) as (client, _):
        there = (await client.get(f"/api/jobs/{await _ended(client, prompt)}"))["execution_error"]
    assert {**there, "timestamp": 0, "prompt_id": ""} == {**alone, "timestamp": 0, "prompt_id": ""}
    assert there["exception_type"] == {"raise": "FileNotFoundError", "blame": "graph.errors.InputError"}[how]


async def _ended(client: Client, prompt: Json) -> str:
    prompt_id = await client.queue(prompt)
    await client.entry(prompt_id)
    return prompt_id


@in_loop
async def test_previews_warnings_and_explanations_come_from_a_worker(tmp_path: Path) -> None:
    prompt = chain(steps=30, seconds=0.02)
    prompt["w"] = {"class_type": "Warn", "inputs": {"value": ["s", 0]}}
    prompt["o"]["inputs"]["value"] = ["w", 0]
    async with crewed(tmp_path, 1, previews=True) as (client, _), client.listen("me") as ear:
        prompt_id = await client.queue(prompt, client_id="me")
        heard = await ear.until_done(prompt_id)
        pictures = [data for type_, data in heard if type_ == "binary"]
        assert pictures
        assert all(b"\xff\xd8" in picture for picture in pictures)
        [warning] = [data for type_, data in heard if type_ == "execution_warning"]
        assert (warning["node_id"], warning["input_name"]) == ("w", "value")
        assert str(tmp_path) not in warning["message"]
        explained = await client.get(f"/api/jobs/{prompt_id}/explain")
        assert {node["node_id"]: node["did"] for node in explained["nodes"]} == dict.fromkeys(
            ("v", "a0", "s", "w", "o"), "ran"
        )


@in_loop
async def test_one_job_of_several_is_cancelled_and_the_others_go_on(tmp_path: Path) -> None:
    async with crewed(tmp_path) as (client, _):
        long = await client.queue(chain(steps=5000, seconds=0.01))
        other = await client.queue(chain(value=2, steps=50, seconds=0.01))
        await running(client, 2)
        assert (await client.post(f"/api/jobs/{long}/cancel"))[1] == {"cancelled": True}
        await client.entry(long)
        assert (await client.get(f"/api/jobs/{long}"))["status"] == "cancelled"
        assert (await client.entry(other))["status"]["completed"]


@in_loop
async def test_a_lost_worker_costs_one_retry_of_what_it_ran(tmp_path: Path) -> None:
    async with crewed(tmp_path) as (client, backends), client.listen("me") as ear:
        lost = await client.queue(chain(value=1, steps=80, seconds=0.01), client_id="me")
        kept = await client.queue(chain(value=2, steps=80, seconds=0.01), client_id="you")
        await running(client, 2)
        await ear.until(lambda type_, data: type_ == "progress" and data["prompt_id"] == lost)
        victim = on(backends, client, lost)
        before = victim.process_id
        kill(victim)
        for id_ in (lost, kept):
            assert (await client.entry(id_))["status"]["completed"]
        assert (await client.get(f"/api/jobs/{lost}"))["attempts"] == 1
        assert (await client.get(f"/api/jobs/{kept}"))["attempts"] == 0
        await ear.until_done(lost)
        starts = [data for type_, data in ear.heard if type_ == "execution_start" and data["prompt_id"] == lost]
        assert len(starts) == 2
        assert len(list((tmp_path / "output").glob("*.png"))) == 2
        await until(lambda: victim.is_ready)
        assert victim.process_id != before
        await asyncio.gather(*(client.run(chain(value=3 + i, steps=5)) for i in range(4)))


@in_loop
async def test_a_node_that_takes_its_worker_with_it_fails_its_job_and_nothing_else(tmp_path: Path) -> None:
    prompt = chain()
    prompt["d"] = {"class_type": "Die", "inputs": {"value": ["s", 0]}}
    prompt["o"]["inputs"]["value"] = ["d", 0]
    async with crewed(tmp_path) as (client, _):
        bad = await client.queue(prompt)
        good = await client.queue(chain(value=7, steps=100, seconds=0.01))
        assert (await client.entry(good))["status"]["completed"]
        await client.entry(bad)
        record = await client.get(f"/api/jobs/{bad}")
        assert record["status"] == "failed"
        error = record["execution_error"]
        assert (error["node_id"], error["node_type"], error["exception_type"]) == ("d", "Die", "WorkerLost")
        assert "status 9" in error["exception_message"]
        assert "2 times in a row" in error["exception_message"]
        assert (await client.run(chain(value=8)))["status"]["completed"]


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no process can be stopped here")
@in_loop
async def test_a_worker_that_gives_no_sign_of_life_loses_its_lease(tmp_path: Path) -> None:
    async with crewed(tmp_path, lease=3.0) as (client, backends):
        job = await client.queue(chain(steps=60, seconds=0.02))
        await running(client, 1)
        victim = on(backends, client, job)
        kill(victim, signal.SIGSTOP)
        assert (await client.entry(job))["status"]["completed"]
        assert (await client.get(f"/api/jobs/{job}"))["attempts"] == 1


@in_loop
async def test_a_stop_puts_the_running_jobs_back_and_ends_the_processes(tmp_path: Path) -> None:
    async with crewed(tmp_path) as (client, backends):
        ids = [await client.queue(chain(value=i, steps=200, seconds=0.01)) for i in range(2)]
        await running(client, 2)
        pids = [backend.process_id for backend in backends]
    for pid in pids:
        assert pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    async with crewed(tmp_path) as (client, _):
        for id_ in ids:
            assert (await client.entry(id_))["status"]["completed"]
            assert (await client.get(f"/api/jobs/{id_}"))["attempts"] == 0


@in_loop
async def test_a_single_picture_does_not_wait_for_another_clients_queue(tmp_path: Path) -> None:
    async with crewed(tmp_path) as (client, _):
        many = [await client.queue(chain(value=i, steps=10, seconds=0.01), client_id="sweeper") for i in range(30)]
        await running(client, 2)
        before = len(await _done(client, many))
        single = await client.run(chain(value=99), client_id="artist")
        assert single["status"]["completed"]
        assert len(await _done(client, many)) - before <= 4
        for id_ in many:
            assert (await client.entry(id_))["status"]["completed"]


async def _done(client: Client, ids: list[str]) -> set[str]:
    return set(ids) & (await client.get("/history")).keys()


@in_loop
async def test_a_worker_that_never_gets_ready_stops_the_server_with_its_words(tmp_path: Path) -> None:
    backend = ProcessBackend("cuda:7", piped([sys.executable, "-c", "raise SystemExit(3)"]))
    async with serving(deps_of(tmp_path, workers=[backend])) as client:
        async with asyncio.timeout(30):
            assert await client.app[WATCH].gave_up() == "worker cuda:7 has ended: status 3"


@in_loop
async def test_a_worker_that_is_drained_ends_its_job_and_takes_no_other(tmp_path: Path) -> None:
    async with crewed(tmp_path) as (client, backends):
        first = await client.queue(chain(value=1, steps=60, seconds=0.01))
        await running(client, 1)
        drained = on(backends, client, first)
        assert (await client.post(f"/api/workers/{drained.name}/drain"))[0] == 200
        others = [await client.queue(chain(value=2 + i, steps=2)) for i in range(4)]
        for id_ in (first, *others):
            assert (await client.entry(id_))["status"]["completed"]
        told = {worker["id"]: worker for worker in (await client.get("/api/workers"))["workers"]}
        assert told.keys() == {backend.name for backend in backends}
        assert (told[drained.name]["state"], told[drained.name]["draining"], told[drained.name]["job"]) == (
            "drained",
            True,
            None,
        )
        assert (await client.post("/api/workers/cuda:9/drain"))[0] == 404
        text = await (await client.session.get(f"{client.url}/metrics")).text()
        assert f'darkroom_worker_state{{state="draining",worker="{drained.name}"}} 1.0' in text
        both = [await client.queue(chain(value=9 + i, steps=60, seconds=0.01)) for i in range(2)]
        await asyncio.sleep(0)
        assert (await client.post(f"/api/workers/{drained.name}/resume"))[0] == 200
        assert set(await running(client, 2)) == set(both)
        held = (await client.get("/api/workers"))["workers"]
        assert {worker["job"] for worker in held} == set(both)
        assert all("results" in worker["memory"] and worker["devices"] for worker in held)


@in_loop
async def test_a_server_without_workers_lists_itself(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        await client.run(chain())
        [worker] = (await client.get("/api/workers"))["workers"]
        assert (worker["id"], worker["state"], worker["lost"]) == ("here", "idle", 0)


def test_workers_are_listed_on_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with in_background(tmp_path) as client:
        with BlockingClient(client.url) as asking:
            while asking.get("/workers")["workers"][0]["state"] == "starting":
                pass
        assert list_workers(client.url) == 0
    assert capsys.readouterr().out == "here  idle\n"
    assert list_workers("http://127.0.0.1:9") == 1
    assert "see --server" in capsys.readouterr().err


@pytest.mark.acceptance
@in_loop
async def test_kills_at_random_moments_lose_no_job_and_repeat_only_what_ran(tmp_path: Path) -> None:
    chance, kills = random.Random(0), 25
    async with crewed(tmp_path, limits=Limits(tries=1000)) as (client, backends):
        ids = [
            await client.queue(chain(value=i, steps=40, seconds=0.01), client_id=str(i % 3), prompt_id=f"job-{i}")
            for i in range(60)
        ]
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.0, 0.5))
            victim = chance.choice(backends)
            async with asyncio.timeout(60):
                await victim.ready()
            with contextlib.suppress(ProcessLookupError, AssertionError):  # it has just ended
                kill(victim)
        for id_ in ids:
            async with asyncio.timeout(200):
                assert (await client.entry(id_))["status"]["completed"]
        records = [await client.get(f"/api/jobs/{id_}") for id_ in ids]
        repeated = sum(record["attempts"] for record in records)
        assert 0 < repeated <= kills
        files = list((tmp_path / "output").glob("*.png"))
        assert len(ids) <= len(files) <= len(ids) + repeated
        for file in files:
            with PIL.Image.open(file) as picture:
                picture.load()


@pytest.mark.acceptance
def test_the_end_of_the_server_is_that_of_its_workers_also_in_a_node_that_never_looks(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.server.stub_worker", str(tmp_path)]
    with subprocess.Popen(command, cwd=SOURCE, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        channel = Channel(process.stdout, process.stdin)  # type: ignore[arg-type]
        channel.send("run", {"id": "a", "document": chain(seconds=10.0), "problems": [], "targets": ["o"], "extra": {}})
        while (message := channel.receive()) is not None and "NodeStarted" not in str(message.body):
            pass
        channel.close()  # as when the server was killed
        assert process.wait(9) == 0  # before the node's step is over


@in_loop
async def test_a_job_whose_worker_was_lost_goes_on_after_the_results_that_took_a_while(tmp_path: Path) -> None:
    async with crewed(tmp_path) as (client, backends), client.listen("me") as ear:
        await begins_again_after_what_was_kept(client, ear, backends)


def test_results_are_kept_until_their_run_has_ended_and_within_bounds() -> None:
    kept = KeptResults(most=10)
    kept.keep("a", "x", b"1234")
    kept.keep("b", "y", b"12345")
    assert kept.of("a") == [("x", b"1234")]
    kept.keep("b", "z", b"12")
    assert (kept.of("a"), kept.of("b")) == ([], [("y", b"12345"), ("z", b"12")])
    kept.forget("b")
    assert not kept.of("b")


def test_a_result_that_cannot_be_kept_or_is_gone_is_made_again(caplog: pytest.LogCaptureFixture) -> None:
    def put_away(content: bytes) -> Fetch:
        def fetch() -> bytes:
            if content == b"gone":
                raise OSError("ObjectLostError")
            return content

        if content == b"large":
            raise OSError("ObjectStoreFullError")
        return fetch

    kept = KeptResults(put_away=put_away)
    for content in (b"large", b"gone", b"there"):
        kept.keep("a", content.decode(), content)
    assert kept.of("a") == [("there", b"there")]
    assert "ObjectStoreFullError" in caplog.text
    assert "ObjectLostError" in caplog.text


@in_loop
async def test_a_job_goes_to_the_free_worker_that_has_its_results(tmp_path: Path) -> None:
    async with crewed(tmp_path) as (client, _), client.listen("me") as ear:
        for name, other in (("cpu-1", "cpu-0"), ("cpu-0", "cpu-1")):
            await client.post(f"/api/workers/{other}/drain")
            prompt = chain(value=int(name[-1]) + 5)
            await client.run(prompt)
            await client.post(f"/api/workers/{other}/resume")
            for prefix in "ab":
                prompt["o"]["inputs"]["prefix"] = prefix
                job = await client.queue(prompt, client_id="me")
                heard = await ear.until_done(job)
                begun = {data["node"] for type_, data in heard if type_ == "executing" and data["prompt_id"] == job}
                assert begun == {"o", None}
