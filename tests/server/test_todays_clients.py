"""What clients and front ends of 2026 ask, each request with what they need of its answer."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.outputs import previews_of
from tests.server.loop import in_loop
from tests.server.support import Ear, chain, deps_of, serving

EXAMPLES = Path(__file__).parents[2] / "workflows"


async def heard(ear: Ear, prompt_id: str) -> list[str]:
    return [type_ for type_, _ in await ear.until_done(prompt_id)]


@in_loop
async def test_only_those_who_ask_get_previews(tmp_path: Path) -> None:
    """Some clients take every binary frame for the picture they asked for; all front ends since 1.35 tell features."""
    async with serving(deps_of(tmp_path)) as client:
        for seed, method, plain_too, features_too in (
            (0, None, False, True),
            (1, "default", False, True),
            (2, "auto", True, True),
            (3, "none", False, False),
        ):
            extra: dict[str, Any] = {} if method is None else {"extra_data": {"preview_method": method}}
            async with client.listen("plain") as plain, client.listen("front", some_feature=True) as front:
                first = await client.queue(chain(seed=seed), client_id="plain", **extra)
                assert ("binary" in await heard(plain, first)) == plain_too, method
                second = await client.queue(chain(seed=seed + 10), client_id="front", **extra)
                assert ("binary" in await heard(front, second)) == features_too, method
                assert plain.types().count("progress") == 3  # which come all the same
    async with serving(deps_of(tmp_path / "b", previews=True)) as client, client.listen("plain") as plain:
        assert "binary" in await heard(plain, await client.queue(chain(), client_id="plain"))


@in_loop
async def test_jobs_are_cancelled_one_and_several_at_a_time(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        running = await client.queue(chain(steps=500, seconds=0.01))
        waiting = [await client.queue(chain(seed=seed)) for seed in (1, 2, 3)]
        assert await client.post("/api/jobs/cancel", {"job_ids": [waiting[0], "unknown"]}) == (200, {"cancelled": True})
        assert await client.post("/api/jobs/cancel", {"job_ids": ["unknown"]}) == (200, {"cancelled": False})
        assert await client.post("/api/jobs/cancel", {"job_ids": []}) == (200, {"cancelled": False})
        for malformed in ({}, {"job_ids": "x"}, {"job_ids": [1]}, {"job_ids": None}, "[]"):
            assert (await client.post("/api/jobs/cancel", malformed))[0] == 400
        assert await client.post(f"/api/jobs/{waiting[1]}/cancel") == (200, {"cancelled": True})
        while not (await client.get("/queue"))["queue_running"]:
            await asyncio.sleep(0.01)
        assert await client.post("/api/jobs/cancel", {"job_ids": [running, waiting[2]]}) == (200, {"cancelled": True})
        assert (await client.entry(running))["status"]["messages"][-1][0] == "execution_interrupted"
        for ended in (running, "unknown"):
            assert await client.post(f"/api/jobs/{ended}/cancel") == (200, {"cancelled": False})
        # those that never began are no failures; front ends would show them as such
        listed = (await client.get("/api/jobs?status=completed,failed,cancelled"))["jobs"]
        assert [job["id"] for job in listed] == [running]
        assert len((await client.get("/api/jobs"))["jobs"]) == 4


@in_loop
async def test_files_are_listed_newest_first(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        for age, name in enumerate(("new.png", "older.png", "oldest.txt")):
            (tmp_path / "input" / name).write_bytes(b"x")
            os.utime(tmp_path / "input" / name, (1000 - age, 1000 - age))
        (tmp_path / "input" / ".hidden").write_bytes(b"x")
        (tmp_path / "input" / "folder").mkdir()
        assert await client.get("/internal/files/input") == ["new.png", "older.png", "oldest.txt"]
        assert await client.get("/internal/files/output") == []
        async with client.session.get(f"{client.url}/internal/files/models") as answer:
            assert answer.status == 400


@pytest.mark.parametrize(
    ("outputs", "first", "count"),
    [
        ({}, None, 0),
        ({"1": {"images": [{"filename": "t.png", "subfolder": "", "type": "temp"}]}}, "t.png", 1),
        (
            {
                "1": {"images": [{"filename": "t.png", "subfolder": "", "type": "temp"}]},
                "2": {"latents": [{"filename": "x.latent", "subfolder": "", "type": "output"}]},
                "3": {"gifs": [{"filename": "v.mp4", "subfolder": "", "type": "output"}]},
                "4": {"images": [{"filename": "o.png", "subfolder": "", "type": "output"}], "text": ["hello"]},
            },
            "o.png",
            4,
        ),
        ({"1": {"text": ["hello"], "images": [{"filename": None}, "odd", {}]}}, "", 1),
    ],
)
def test_what_was_saved_is_shown_first(outputs: dict[str, Any], first: str | None, count: int) -> None:
    found = previews_of(outputs)
    assert len(found) == count and (found[0]["filename"] if found else None) == first
    needed = {"filename", "subfolder", "type", "nodeId", "mediaType"}  # a job without one loses the front end its page
    assert all(needed <= entry.keys() and all(isinstance(entry[key], str) for key in needed) for entry in found)


@in_loop
async def test_a_job_names_the_file_it_was_made_of(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        extra = {"extra_pnginfo": {"workflow": {"id": "4f", "nodes": []}}}
        prompt_id = await client.queue(chain(), extra_data=extra)
        await client.entry(prompt_id)
        (job,) = (await client.get("/api/jobs"))["jobs"]
        assert (job["workflow_id"], job["previewable_outputs_count"], job["outputs_count"]) == ("4f", 1, 1)


@in_loop
async def test_our_examples_are_the_templates(tmp_path: Path) -> None:
    """The front end opens the template browser at its first start, and its own graph needs a model nobody has then."""
    folder = tmp_path / "examples"
    folder.mkdir()
    entry = {"name": "one", "title": {"en": "One"}, "description": {"en": "The first."}}
    (folder / "index.json").write_text(json.dumps([entry]))
    (folder / "one.json").write_text(json.dumps(chain()))
    (folder / "one.webp").write_bytes(b"RIFF")
    async with serving(replace(deps_of(tmp_path / "a"), examples=folder)) as client:
        (group,) = await client.get("/templates/index.json")
        (template,) = group["templates"]
        assert (group["type"], template["name"], template["title"]) == ("image", "one", "One")
        assert (template["mediaType"], template["mediaSubtype"]) == ("image", "webp")
        drawn = await client.get("/templates/one.json")
        assert drawn["version"] == 0.4 and {node["type"] for node in drawn["nodes"]} == {
            "Value",
            "Add",
            "Steps",
            "Save",
        }
        async with client.session.get(f"{client.url}/templates/one-1.webp") as answer:
            assert (answer.content_type, await answer.read()) == ("image/webp", b"RIFF")
        assert await client.get("/templates/index_logo.json") == await client.get("/templates/fuse_options.json") == {}
        for absent in ("two.json", "two-1.webp", "index.html", "..%2Fone.json"):
            async with client.session.get(f"{client.url}/templates/{absent}") as answer:
                assert answer.status == 404, absent
    async with serving(deps_of(tmp_path / "b")) as client:
        assert await client.get("/templates/index.json") == []


@in_loop
async def test_subgraphs_of_packs_are_offered(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        assert await client.get("/api/global_subgraphs") == {}
        (tmp_path / "custom_nodes" / "pack" / "subgraphs").mkdir(parents=True)
        (tmp_path / "custom_nodes" / "pack" / "subgraphs" / "Two pass.json").write_text('{"nodes": []}')
        assert await client.get("/api/global_subgraphs") == {
            "pack.Two pass": {"name": "Two pass", "info": {"node_pack": "pack"}}
        }
        assert (await client.get("/api/global_subgraphs/pack.Two pass"))["data"] == '{"nodes": []}'
        async with client.session.get(f"{client.url}/api/global_subgraphs/pack.none") as answer:
            assert answer.status == 404


@in_loop
async def test_replacements_are_announced_with_their_route(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        assert (await client.get("/features"))["node_replacements"] is True
        found = await client.get("/api/node_replacements")
        (entry,) = found["T2IAdapterLoader"]
        assert entry["new_node_id"] == "ControlNetLoader" and entry["old_node_id"] == "T2IAdapterLoader"
        assert entry.keys() == {"new_node_id", "old_node_id", "old_widget_ids", "input_mapping", "output_mapping"}
