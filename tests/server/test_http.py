"""The recorded answers to single requests: view, upload, and the descriptive routes."""

from __future__ import annotations

import asyncio
import io
import json
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from server.assumed import ASSUMED
from tests.server.loop import in_loop
from tests.server.support import Client, chain, deps_of, serving
from tests.server.test_security import picture, upload

RECORDED = json.loads((Path(__file__).parent.parent / "data" / "protocol" / "http.json").read_text())
BETTER = {
    "history_bad_max_items": 400,  # 500 in the recording
    "free_empty": 200,  # 500
    "view_nul": 400,  # 404
}
ELSEWHERE = (
    "history_max1",
    "get_view_metadata",
    "get_models_checkpoints",
    "get_userdata",
    "interrupt_idle",
    "prompt_get",
    "view_html_upload",
    "get_global_subgraphs",  # which was 404 then
)
"""Recorded with jobs or files that this server does not have; see the other tests."""


async def ask(client: Client, request: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    body = None if request.get("json") is None else json.dumps(request["json"])
    path = request["path"].replace(" [", "%20[")
    async with client.session.request(
        request["method"], client.url + path, data=body, headers=request.get("headers") or {}
    ) as answer:
        return answer.status, dict(answer.headers), await answer.read()


@in_loop
async def test_recorded_answers(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        (tmp_path / "output" / "ComfyUI_00001_.png").write_bytes(picture())
        for name, recorded in RECORDED["http"].items():
            if name in ELSEWHERE or name.startswith("queue_"):
                continue
            status, headers, body = await ask(client, recorded["request"])
            assert status == BETTER.get(name, recorded["status"]), (name, body)
            if status == 200 and not name.startswith("get_not_found"):
                given = headers.get("Content-Type", "").partition(";")[0]
                wanted = (recorded["type"] or "").partition(";")[0]
                assert given == wanted or not body, name
            if recorded["disposition"] and status in (200, 206):
                assert headers["Content-Disposition"] == recorded["disposition"], name
            if isinstance(recorded["answer"], dict) and status == 200 and recorded["answer"].get("raw_length") is None:
                assert json.loads(body).keys() >= recorded["answer"].keys() - {"classifiers"} or "folder" in name, name


@in_loop
async def test_view_forms(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        original = Image.new("RGBA", (8, 6), (10, 20, 30, 40))
        original.save(tmp_path / "output" / "x.png")

        async def view(query: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
            return await ask(client, {"method": "GET", "path": f"/view?filename=x.png{query}", "headers": headers})

        for query, kind, mode in (
            ("&preview=webp;90", "WEBP", "RGBA"),
            ("&preview=jpeg", "JPEG", "RGB"),
            ("&preview=anything", "WEBP", "RGBA"),
            ("&channel=rgb", "PNG", "RGB"),
            ("&channel=a", "PNG", "RGBA"),
        ):
            status, headers, body = await view(query)
            seen = Image.open(io.BytesIO(body))
            assert (status, seen.format, seen.mode, seen.size) == (200, kind, mode, (8, 6)), query
        assert Image.open(io.BytesIO((await view("&channel=a"))[2])).getchannel("A").getpixel((0, 0)) == 40
        status, headers, body = await view("", Range="bytes=0-9")
        assert status == 206 and len(body) == 10 and headers["Content-Range"].startswith("bytes 0-9/")
        (tmp_path / "output" / "x.png").write_bytes(b"no picture")
        assert (await view("&preview=webp"))[0] == 400


@in_loop
async def test_uploads_as_recorded(tmp_path: Path) -> None:
    small, other = picture(), picture(size=(5, 5))
    async with serving(deps_of(tmp_path)) as client:
        for _ in range(2):  # the same bytes keep the name
            assert await upload(client, small, "a.png") == (200, {"name": "a.png", "subfolder": "", "type": "input"})
        assert (await upload(client, other, "a.png"))[1]["name"] == "a (1).png"
        assert (await upload(client, other, "a.png"))[1]["name"] == "a (1).png"
        assert (await upload(client, other, "a.png", overwrite="true"))[1]["name"] == "a.png"
        assert (tmp_path / "input" / "a.png").read_bytes() == other
        status, stored = await upload(client, small, "a.png", subfolder="a/b", type="temp")
        assert (status, stored) == (200, {"name": "a.png", "subfolder": "a/b", "type": "temp"})
        assert not list(tmp_path.rglob("*.part"))


@in_loop
async def test_a_mask_becomes_the_transparency(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        await upload(client, picture(size=(4, 4)), "a.png")
        drawn = io.BytesIO()
        Image.new("RGBA", (4, 4), (0, 0, 0, 77)).save(drawn, format="PNG")
        reference = json.dumps({"filename": "a.png", "type": "input", "subfolder": ""})
        status, stored = await upload(client, drawn.getvalue(), "m.png", "mask", original_ref=reference)
        assert (status, stored["name"]) == (200, "m.png")
        assert Image.open(tmp_path / "input" / "m.png").getpixel((0, 0)) == (1, 2, 3, 77)
        for wrong in ("", "{", "[]", '{"filename": 3}', '{"filename": "nope.png"}', '{"filename": "../a.png"}'):
            status, _ = await upload(client, drawn.getvalue(), "m.png", "mask", original_ref=wrong)
            assert 400 <= status < 500, wrong


@in_loop
async def test_models_and_their_metadata(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        header = json.dumps({"__metadata__": {"format": "pt"}}).encode()
        folder = tmp_path / "models" / "checkpoints"
        (folder / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
        (folder / "b.safetensors").write_bytes(b"\xff" * 30)
        (tmp_path / "models" / "embeddings" / "word.safetensors").write_bytes(b"")
        assert await client.get("/models/checkpoints") == ["a.safetensors", "b.safetensors"]
        assert await client.get("/embeddings") == ["word"]
        assert await client.get("/view_metadata/checkpoints?filename=a.safetensors") == {"format": "pt"}
        async with client.session.get(f"{client.url}/view_metadata/checkpoints?filename=b.safetensors") as answer:
            assert answer.status == 404
        info = (await client.get("/object_info/Load"))["Load"]
        assert info["input"]["required"]["name"][0] == ["a.safetensors", "b.safetensors"]
        assert str(tmp_path) not in json.dumps(await client.get("/internal/folder_paths"))
        assert str(tmp_path) not in json.dumps(await client.get("/experiment/models"))


@in_loop
async def test_another_editor_is_told_of_nodes_that_it_assumes_but_they_do_not_run(tmp_path: Path) -> None:
    async with serving(replace(deps_of(tmp_path), foreign=True)) as client:
        info = await client.get("/object_info")
        assert set(ASSUMED) <= set(info) and info["Save"]["output_node"] is True
        assert info["LoraLoader"]["name"] == "LoraLoader" and info["LoraLoader"]["deprecated"] is True
        status, answer = await client.post("/prompt", {"prompt": {"1": {"class_type": "LoraLoader", "inputs": {}}}})
        assert (status, answer["node_errors"]["1"]["errors"][0]["type"]) == (400, "missing_node_type")
    async with serving(deps_of(tmp_path)) as client:
        assert not set(ASSUMED) & set(await client.get("/object_info"))


@in_loop
async def test_user_data(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        assert await client.post("/userdata/ok%2Fa.json", "{}") == (200, "ok/a.json")
        assert await client.get("/userdata/ok%2Fa.json") == {}
        assert (await client.post("/userdata/ok%2Fa.json?overwrite=false", "{}"))[0] == 409
        assert await client.post("/userdata/ok%2Fa.json/move/ok%2Fb.json", "") == (200, "ok/b.json")
        assert await client.get("/userdata?dir=ok") == ["b.json"]
        assert await client.get("/userdata?dir=.&recurse=true") == ["ok/b.json"]
        assert (await client.get("/userdata?dir=ok&full_info=true"))[0]["size"] == 2
        async with client.session.delete(f"{client.url}/userdata/ok%2Fb.json") as answer:
            assert answer.status == 204
        assert await client.post("/settings", {"a": 1}) == (200, "")
        assert await client.post("/settings/b", "[2]") == (200, "")
        assert await client.get("/settings") == {"a": 1, "b": [2]}
        assert await client.get("/settings/a") == 1


@in_loop
async def test_metrics_docs_and_logs(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        await client.run(chain())
        text = ""
        async with asyncio.timeout(30):
            while (
                'darkroom_job_seconds_count{state="completed"} 1.0' not in text
            ):  # a moment after it is in the history
                async with client.session.get(f"{client.url}/metrics") as answer:
                    text = await answer.text()
        assert "darkroom_queue_depth 0.0" in text
        assert "darkroom_node_seconds_count 4.0" in text
        assert 'darkroom_bytes{what="results"}' in text
        document = await client.get("/openapi.json")
        assert "/prompt" in document["paths"] and document["openapi"].startswith("3.")
        for path, operations in document["paths"].items():  # each part of a path is told of, under a plain name
            for operation in operations.values():
                places = {place["name"] for place in operation["parameters"] if place["in"] == "path"}
                assert places == set(re.findall(r"{(\w+)}", path)) and path.count("{") == len(places), path
        async with client.session.get(f"{client.url}/docs") as answer:
            page = await answer.text()
        assert "/history/{prompt_id}" in page and "http://" not in page and "https://" not in page
        assert isinstance(await client.get("/internal/logs"), str)
        assert "entries" in await client.get("/internal/logs/raw")


@in_loop
async def test_parts_of_paths_are_checked_as_the_description_says(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        hash_ = f"blake3:{'0' * 64}"
        for path, status in {
            "/internal/files/input": 200,
            "/internal/files/models": 400,
            f"/v2/assets/by-hash/{hash_}": 404,
            f"/v2/assets/by-hash/{hash_}%0a": 400,  # `$` is the end, and not before the last line's end
            "/v2/assets/by-hash/x": 400,
        }.items():
            async with client.session.get(f"{client.url}/api{path}") as answer:
                assert answer.status == status, path
        status, answer = await client.post("/api/packs/none", {"decision": "maybe"})
        assert status == 400 and answer["error"]["message"] == "decision: expected one of allow, isolate, disable"


@in_loop
async def test_examples_are_listed_and_served_by_their_names_alone(tmp_path: Path) -> None:
    examples = tmp_path / "examples"
    examples.mkdir()
    entry = {"name": "one", "title": {"en": "One"}, "description": {"en": "The first."}}
    (examples / "index.json").write_text(json.dumps([entry]))
    (examples / "one.json").write_text("{}")
    (examples / "one.webp").write_bytes(b"RIFF")
    (examples / "other.json").write_text("{}")
    async with serving(replace(deps_of(tmp_path), examples=examples)) as client:
        assert await client.get("/examples") == [entry]
        assert await client.get("/api/examples/one.json") == {}
        async with client.session.get(client.url + "/examples/one.webp") as answer:
            assert (answer.content_type, await answer.read()) == ("image/webp", b"RIFF")
        for absent in ("two.json", "other.json", "index.json", "one.png", "one", "..%2Fexamples%2Fone.json"):
            async with client.session.get(f"{client.url}/examples/{absent}") as answer:
                assert answer.status == 404, absent
    async with serving(deps_of(tmp_path)) as client:
        assert await client.get("/examples") == []


@in_loop
async def test_what_is_too_deep_or_too_long_is_refused(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        statuses: list[int] = []
        for depth in range(900, 1000, 5):  # about what can be read, and what can be written again
            deep = "[" * depth + "]" * depth
            body = f'{{"prompt": {json.dumps(chain())}, "extra_data": {{"x": {deep}}}}}'
            statuses.append((await client.post("/prompt", body))[0])
        assert set(statuses) <= {200, 400} and statuses[0] == 200
        many = [{str(i): 1 for i in range(1001)}, {"prompt": chain(), "extra_data": {"x": [0] * 100_001}}]
        many.append({"prompt": chain(), "extra_data": {"x": [[0] * 90_000] * 12}})
        for large in many:
            status, told = await client.post("/prompt", large)
            assert (status, told["error"]["type"]) == (413, "too_many_values")
        async with client.session.get(f"{client.url}/view?filename={'a/' * 3000}x.png") as answer:
            assert answer.status == 400
