"""The Comfy API v2's own client (PyPI comfy-sdk, MIT), every method of it, against our server with no proxy between."""

from __future__ import annotations

import asyncio
import io
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.server.support import Client, chain, in_background
from tests.server.test_security import picture

sdk = pytest.importorskip("comfy_sdk")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A server that the SDK finds by its environment alone."""
    with in_background(tmp_path / "base") as client:
        monkeypatch.setenv("COMFY_BASE_URL", client.url)
        monkeypatch.delenv("COMFY_API_KEY", raising=False)
        yield client


def loading(name: object) -> dict[str, Any]:
    return {
        "l": {"class_type": "Load", "inputs": {"name": name}},
        "s": {"class_type": "Sink", "inputs": {"part": ["l", 0]}},
        **chain(),
    }


def test_a_run_and_its_outputs(server: Client, tmp_path: Path) -> None:
    with sdk.Comfy() as client:
        workflow = client.workflows.from_json(chain())
        workflow.set_input("s", "seed", 7)
        job = client.run(workflow)
        assert job.status == "succeeded" and job.error is None
        (output,) = job.get_outputs("o")
        assert (output.node_id, output.type, output.content_type, output.job_id) == ("o", "image", "image/png", job.id)
        content = output.to_bytes()
        assert len(content) == output.size_bytes and Image.open(io.BytesIO(content)).size == (16, 16)
        assert output.to_bytes(range=(1, 3)) == content[1:4]
        assert output.to_file(tmp_path / "x.png").read_bytes() == content
        stream = io.BytesIO()
        assert output.to_stream(stream) == len(content) and stream.getvalue() == content
        link = output.get_download_url()
        assert link.url.startswith(server.url) and link.expires_at is None
        again = client.jobs.get(job.id)
        assert again.refresh().status == "succeeded" and again.result().id == job.id
        found = again.get_workflow()
        assert (found.format, found.graph["s"]["inputs"]["seed"]) == ("api", 7)
        assert client.assets.get(output.id).job_id == job.id


def test_events_previews_and_cancelling(server: Client) -> None:
    client = sdk.Comfy()
    job = client.submit(client.workflows.from_json(chain(steps=150, seconds=0.01)), metadata={"team": "red"})
    kinds, shown = set(), None
    for event in job.events():
        kinds.add(type(event).__name__)
        shown = event.to_pil() if isinstance(event, sdk.Preview) else shown
        if isinstance(event, sdk.OutputReady):
            assert event.output.to_bytes().startswith(b"\x89PNG")
    assert {"Progress", "Preview", "OutputReady", "StatusChange"} <= kinds and shown is not None
    assert job.refresh().status == "succeeded" and job.metadata == {"team": "red"}
    long = client.submit(client.workflows.from_json(chain(steps=900, seconds=0.01)))
    with pytest.raises(TimeoutError):
        long.wait(timeout=0)
    assert long.cancel().status in ("canceling", "canceled") and long.wait(timeout=30).status == "canceled"
    with pytest.raises(sdk.JobFailed):
        long.result()
    listed = list(client.list_jobs(limit=1))
    assert [summary.id for summary in listed] == [long.id, job.id]
    assert [summary.id for summary in client.list_jobs(metadata={"team": "red"})] == [job.id]
    assert not list(client.list_jobs(metadata={"team": "blue"})) and listed[0].create_time is not None


def test_assets_are_sent_once_and_stand_for_files(server: Client, tmp_path: Path) -> None:
    client = sdk.Comfy()
    (tmp_path / "photo.png").write_bytes(picture())
    first = client.assets.from_file(tmp_path / "photo.png")
    assert first.id is None and first.commit() == first.id and first.created_new is True
    second = client.assets.from_bytes(picture(), filename="photo.png")
    assert second.commit() != first.id and second.created_new is False
    third = client.assets.from_stream(io.BytesIO(picture(size=(7, 7))), filename="other.png")
    assert third.as_reference()["info"]["id"] == third.id
    fetched = client.assets.from_url(f"{server.url}/view?filename=other.png&type=input")
    assert fetched.commit() and fetched.created_new is False
    assert client.assets.get(first.id).hash == first.hash
    assert first.get_download_url().url.endswith("/content")
    second.delete()
    client.assets.delete(third.id)
    with pytest.raises(sdk.NotFound):
        client.assets.delete(third.id)
    model = client.assets.from_bytes(b"weights", filename="models/checkpoints/m.safetensors")
    workflow = client.workflows.from_json(loading(None))
    workflow.set_input("l", "name", model)
    assert client.run(workflow).get_workflow().graph["l"]["inputs"]["name"] == "m.safetensors"


def test_what_fails_fails_as_its_own_exception(server: Client) -> None:
    client = sdk.Comfy()
    broken = chain()
    broken["s"]["inputs"]["steps"] = "many"
    with pytest.raises(sdk.InvalidWorkflow) as invalid:
        client.submit(client.workflows.from_json(broken))
    assert invalid.value.details["node_errors"]["s"][0]["field"] == "steps"
    with pytest.raises(sdk.MissingAsset):
        client.submit(client.workflows.from_json(loading({"__type": "core/ASSET", "info": {"id": str(uuid.uuid4())}})))
    key = str(uuid.uuid4())
    client.submit(client.workflows.from_json(chain()), idempotency_key=key)
    with pytest.raises(sdk.IdempotencyKeyReuse):
        client.submit(client.workflows.from_json(chain()), idempotency_key=key)
    with pytest.raises(sdk.NotFound):
        client.jobs.get(str(uuid.uuid4()))
    failing = chain()
    failing["s"] = {"class_type": "Fail", "inputs": {"value": ["a0", 0], "how": "raise"}}
    with pytest.raises(sdk.JobFailed) as failed:
        client.run(client.workflows.from_json(failing))
    assert failed.value.error.node_id == "s" and failed.value.error.code == "node_execution_error"
    job = client.submit(
        client.workflows.from_json(chain()), api_key="comfyui-partner-key"
    )  # for nodes that are not here
    assert job.wait(timeout=30).status == "succeeded"


def test_the_same_without_blocking(server: Client, tmp_path: Path) -> None:
    async def body() -> None:
        async with sdk.AsyncComfy() as client:
            job = await client.submit(client.workflows.from_json(chain(steps=60, seconds=0.01)))
            kinds = {type(event).__name__ async for event in job.events()}
            assert {"Progress", "StatusChange"} <= kinds
            await job.refresh()
            (output,) = job.get_outputs("o")
            content = await output.to_bytes()
            assert (await output.to_file(tmp_path / "y.png")).read_bytes() == content
            assert await output.to_stream(io.BytesIO()) == len(content) and (await output.get_download_url()).url
            assert (await job.get_workflow()).format == "api" and (await job.result()).status == "succeeded"
            asset = client.assets.from_bytes(os.urandom(64), filename="models/checkpoints/r.safetensors")
            workflow = client.workflows.from_json(loading(None))
            workflow.set_input("l", "name", asset)
            assert (await client.run(workflow)).status == "succeeded"
            assert (await client.assets.get(asset.id)).hash == asset.hash
            await client.assets.delete(asset.id)
            long = await client.submit(client.workflows.from_json(chain(steps=900, seconds=0.01)))
            assert (await long.cancel()).status in ("canceling", "canceled")
            assert (await long.wait(timeout=30)).status == "canceled"
            assert len([summary async for summary in client.list_jobs()]) == 3

    asyncio.run(body())
