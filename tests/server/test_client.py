"""Our own client library against a real server: submit, wait, stream, sweep, fetch, upload, explain, cancel."""

from __future__ import annotations

import ast
import io
import json
from pathlib import Path

import PIL.Image
import pytest

import server.client
from server.client import BlockingClient, Client, Message, RefusedError, Unreachable, sweep
from server.submit import submit
from tests.server.loop import in_loop
from tests.server.support import chain, deps_of, in_background, serving


@in_loop
async def test_a_job_from_the_workflow_to_its_files(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as running, Client(running.url) as client:
        accepted = await client.submit(chain(value=100), job="mine")
        assert (accepted.id, accepted.problems) == ("mine", ())
        assert (await client.submit(chain(value=100), job="mine")).id == "mine", "the same job, not a second one"
        job = await client.wait("mine", poll=0.01)
        assert (job.status, job.error, job.has_ended) == ("completed", "", True)
        (file,) = job.files
        assert (file.node, file.kind, file.cell) == ("o", "output", ())
        with PIL.Image.open(io.BytesIO(await client.fetch(file))) as picture:
            assert picture.size == (16, 16)
        explained = {node["node_id"]: node["did"] for node in await client.explain("mine")}
        assert explained == dict.fromkeys(("v", "a0", "s", "o"), "ran")


@in_loop
async def test_a_sweep_gives_each_file_with_its_cell(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as running, Client(running.url) as client:
        swept = sweep(chain(), {"v.value": [100, 200], "s.seed": range(1, 4)})
        job = await client.wait((await client.submit(swept)).id, poll=0.01)
        assert [(file.name.split("_")[1], file.cell) for file in job.files] == [
            *((str(101 + seed), (0, seed - 1)) for seed in (1, 2, 3)),
            *((str(201 + seed), (1, seed - 1)) for seed in (1, 2, 3)),
        ]
        pairs = sweep(chain(), {"v.value": [100, 200], "s.seed": [1, 2]}, axis="pair")
        job = await client.wait((await client.submit(pairs)).id, poll=0.01)
        assert [file.cell for file in job.files] == [(0,), (1,)]
        with pytest.raises(ValueError, match="no node 'x'"):
            sweep(chain(), {"x.seed": [1]})


@in_loop
async def test_a_run_is_streamed_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as running, Client(running.url) as client:
        accepted = await client.submit(chain(steps=20, seconds=0.01))
        told: list[Message] = [message async for message in client.stream(accepted.id)]
        types = [message.type for message in told]
        assert types[0] == "execution_start"
        assert types.count("executed") == 1
        assert told[-1].type == "executing" and told[-1].data["node"] is None
        kept = [message.type async for message in client.stream(accepted.id)]
        assert kept == ["execution_start", "execution_cached", "execution_success"]


@in_loop
async def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as running, Client(running.url) as client:
        broken = chain()
        broken["s"]["inputs"]["steps"] = 0
        with pytest.raises(RefusedError) as caught:
            await client.submit(broken)
        assert caught.value.status == 400
        assert caught.value.problems[-1] == "node s (Steps): steps: got 0, expected an integer from 1 to 10000"
        failing = chain()
        failing["s"] = {"class_type": "Fail", "inputs": {"value": ["a0", 0], "how": "blame"}}
        job = await client.wait((await client.submit(failing)).id, poll=0.01)
        assert job.status == "failed"
        assert job.error.startswith("node s (Fail): ")
        with pytest.raises(RefusedError):
            await client.job("nobody")
        assert not await client.cancel("a/b?c")


@in_loop
async def test_a_job_is_cancelled(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as running, Client(running.url) as client:
        accepted = await client.submit(chain(steps=1000, seconds=0.01))
        async for message in client.stream(accepted.id):
            if message.type == "progress":
                assert await client.cancel(accepted.id)
                break
        assert (await client.wait(accepted.id, poll=0.01)).status == "cancelled"


@in_loop
async def test_nobody_is_there() -> None:
    async with Client("http://127.0.0.1:1") as client:
        with pytest.raises(Unreachable, match="does not answer"):
            await client.submit(chain())
        with pytest.raises(Unreachable, match="does not answer"):
            await anext(client.stream("any"))


def test_the_blocking_client_does_the_same(tmp_path: Path) -> None:
    with in_background(tmp_path / "base") as running, BlockingClient(running.url) as client:
        picture = tmp_path / "photo.png"
        PIL.Image.new("RGB", (8, 8), "red").save(picture)
        assert client.upload(picture) == "photo.png"
        assert client.upload(picture.read_bytes(), "other.png") == "other.png"
        accepted = client.submit(chain(value=100))
        types = [message.type for message in client.stream(accepted.id)]
        assert types[0] == "execution_start"
        job = client.wait(accepted.id, poll=0.01)
        (file,) = job.files
        assert client.fetch(file)[:4] == b"\x89PNG"
        assert client.address_of(file).startswith(f"{running.url}/view?filename=out_101_")
        assert {node["did"] for node in client.explain(accepted.id)} == {"ran"}
        assert client.get("/api/features")
        with pytest.raises(RefusedError):
            client.submit({})


def test_submit_writes_the_next_seeds_into_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"id": 1, "type": "Steps", "inputs": [], "outputs": [{"name": "INT", "type": "INT", "links": [1]}]}
    counts |= {"widgets_values": [1, 5, "increment", 1, 7.5, "euler", 0.0]}
    saves = {"id": 2, "type": "Save", "outputs": [], "widgets_values": [0, "out"]}
    saves |= {"inputs": [{"name": "value", "type": "INT", "link": 1, "widget": {"name": "value"}}]}
    file = tmp_path / "drawn.json"
    file.write_text(json.dumps({"nodes": [counts, saves], "links": [[1, 1, 0, 2, 0, "INT"]], "version": 0.4}))
    with in_background(tmp_path / "base") as running:
        for made in ("out_6_", "out_7_"):
            assert submit(running.url, str(file), wait=True, seed_after=True) == 0
            assert made in capsys.readouterr().out
        assert json.loads(file.read_text())["nodes"][0]["widgets_values"][:3] == [1, 7, "increment"]
        in_api_form = tmp_path / "api.json"
        in_api_form.write_text(json.dumps(chain()))
        assert submit(running.url, str(in_api_form), wait=False, seed_after=True) == 2
        assert "expected a workflow of the editor" in capsys.readouterr().err


def test_the_file_needs_nothing_but_aiohttp() -> None:
    tree = ast.parse(Path(server.client.__file__).read_text("utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    ours = {name.split(".")[0] for name in imported if name} & {"graph", "models", "nodes", "server", "main"}
    assert not ours
