"""The Comfy API v2, asked plainly: what its own client never sends, and what it does not look at."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from blake3 import blake3

from server import routes_v2_jobs
from server.asset_references import asset_ids, with_names
from server.assets import Assets
from server.deps import ASSETS, BLOBS, STREAMS, Limits
from server.desk import StoreUnavailable
from server.refused import Refused
from tests.server.loop import in_loop
from tests.server.support import Client, chain, deps_of, serving
from tests.server.test_security import picture

JOBS, ASSETS_ROUTE = "/api/v2/jobs", "/api/v2/assets"


def hash_of(content: bytes) -> str:
    return f"blake3:{blake3(content).hexdigest()}"


async def submit(client: Client, workflow: Any, key: str | None = None, **more: Any) -> tuple[int, Any]:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await client.post(JOBS, {"workflow": workflow, **more}, headers=headers)


async def ended(client: Client, id_: str) -> Any:
    async with asyncio.timeout(30):
        while (job := await client.get(f"{JOBS}/{id_}"))["status"] in ("queued", "running", "canceling"):
            await asyncio.sleep(0.01)
    return job


async def store(
    client: Client, content: bytes, file_path: str, key: str | None = None, **fields: str
) -> tuple[int, Any]:
    form = aiohttp.FormData()
    for name, value in {"content_type": "image/png", "file_path": file_path, **fields}.items():
        form.add_field(name, value)
    form.add_field("file", content, filename=file_path)
    headers = {} if key is None else {"Idempotency-Key": key}
    async with client.session.post(client.url + ASSETS_ROUTE, data=form, headers=headers) as answer:
        return answer.status, await answer.json()


async def code(client: Client, method: str, path: str, **named: Any) -> tuple[int, str]:
    async with client.session.request(method, client.url + path, **named) as answer:
        text = await answer.text()
        return answer.status, json.loads(text)["error"]["code"] if text and answer.status >= 400 else ""


@in_loop
async def test_a_job_from_its_submission_to_its_outputs(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        status, job = await submit(client, chain(), metadata={"team": "red"})
        assert status == 201 and job["status"] in ("queued", "running", "succeeded")
        assert job["urls"] == {
            "self": f"{JOBS}/{job['id']}",
            "events": f"{JOBS}/{job['id']}/events",
            "cancel": f"{JOBS}/{job['id']}/cancel",
        }
        job = await ended(client, job["id"])
        assert job["status"] == "succeeded" and job["error"] is None and job["metadata"] == {"team": "red"}
        assert job["metrics"]["queue_ms"] >= 0 and job["metrics"]["execution_ms"] >= 0
        did = {entry["node_id"]: entry for entry in job["x_darkroom"]["explain"]}
        assert "s" in did and job["x_darkroom"]["nodes"]["s"]["seconds"] >= 0 and job["x_darkroom"]["warnings"] == []
        (output,) = job["outputs"]
        assert (output["node_id"], output["type"], output["content_type"]) == ("o", "image", "image/png")
        content = (tmp_path / "output" / output["name"]).read_bytes()
        assert output["size_bytes"] == len(content) and output["job_id"] == job["id"]
        async with client.session.get(output["url"], headers={"Range": "bytes=1-3"}) as answer:
            assert (answer.status, await answer.read()) == (206, content[1:4])
        async with client.session.get(output["url"], headers={"Range": "bytes=99999-"}) as answer:
            assert answer.status == 416
        asset = await client.get(f"{ASSETS_ROUTE}/{output['id']}")
        assert (asset["hash"], asset["job_id"], asset["expires_at"]) == (hash_of(content), job["id"], None)
        assert (await client.get(f"{JOBS}/{job['id']}"))["outputs"][0]["id"] == output["id"]  # for ever the same
        assert await client.get(f"{JOBS}/{job['id']}/workflow") == {"workflow": chain(), "format": "api"}
        assert (await client.get(f"/history/{job['id']}"))[job["id"]]["status"]["completed"]  # the queue of all
        other = await client.queue(chain(seed=9), extra_data={"extra_pnginfo": {"workflow": {"nodes": [], "id": "x"}}})
        assert (await ended(client, other))["status"] == "succeeded"
        assert (await client.get(f"{JOBS}/{other}/workflow"))["format"] == "save"


@in_loop
async def test_what_is_wrong_with_a_submission(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path, limits=Limits(waiting=1))) as client:
        broken = chain()
        broken["s"]["inputs"]["steps"] = "many"
        status, told = await submit(client, broken)
        assert status == 422 and told["error"]["code"] == "invalid_workflow"
        assert told["error"]["details"]["node_errors"]["s"][0]["field"] == "steps"
        reference = {"__type": "core/ASSET", "info": {"id": str(uuid.uuid4())}}
        for workflow, expected in (
            ({"nodes": [], "links": [], "last_node_id": 0}, (422, "workflow_format_ui")),
            ({}, (422, "invalid_workflow")),
            ({"1": {"class_type": "None", "inputs": {}}}, (422, "invalid_workflow")),
            (chain() | {"x": {"class_type": "Load", "inputs": {"name": reference}}}, (422, "missing_asset")),
            (chain() | {"x": {"inputs": {"name": {"__type": "core/ASSET"}}}}, (422, "missing_asset")),
            ([], (422, "invalid_workflow")),
        ):
            status, told = await submit(client, workflow)
            assert (status, told["error"]["code"]) == expected, told
        for closed, expected in (
            ({"webhook_url": "http://x"}, (422, "invalid_workflow")),
            ({"inputs": {}}, (422, "invalid_workflow")),
            ({"extra_data": {"inputs": 1}}, (400, "invalid_request")),
            ({"metadata": {"a": 1}}, (400, "invalid_request")),
        ):
            status, told = await submit(client, chain(), **closed)
            assert (status, told["error"]["code"]) == expected, closed
        hook = {"webhook": "http://elsewhere.example/x"}
        assert (await submit(client, chain(), x_darkroom=hook))[0] == 400  # the operator allows no such host
        for body, status in ((b"{", 400), (b"[]", 422), (b"{}", 422), (b'{"workflow": 1}', 422)):
            assert (await client.post(JOBS, body))[0] == status
        await client.post("/api/queue/pause")
        assert (await submit(client, chain()))[0] == 201
        status, told = await submit(client, chain(seed=1))
        assert (status, told["error"]["code"]) == (429, "queue_full")
        async with client.session.post(client.url + JOBS, json={"workflow": chain(seed=2)}) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "5")  # which its client waits for
        for path in (f"{JOBS}/none", f"{JOBS}/none/events", f"{JOBS}/none/workflow", f"{ASSETS_ROUTE}/none"):
            assert await code(client, "GET", path) == (404, "not_found")
        assert await code(client, "POST", f"{JOBS}/none/cancel") == (404, "not_found")


@in_loop
async def test_a_key_does_its_work_once(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        key = str(uuid.uuid4())
        broken = {"1": {"class_type": "None", "inputs": {}}}
        assert (await submit(client, broken, key))[0] == 422  # made no job, so the key is free
        several = await asyncio.gather(*(submit(client, chain(seed=seed), key) for seed in range(6)))
        assert sorted(status for status, _ in several) == [201, 422, 422, 422, 422, 422]
        assert {told["error"]["code"] for status, told in several if status == 422} == {"idempotency_key_reuse"}
        assert len((await client.get(JOBS))["jobs"]) == 1
        status, told = await submit(client, chain(), key)
        assert (status, told["error"]["code"]) == (422, "idempotency_key_reuse")
        (job,) = (await client.get(JOBS))["jobs"]
        client.app[ASSETS]._store._db.execute("UPDATE jobs SET created = created - 90000 WHERE id = ?", (job["id"],))
        assert (await submit(client, chain(), key))[0] == 201  # a day later
        for odd in ("", "x" * 256):
            assert (await submit(client, chain(), odd))[0] in (400, 201 if odd == "" else 400)
        upload = str(uuid.uuid4())
        assert (await store(client, picture(), "a.png", upload))[0] == 201
        status, told = await store(client, picture(), "a.png", upload)
        assert (status, told["error"]["code"]) == (422, "idempotency_key_reuse")


@in_loop
async def test_the_queue_and_cancelling(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        running = (await submit(client, chain(steps=900, seconds=0.01)))[1]["id"]
        waiting = [(await submit(client, chain(seed=seed)))[1]["id"] for seed in (1, 2)]
        while (job := await client.get(f"{JOBS}/{running}"))["status"] != "running" or job["progress"]["step"] is None:
            await asyncio.sleep(0.01)
        assert job["progress"]["steps"] == 900 and job["progress"]["current_node_class"] == "Steps"
        assert 0 < job["progress"]["value"] < 1 and job["progress"]["nodes_total"] == 4
        assert [(await client.get(f"{JOBS}/{id_}"))["queue_position"] for id_ in waiting] == [0, 1]
        status, job = await client.post(f"{JOBS}/{waiting[0]}/cancel")
        assert (status, job["status"]) == (200, "canceled")
        status, job = await client.post(f"{JOBS}/{running}/cancel")
        assert status == 200 and job["status"] in ("canceling", "canceled")
        assert (await ended(client, running))["status"] == "canceled"
        assert (await client.post(f"{JOBS}/{running}/cancel"))[1]["status"] == "canceled"
        assert (await ended(client, waiting[1]))["status"] == "succeeded"
        failing = chain()
        failing["s"] = {"class_type": "Fail", "inputs": {"value": ["a0", 0], "how": "blame"}}
        job = await ended(client, (await submit(client, failing))[1]["id"])
        assert job["status"] == "failed" and job["error"]["code"] == "node_execution_error"
        assert (job["error"]["node_id"], job["error"]["class_type"]) == ("s", "Fail")
        assert str(tmp_path) not in json.dumps(job)


async def frames(client: Client, id_: str) -> list[tuple[str, Any]]:
    async with client.session.get(f"{client.url}{JOBS}/{id_}/events") as answer:
        assert answer.content_type == "text/event-stream"
        text = await answer.text()
    parts = [dict(line.split(": ", 1) for line in part.splitlines()) for part in text.split("\n\n") if "event:" in part]
    return [(part["event"], json.loads(part["data"])) for part in parts]


@in_loop
async def test_a_stream_tells_what_happens_and_ends(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        await client.post("/api/queue/pause")
        id_ = (await submit(client, chain(steps=120, seconds=0.01)))[1]["id"]
        streaming = asyncio.create_task(frames(client, id_))
        while not client.app[STREAMS]:
            await asyncio.sleep(0.01)
        await client.post("/api/queue/resume")
        told = await streaming
        kinds = [kind for kind, _ in told]
        assert told[0] == ("status", {"status": "queued", "queue_position": 0})
        assert told[-1] == ("status", {"status": "succeeded", "queue_position": None})
        assert {"progress", "preview", "output"} <= set(kinds)
        values = [data["value"] for kind, data in told if kind == "progress"]
        assert values == sorted(values)
        shown = next(data for kind, data in told if kind == "preview")
        assert shown["node_id"] == "s" and shown["content_type"] == "image/jpeg" and shown["data_base64"]
        assert [kind for kind, _ in await frames(client, id_)] == ["status"]  # it has ended
        assert not client.app[STREAMS]
        for _ in range(100):
            client.app[STREAMS].add(object())
        assert await code(client, "GET", f"{JOBS}/{id_}/events") == (429, "too_many_streams")


@in_loop
async def test_a_stream_that_cannot_go_on_breaks_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([True, False])

    async def look(*given: Any) -> Any:
        if next(looks):
            return await routes_v2_jobs.look(*given)
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr("server.routes_v2_events.look", look)
    async with serving(deps_of(tmp_path)) as client:
        await client.post("/api/queue/pause")
        id_ = (await submit(client, chain()))[1]["id"]
        async with client.session.get(f"{client.url}{JOBS}/{id_}/events") as answer:
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
        assert not client.app[STREAMS]
        assert (await client.get(f"{JOBS}/{id_}"))["status"] == "queued"


@in_loop
async def test_assets_by_content(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        content, other = picture(), picture(size=(9, 9))
        assert await code(client, "HEAD", f"{ASSETS_ROUTE}/by-hash/{hash_of(content)}") == (404, "")
        status, asset = await store(client, content, "a/photo.png", tags="x", expected_hash=hash_of(content))
        assert (status, asset["created_new"], asset["hash"]) == (201, True, hash_of(content))
        assert (asset["file_path"], asset["tags"], asset["job_id"]) == ("a/photo.png", ["x"], None)
        assert (tmp_path / "input" / "a" / "photo.png").read_bytes() == content
        assert await code(client, "HEAD", f"{ASSETS_ROUTE}/by-hash/{hash_of(content)}") == (200, "")
        status, again = await store(client, content, "a/photo.png")
        assert (status, again["created_new"], again["file_path"]) == (200, False, "a/photo.png")
        assert again["id"] != asset["id"]
        status, third = await store(client, other, "a/photo.png")
        assert (status, third["file_path"]) == (201, "a/photo (1).png")
        status, minted = await client.post(f"{ASSETS_ROUTE}/from-hash", {"hash": hash_of(other), "file_path": "b.png"})
        assert (status, minted["file_path"], minted["size_bytes"]) == (200, "b.png", len(other))
        status, told = await client.post(f"{ASSETS_ROUTE}/from-hash", {"hash": hash_of(b"unknown")})
        assert (status, told["error"]["code"]) == (404, "blob_not_found")
        status, told = await store(client, picture(size=(3, 3)), "c.png", expected_hash=hash_of(b""))
        assert (status, told["error"]["code"]) == (409, "hash_mismatch") and not (tmp_path / "input" / "c.png").exists()
        for name in (
            "../x.png",
            "models/none/x.safetensors",
            "models/custom_nodes/x.py",
            "models/loras/x.exe",
            "/etc/x",
        ):
            assert 400 <= (await store(client, b"x", name))[0] < 500, name
        for seconds in ("59", "604801", "soon", "-1"):
            assert (await store(client, b"x", "d.png", expires_in=seconds))[0] == 400
        status, model = await store(client, b"weights", "models/checkpoints/m.safetensors")
        assert (status, model["file_path"]) == (201, "models/checkpoints/m.safetensors")
        # two assets, one file: it goes with the second
        for id_, left in ((asset["id"], True), (again["id"], False)):
            assert await code(client, "DELETE", f"{ASSETS_ROUTE}/{id_}") == (204, "")
            assert await code(client, "DELETE", f"{ASSETS_ROUTE}/{id_}") == (404, "not_found")
            assert (tmp_path / "input" / "a" / "photo.png").exists() == left
        assert not list(tmp_path.rglob("*.part"))


@in_loop
async def test_an_asset_stands_where_a_file_is_named(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        _, model = await store(client, b"weights", "models/checkpoints/m.safetensors")
        reference = {"__type": "core/ASSET", "info": {"id": model["id"], "hash": "ignored", "file_path": "ignored"}}
        workflow = {
            "l": {"class_type": "Load", "inputs": {"name": reference}},
            "s": {"class_type": "Sink", "inputs": {"part": ["l", 0]}},
        }
        await client.post("/api/queue/pause")
        status, job = await submit(client, workflow)
        assert status == 201, job
        sent = (await client.get(f"{JOBS}/{job['id']}/workflow"))["workflow"]
        assert sent["l"]["inputs"]["name"] == "m.safetensors"
        assert await code(client, "DELETE", f"{ASSETS_ROUTE}/{model['id']}") == (409, "asset_in_use")
        await client.post("/api/queue/resume")
        assert (await ended(client, job["id"]))["status"] == "succeeded"
        assert await code(client, "DELETE", f"{ASSETS_ROUTE}/{model['id']}") == (204, "")
        status, told = await submit(client, workflow)
        assert (status, told["error"]["code"]) == (422, "missing_asset")


@in_loop
async def test_assets_expire(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        _, asset = await store(client, picture(), "a.png", expires_in="60")
        assert asset["expires_at"] > asset["created_at"]
        client.app[ASSETS]._store._db.execute(
            "UPDATE assets SET expires = ? WHERE id = ?", (time.time() - 1, asset["id"])
        )
        assert await code(client, "GET", f"{ASSETS_ROUTE}/{asset['id']}") == (404, "not_found")
        assert await client.app[ASSETS](Assets.expired, time.time()) == [asset["id"]]


@in_loop
async def test_files_that_are_there_need_not_be_sent(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        (tmp_path / "output" / "old.png").write_bytes(picture())
        (tmp_path / "models" / "loras" / "l.safetensors").write_bytes(b"weights")
        path = f"{ASSETS_ROUTE}/by-hash/{hash_of(b'weights')}"
        assert await code(client, "HEAD", path) == (404, "")  # which has the folders looked through
        async with asyncio.timeout(20):
            while (await code(client, "HEAD", path))[0] != 200:
                await asyncio.sleep(0.01)
        status, asset = await client.post(f"{ASSETS_ROUTE}/from-hash", {"hash": hash_of(b"weights")})
        assert (status, asset["file_path"]) == (200, "models/loras/l.safetensors")
        assert await code(client, "DELETE", f"{ASSETS_ROUTE}/{asset['id']}") == (204, "")
        assert (tmp_path / "models" / "loras" / "l.safetensors").exists()  # nobody sent it here
        (tmp_path / "models" / "loras" / "l.safetensors").write_bytes(b"others!")
        assert (await code(client, "HEAD", path))[0] == 404  # it is not that content any more
        assert await client.app[BLOBS].find(hashlib.sha256(b"").hexdigest()) is None


def test_references_are_found_wherever_they_stand() -> None:
    one, two = ({"__type": "core/ASSET", "info": {"id": id_}} for id_ in "ab")
    workflow = {"1": {"inputs": {"x": one, "y": [two, {"z": one}]}}, "2": {"__type": "core/OTHER"}}
    assert sorted(asset_ids(workflow)) == ["a", "b"]
    assert with_names(workflow, {"a": "A", "b": "B"}) == {
        "1": {"inputs": {"x": "A", "y": ["B", {"z": "A"}]}},
        "2": {"__type": "core/OTHER"},
    }
    for malformed in ({}, {"info": 1}, {"info": {"id": 7}}, {"info": {"id": ""}}):
        with pytest.raises(Refused):
            asset_ids([{"__type": "core/ASSET", **malformed}])
