"""PyPI's comfy-sdk (MIT) in the same situations, asked of our Comfy API v2 and of comfy-api-proxy in front of it: one table."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests.acceptance.clients.test_api_v2_proxy import loading, proxied
from tests.server.crashes import start
from tests.server.support import chain
from tests.server.test_security import picture

sdk = pytest.importorskip("comfy_sdk")

pytestmark = pytest.mark.acceptance

CANNOT: Mapping[str, str] = MappingProxyType(
    {
        "jobs by their metadata": "it takes one text for metadata, and the client sends texts by name",
        "an upload again": "it gives an asset of the same content and place the same id",
    }
)
"""Situations in which the proxy answers otherwise, and why."""
PATIENCE = 6
"""How often the proxy is asked at most: it reads history and queue one after the other, and takes a job that ends between
the two for one that has expired.
"""


class Situations:
    """What one client does and sees; `seed` keeps the two servers' contents apart."""

    def __init__(self, client: Any, seed: int) -> None:
        self.client = client
        self.seed = seed

    def workflow(self, **inputs: Any) -> Any:
        return self.client.workflows.from_json(chain(seed=self.seed, **inputs))

    def a_run(self) -> object:
        job = self.client.run(self.workflow())
        (output,) = job.get_outputs("o")
        return job.status, job.error, output.type, output.content_type, output.to_bytes()[:4]

    def part_of_an_output(self) -> object:
        (output,) = self.client.run(self.workflow()).get_outputs("o")
        return output.to_bytes(range=(1, 3))

    def an_output_in_a_stream(self) -> object:
        (output,) = self.client.run(self.workflow()).get_outputs("o")
        stream = io.BytesIO()
        return output.to_stream(stream) == len(stream.getvalue()) > 0

    def a_job_by_its_id(self) -> object:
        job = self.client.run(self.workflow())
        again = self.client.jobs.get(job.id)
        return again.refresh().status, again.result().id == job.id

    def the_workflow_of_a_job(self) -> object:
        found = self.client.run(self.workflow()).get_workflow()
        return found.format, found.graph["s"]["inputs"]["seed"] == self.seed

    def the_asset_of_an_output(self) -> object:
        job = self.client.run(self.workflow())
        (output,) = job.get_outputs("o")
        return self.client.assets.get(output.id).job_id == job.id

    def events_of_a_run(self) -> object:
        job = self.client.submit(self.workflow(steps=150, seconds=0.01))
        kinds = {type(event).__name__ for event in job.events()}
        return sorted(kinds & {"OutputReady", "Progress", "StatusChange"}), job.refresh().status

    def previews_of_a_run(self) -> object:
        job = self.client.submit(self.workflow(steps=151, seconds=0.01))
        return any(isinstance(event, sdk.Preview) for event in job.events())

    def a_cancel(self) -> object:
        long = self.client.submit(self.workflow(steps=900, seconds=0.01))
        while long.refresh().status == "queued":
            time.sleep(0.05)
        return long.cancel().status in ("canceling", "canceled"), long.wait(timeout=60).status

    def the_result_of_a_canceled_job(self) -> object:
        long = self.client.submit(self.workflow(steps=901, seconds=0.01))
        while long.refresh().status == "queued":
            time.sleep(0.05)
        long.cancel()
        return long.result()

    def a_wait_that_is_too_short(self) -> object:
        long = self.client.submit(self.workflow(steps=902, seconds=0.01))
        try:
            return long.wait(timeout=0)
        finally:
            long.cancel()

    def a_list_of_jobs(self) -> object:
        job = self.client.run(self.workflow())
        return job.id in {summary.id for summary in self.client.list_jobs()}

    def jobs_by_their_metadata(self) -> object:
        mine = f"team-{self.seed}"
        job = self.client.submit(self.workflow(), metadata={"team": mine})
        job.wait(timeout=30)
        return [summary.id == job.id for summary in self.client.list_jobs(metadata={"team": mine})]

    def a_bad_value(self) -> object:
        broken = chain()
        broken["s"]["inputs"]["steps"] = "many"
        return self.client.submit(self.client.workflows.from_json(broken))

    def an_unknown_asset(self) -> object:
        reference = {"__type": "core/ASSET", "info": {"id": str(uuid.uuid4())}}
        return self.client.submit(self.client.workflows.from_json(loading(reference)))

    def a_key_again(self) -> object:
        key = str(uuid.uuid4())
        self.client.submit(self.workflow(), idempotency_key=key)
        return self.client.submit(self.workflow(), idempotency_key=key)

    def an_unknown_job(self) -> object:
        return self.client.jobs.get(str(uuid.uuid4()))

    def a_node_that_fails(self) -> object:
        failing = chain()
        failing["s"] = {"class_type": "Fail", "inputs": {"value": ["a0", 0], "how": "raise"}}
        job = self.client.submit(self.client.workflows.from_json(failing))
        try:
            return job.result()
        except sdk.JobFailed as failed:
            return failed.error and (failed.error.node_id, failed.error.code)

    def a_partner_key(self) -> object:
        return self.client.submit(self.workflow(), api_key="comfyui-partner-key").wait(timeout=30).status

    def an_upload(self) -> object:
        asset = self.client.assets.from_bytes(picture(size=(self.seed + 2, 3)), filename=f"s{self.seed}.png")
        asset.commit()
        return asset.created_new, asset.hash.startswith("blake3:")

    def an_upload_again(self) -> object:
        content = picture(size=(self.seed + 2, 4))
        first, second = (self.client.assets.from_bytes(content, filename=f"t{self.seed}.png") for _ in range(2))
        return first.commit() != second.commit(), second.created_new

    def an_asset_deleted_twice(self) -> object:
        asset = self.client.assets.from_bytes(picture(size=(self.seed + 2, 5)), filename=f"u{self.seed}.png")
        asset.commit()
        self.client.assets.delete(asset.id)
        return self.client.assets.delete(asset.id)

    def an_asset_in_a_workflow(self) -> object:
        header = json.dumps({"__metadata__": {"seed": str(self.seed)}}).encode()
        content = struct.pack("<Q", len(header)) + header
        model = self.client.assets.from_bytes(content, filename=f"models/checkpoints/m{self.seed}.safetensors")
        workflow = self.client.workflows.from_json(loading(None))
        workflow.set_input("l", "name", model)
        job = self.client.run(workflow)
        return job.status, job.get_workflow().graph["l"]["inputs"]["name"] == f"m{self.seed}.safetensors"


def seen(ask: Callable[[Situations], object], situations: Situations) -> str:
    """What came of it, an exception by its name."""
    try:
        return repr(ask(situations))
    except (sdk.ComfyError, TimeoutError) as error:
        return f"{type(error).__name__}: {error}" if type(error) is sdk.ComfyError else type(error).__name__


def test_the_sdk_sees_the_same_with_and_without_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    methods = {name: ask for name, ask in vars(Situations).items() if not name.startswith("_") and name != "workflow"}
    asks = {name.replace("_", " "): ask for name, ask in methods.items()}
    ours: dict[str, str] = {}
    theirs: dict[str, str] = {}

    async def body() -> None:
        process, url = await start(tmp_path / "base")
        async with proxied(url, tmp_path / "base") as address:
            monkeypatch.setenv("COMFY_BASE_URL", url)
            here = Situations(sdk.Comfy(), 1)
            ours.update({name: await asyncio.to_thread(seen, ask, here) for name, ask in asks.items()})
            monkeypatch.setenv("COMFY_BASE_URL", address)
            for name, ask in asks.items():
                for seed in range(10, 10 + PATIENCE):
                    theirs[name] = await asyncio.to_thread(seen, ask, Situations(sdk.Comfy(), seed))
                    if theirs[name] == ours[name] or name in CANNOT:
                        break
        process.terminate()
        assert await process.wait() == 0

    asyncio.run(body())
    print("| situation | here | through the proxy |\n|---|---|---|")
    for name, answer in ours.items():
        print(f"| {name} | {answer} | {'the same' if theirs[name] == answer else theirs[name]} |")
    assert {name for name, answer in ours.items() if theirs[name] != answer} == set(CANNOT)
