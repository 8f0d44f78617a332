"""Workers on a Ray cluster of this machine: as good as those of the server, and as many as there are of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path

import aiohttp
import pytest

from server.deps import Limits
from server.process_backend import ProcessBackend
from server.ray_cluster import Cluster
from tests.server.clustered_server import SOURCE, stub_workers
from tests.server.loop import in_loop
from tests.server.support import Client, Json, deps_of, serving
from tests.server.test_shared_sweeps import GRID, many, pictures, shown, swept
from tests.server.test_workers import begins_again_after_what_was_kept, kill

pytestmark = pytest.mark.acceptance
STEPS, STEP = 20, 0.025
"""What the simulated device takes for a cell: steps of so many seconds, as a fast consumer's GPU at 512x512. It sleeps, so that
two processors carry four of them.
"""


@contextlib.contextmanager
def started(log: Path, auth: str) -> Iterator[str]:
    """The address of a cluster of this machine alone, with room for four workers."""
    if find_spec("ray") is None:  # it is imported once it is known where it is to listen
        pytest.skip("Ray is not installed: pip install -r requirements-ray.txt")
    surroundings = {**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": auth}
    surroundings["PYTHONPATH"] = str(SOURCE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}"]
    flags += ["--num-cpus=8", "--include-dashboard=false"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *flags]
    with log.open("wb") as file:
        cluster = subprocess.Popen(command, env=surroundings, stdout=file, stderr=file, start_new_session=True)
    try:
        until = time.monotonic() + 120
        while "block forever" not in log.read_text() and time.monotonic() < until:
            time.sleep(0.3)
        yield f"127.0.0.1:{port}"
    finally:
        cluster.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            cluster.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(cluster.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with started(tmp_path_factory.mktemp("ray") / "log", "token") as address:
        yield address


@pytest.fixture(scope="module")
def cluster(address: str) -> Iterator[Cluster]:
    """The connection to it, once it answers."""
    until = time.monotonic() + 60
    while True:
        try:
            opened = Cluster(address, SOURCE)
            break
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(1)
    yield opened
    opened.close()


@contextlib.asynccontextmanager
async def clustered(
    cluster: Cluster, base: Path, number: int, tries: int = 2
) -> AsyncIterator[tuple[Client, list[ProcessBackend]]]:
    backends = list(stub_workers(cluster, base, number))
    async with serving(deps_of(base, workers=backends, limits=Limits(tries=tries))) as client:
        async with asyncio.timeout(120):
            for backend in backends:
                await backend.ready()
        yield client, backends


async def ended(client: Client, job: str, seconds: float = 300.0) -> Json:
    async with asyncio.timeout(seconds):
        while not (entry := await client.get(f"/history/{job}")):
            await asyncio.sleep(0.2)
    return entry[job]


def test_a_cluster_that_takes_work_from_anybody_is_refused(tmp_path: Path) -> None:
    with started(tmp_path / "log", "disabled") as address:
        for _ in range(30):
            try:
                Cluster(address, SOURCE).close()
            except OSError:  # it does not answer yet
                time.sleep(1)
            except ValueError as error:
                assert "takes work from anybody" in str(error)
                return
    pytest.fail("it was not refused")


@in_loop
async def test_what_a_cluster_makes_is_the_same_to_the_byte(cluster: Cluster, tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path / "one")) as client:
        alone = await client.run(swept(**GRID))
    async with clustered(cluster, tmp_path / "two", 2) as (client, _):
        together = await client.run(swept(**GRID))
        listed = (await client.get("/api/workers"))["workers"]
        text = await (await client.session.get(f"{client.url}/metrics")).text()
    assert shown(together) == shown(alone)
    assert pictures(tmp_path / "two", together) == pictures(tmp_path / "one", alone)
    assert {worker["id"] for worker in listed} == {"ray-0", "ray-1"}
    assert 'darkroom_worker_state{state="ready",worker="ray-1"} 1.0' in text


@in_loop
async def test_a_retry_begins_with_what_lies_in_the_object_store(cluster: Cluster, tmp_path: Path) -> None:
    laid: list[bytes] = []
    real = Cluster._fetch

    def fetched(self: Cluster, reference: object) -> bytes:
        laid.append(real(self, reference))
        return laid[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cluster, "_fetch", fetched)
        async with clustered(cluster, tmp_path, 2) as (client, backends), client.listen("me") as ear:
            await begins_again_after_what_was_kept(client, ear, backends)
    assert laid


@in_loop
async def test_a_thousand_cells_scale_from_one_worker_to_four(cluster: Cluster, tmp_path: Path) -> None:
    async def seconds(number: int, cells: int) -> float:
        async with clustered(cluster, tmp_path / str(number), number) as (client, _):
            await ended(client, await client.queue(many(2 * number)))
            began = time.monotonic()
            entry = await ended(client, await client.queue(many(cells, steps=STEPS, seconds=STEP, v_value=7)))
            assert len(shown(entry)) == cells
            return time.monotonic() - began

    one, four = await seconds(1, 250), await seconds(4, 1000)
    print(f"{one / four:.3f} of perfect scaling: 250 cells on one took {one:.2f} s, 1000 on four {four:.2f} s")
    assert one / four >= 0.92, f"250 cells on one took {one:.2f} s, 1000 on four {four:.2f} s"


@in_loop
async def test_fifty_kills_of_workers_lose_no_cell(cluster: Cluster, tmp_path: Path) -> None:
    chance, kills = random.Random(1), 50
    async with clustered(cluster, tmp_path, 4, tries=1000) as (client, backends):
        job = await client.queue(many(600, steps=10, seconds=0.02))
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.0, 0.4))
            victim = chance.choice(backends)
            async with asyncio.timeout(60):
                await victim.ready()
            with contextlib.suppress(ProcessLookupError, AssertionError):  # it has just ended
                kill(victim)
        assert shown(await ended(client, job)) == [str(i + 2) for i in range(1, 601)]
        lost = sum(worker["lost"] for worker in (await client.get("/api/workers"))["workers"])
        assert 0 < lost <= kills
        assert 600 <= len(list((tmp_path / "output").glob("out_*.png"))) <= 600 + lost


async def begin(base: Path, address: str) -> tuple[Process, str]:
    """A server of its own, and where it listens."""
    command = [sys.executable, "-m", "tests.server.clustered_server", str(base), address, "4"]
    with (base.parent / "server.log").open("a") as log:
        process = await asyncio.create_subprocess_exec(*command, cwd=SOURCE, stdout=PIPE, stderr=log)
    assert process.stdout is not None
    while line := (await process.stdout.readline()).decode():
        if found := re.search(r"http://\S+", line):
            return process, found[0]
    raise AssertionError((base.parent / "server.log").read_text()[-3000:])


@in_loop
async def test_ten_kills_of_the_server_lose_no_cell_and_repeat_only_those_that_ran(
    address: str, tmp_path: Path
) -> None:
    chance, kills, base = random.Random(2), 10, tmp_path / "base"
    base.mkdir()
    process, url = await begin(base, address)
    async with aiohttp.ClientSession() as session:
        body = {"prompt": many(400, steps=10, seconds=0.02), "prompt_id": "sweep"}
        async with session.post(f"{url}/prompt", json=body) as answer:
            assert answer.status == 200
        for at in range(kills):
            while len(list((base / "output").glob("out_*.png"))) < 20 * (at + 1):  # it goes on after each
                await asyncio.sleep(0.05)
            await asyncio.sleep(chance.uniform(0.0, 0.3))
            process.kill()
            await process.wait()
            process, url = await begin(base, address)
        entry: Json = {}
        async with asyncio.timeout(120):
            while not entry:
                await asyncio.sleep(0.1)
                async with session.get(f"{url}/history/sweep") as answer:
                    entry = await answer.json()
        async with session.get(f"{url}/api/jobs/sweep") as answer:
            assert (await answer.json())["attempts"] == 0
    process.terminate()
    await process.wait()
    assert shown(entry["sweep"]) == [str(i + 2) for i in range(1, 401)]
    assert all((base / "output" / it["filename"]).is_file() for it in entry["sweep"]["outputs"]["o"]["images"])
    assert 400 <= len(list((base / "output").glob("out_*.png"))) <= 400 + 4 * kills
