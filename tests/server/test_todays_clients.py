"""What clients and front ends of 2026 ask, each request with what they need of its answer."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graph.files import Folders
from graph.object_info import object_info
from nodes.registry import builtin
from server.logs import LogTail
from server.options import understand
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


@in_loop
async def test_the_log_is_pushed_to_who_asked(tmp_path: Path) -> None:
    logger, logs = logging.getLogger("test_the_log_is_pushed"), LogTail()
    logger.addHandler(logs)
    logger.setLevel("INFO")
    async with serving(deps_of(tmp_path, logs=logs)) as client, client.listen("a") as ear, client.listen("b") as other:
        async with client.session.patch(
            f"{client.url}/internal/logs/subscribe", json={"clientId": "a", "enabled": True}
        ) as answer:
            assert answer.status == 200
        await asyncio.to_thread(logger.warning, "cannot read %s/x", tmp_path / "output")  # from any thread
        told = (await ear.until(lambda type_, _: type_ == "logs"))[-1][1]
        assert [entry["m"] for entry in told["entries"]] == ["cannot read output/x\n"]
        assert told["entries"][0]["t"] and told["size"] == {"cols": 120, "rows": 40}
        async with client.session.patch(
            f"{client.url}/internal/logs/subscribe", json={"clientId": "a", "enabled": False}
        ) as answer:
            assert answer.status == 200
        logger.warning("nobody listens")
        for each in (ear, other):
            await each.until_done(await client.queue(chain(), client_id=(each is ear and "a") or "b"))
        assert ear.types().count("logs") == 1 and "logs" not in other.types()
        for odd in ({}, {"clientId": 3}, {"clientId": "a", "enabled": "yes"}):
            async with client.session.patch(f"{client.url}/internal/logs/subscribe", json=odd) as answer:
                assert answer.status == 400
    logger.removeHandler(logs)


@in_loop
async def test_front_ends_show_warnings_at_their_node_and_second_tries(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        prompt = chain()
        prompt["s"] = {"class_type": "Hungry", "inputs": {"value": ["a0", 0]}}
        prompt["w"] = {"class_type": "Warn", "inputs": {"value": ["s", 0]}}
        prompt["o"]["inputs"]["value"] = ["w", 0]
        async with client.listen("front", some_feature=True) as front, client.listen("plain") as plain:
            await front.until_done(await client.queue(prompt, client_id="front"))
            await plain.until_done(await client.queue(prompt, client_id="plain"))
        told = next(data for type_, data in front.heard if type_ == "notification")
        assert "s ran out of memory" in told["value"] and told["id"]
        (frame,) = [data for type_, data in front.heard if type_ == "binary" and data[:4] == b"\0\0\0\3"]
        (length,) = struct.unpack(">I", frame[4:8])
        assert frame[8 : 8 + length] == b"w" and b"is not used" in frame[8 + length :]
        assert "binary" not in plain.types() and "execution_warning" in plain.types()


@in_loop
async def test_every_node_has_a_page_by_language(tmp_path: Path) -> None:
    locales = tmp_path / "locales"
    locales.mkdir()
    tables = {"names": {"Steps": "步骤"}, "texts": {}, "inputs": {"seed": "种子"}, "categories": {}}
    (locales / "zh.json").write_text(json.dumps(tables))
    async with serving(deps_of(tmp_path / "base", locales=locales)) as client:

        async def page(name: str) -> tuple[int, str, str]:
            async with client.session.get(f"{client.url}/docs/{name}") as answer:
                return answer.status, answer.content_type, await answer.text()

        status, kind, text = await page("Steps/en.md")
        assert (status, kind) == (200, "text/markdown") and text.startswith("# Steps\n\nCounts")
        assert "- **steps** `INT` from 1 … 10000" in text and "## Outputs" in text
        assert await page("Steps.md") == (200, kind, text)
        status, _, text = await page("Steps/zh.md")
        assert status == 200 and text.startswith("# 步骤") and "- **种子** `INT`" in text and "## 输入" in text
        assert (await page("Steps/fr.md"))[2].startswith("# Steps")
        status, kind, text = await page("nodes.md")
        assert (status, kind) == (200, "text/markdown") and "`Steps`" in text and "#### Inputs" in text
        assert "- **种子** `INT`" in (await page("nodes/zh.md"))[2]
        for absent in ("None/en.md", "None.md", "Steps/en.txt", "Steps"):
            assert (await page(absent))[0] == 404, absent


@pytest.mark.parametrize(
    ("flags", "ignored"),
    [
        (["--high-ram", "--enable-asset-hashing", "--reserve-vram", "2"], "--high-ram"),
        (["--feature-flag", "a=1", "--feature-flag", "b"], "--feature-flag"),
        (["--cache-ram", "6", "--models-directory", "elsewhere"], ""),
        (["--cache-ram"], ""),
    ],
)
def test_flags_of_today_are_taken(flags: list[str], ignored: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = understand(flags)
    assert (ignored in capsys.readouterr().err) and options.cache_ram == (
        (6.0 if "6" in flags else 4.0) if "--cache-ram" in flags else None
    )


def test_models_may_lie_elsewhere(tmp_path: Path) -> None:
    folders = Folders.standard(tmp_path / "base", models_dir=tmp_path / "disk")
    assert folders.roots("checkpoints") == (tmp_path / "disk" / "checkpoints",)
    (tmp_path / "disk" / "loras" / "a.safetensors").write_bytes(b"")
    assert folders.list("loras") == ["a.safetensors"] and not (tmp_path / "base" / "models").exists()
    assert (tmp_path / "base" / "custom_nodes").is_dir()


def test_nodes_are_found_by_other_words(tmp_path: Path) -> None:
    info = object_info(builtin(), Folders.standard(tmp_path))
    assert "prompt" in info["CLIPTextEncode"]["search_aliases"]  # type: ignore[operator]
    assert "search_aliases" not in info["ConditioningCombine"]
