"""Workflows as people have them: files of the editor, and pictures and latents that carry a graph."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from PIL.PngImagePlugin import PngInfo

from server.carried import NoWorkflow, carried
from tests.server.loop import in_loop
from tests.server.support import chain, deps_of, serving

GRAPH = {"1": {"class_type": "Value", "inputs": {"value": 7}}, "2": {"class_type": "Save", "inputs": {}}}


def drawn(value: int = 5) -> dict[str, Any]:
    """Value -> Add (passed by) -> Save, as the editor saves it."""
    nodes = [
        {"id": 1, "type": "Value", "widgets_values": [value], "outputs": [{"name": "INT", "type": "INT"}]},
        {
            "id": 2,
            "type": "Add",
            "mode": 4,
            "inputs": [{"name": "a", "type": "INT", "link": 1, "widget": {"name": "a"}}],
            "outputs": [{"name": "INT", "type": "INT"}],
        },
        {
            "id": 3,
            "type": "Save",
            "inputs": [{"name": "value", "type": "INT", "link": 2, "widget": {"name": "value"}}],
            "widgets_values": [0, "out"],
        },
        {"id": 4, "type": "Note", "widgets_values": ["words"]},
    ]
    return {"nodes": nodes, "links": [[1, 1, 0, 2, 0, "INT"], [2, 2, 0, 3, 0, "INT"]], "version": 0.4}


def png(**texts: str) -> bytes:
    """A picture with text chunks."""
    info, buffer = PngInfo(), io.BytesIO()
    for key, text in texts.items():
        info.add_text(key, text)
    PIL.Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def with_exif(kind: str, **texts: str) -> bytes:
    """A picture with `key:value` in EXIF tags, as ComfyUI writes WebP."""
    exif, buffer = PIL.Image.Exif(), io.BytesIO()
    for tag, (key, text) in zip((0x0110, 0x010F, 0x010E), texts.items(), strict=False):
        exif[tag] = f"{key}:{text}"
    PIL.Image.new("RGB", (8, 8)).save(buffer, kind, exif=exif)
    return buffer.getvalue()


def latent(**texts: str) -> bytes:
    """A file of no tensors with metadata."""
    header = json.dumps({"__metadata__": texts}).encode()
    return struct.pack("<Q", len(header)) + header


CARRIERS: dict[str, Callable[..., bytes]] = {
    "png": png,
    "webp": lambda **texts: with_exif("WEBP", **texts),
    "jpeg": lambda **texts: with_exif("JPEG", **texts),
    "avif": lambda **texts: with_exif("AVIF", **texts),
    "latent": latent,
}


@pytest.mark.parametrize("kind", CARRIERS)
def test_files_of_every_kind_carry_both_formats(kind: str) -> None:
    both = CARRIERS[kind](prompt=json.dumps(GRAPH), workflow=json.dumps(drawn()))
    assert carried(both).request() == GRAPH
    assert carried(both).document() == drawn()
    alone = CARRIERS[kind](workflow=json.dumps(drawn()))
    assert carried(alone).request() == drawn()
    with pytest.raises(NoWorkflow, match="carries no workflow"):
        carried(CARRIERS[kind](author="somebody")).request()


def test_old_and_other_writers_are_read() -> None:
    """zTXt and iTXt chunks, the private chunk of animations, and NaN where old pictures have it."""
    packed, buffer = PngInfo(), io.BytesIO()
    packed.add_text("prompt", json.dumps(GRAPH), zip=True)
    packed.add_itxt("workflow", json.dumps(drawn(), ensure_ascii=False), zip=True)
    PIL.Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=packed)
    assert carried(buffer.getvalue()).request() == GRAPH
    assert carried(buffer.getvalue()).document() == drawn()
    data = b"prompt\0" + json.dumps(GRAPH).encode("latin-1")
    plain = png()
    animated = plain[:-12] + struct.pack(">I", len(data)) + b"comf" + data + b"\0\0\0\0" + plain[-12:]
    assert carried(animated).request() == GRAPH
    old = '{"1": {"class_type": "Value", "inputs": {"value": 7}, "is_changed": [NaN]}}'
    found: Any = carried(png(prompt=old)).request()
    assert found["1"]["inputs"] == {"value": 7}


def hidden(text: str, mark: bytes, size: tuple[int, int] = (40, 50)) -> bytes:
    """A picture with a text in the lowest bits of its transparency."""
    data = gzip.compress(text.encode()) if mark.endswith(b"comp") else text.encode()
    bits = "".join(f"{byte:08b}" for byte in mark + struct.pack(">I", 8 * len(data)) + data)
    picture, buffer = PIL.Image.new("RGBA", size, (9, 9, 9, 254)), io.BytesIO()
    for at, bit in enumerate(bits[: size[0] * size[1]]):
        picture.putpixel((at // size[1], at % size[1]), (9, 9, 9, 254 + int(bit)))
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_texts_hidden_in_the_transparency_are_read() -> None:
    held = {"Software": "NovelAI", "Description": "a cat", "Comment": '{"seed": 5}'}
    packed = hidden(json.dumps(held), b"stealth_pngcomp")
    assert carried(packed).texts == {key.lower(): text for key, text in held.items()}
    assert carried(hidden("a cat\nSteps: 1", b"stealth_pnginfo")).texts == {"parameters": "a cat\nSteps: 1"}
    for wrong in (hidden("x", b"something_else!"), hidden("x", b"stealth_pngcomp", (10, 15))):
        assert carried(wrong).texts == {}


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n" + b"\xff" * 40,
        b"RIFF\xff\xff\xff\xffWEBP" + b"\0" * 40,
        b"\xff\xd8\xff\xe1\xff\xff" + b"Exif\0\0" * 9,
        struct.pack("<Q", 2**62) + b'{"a',
        struct.pack("<Q", 3) + b"{{{",
        b"\xff\xfe\xfd",
        b"",
    ],
)
def test_damaged_files_carry_nothing(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"workflow|Expecting value"):
        carried(content).request()


@in_loop
async def test_a_file_of_the_editor_runs(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        entry = await client.run(drawn(41))
        assert entry["status"]["status_str"] == "success"
        _, _, prompt, extra, _ = entry["prompt"]
        assert prompt["3"]["inputs"] == {"value": ["1", 0], "prefix": "out"} | prompt["3"]["inputs"]
        assert list(prompt) == ["1", "3"]
        assert extra["extra_pnginfo"]["workflow"] == drawn(41)


@in_loop
async def test_a_workflow_alone_and_a_picture_are_requests_too(tmp_path: Path) -> None:
    bodies = [
        json.dumps(drawn(3)).encode(),
        json.dumps(chain(4)).encode(),
        png(prompt=json.dumps(chain(5))),
        latent(workflow=json.dumps(drawn(6))),
        with_exif("AVIF", workflow=json.dumps(drawn(8))),
    ]
    async with serving(deps_of(tmp_path)) as client:
        for body in bodies:
            status, answer = await client.post("/prompt", body)
            assert status == 200, answer
            assert (await client.entry(answer["prompt_id"]))["status"]["status_str"] == "success"
        status, answer = await client.post("/prompt", png(parameters="a cat"))
        assert (status, answer["error"]["message"]) == (400, "the file carries no workflow")


@in_loop
async def test_what_a_file_loses_is_told_with_the_answer(tmp_path: Path) -> None:
    file = drawn()
    file["nodes"][2]["inputs"][0]["link"] = 77
    file["links"].pop()
    async with serving(deps_of(tmp_path)) as client:
        status, answer = await client.post("/prompt", {"prompt": file})
        assert status == 200, answer
        assert [(each["node_id"], each["code"]) for each in answer["warnings"]] == [("3", "link_missing")]


@in_loop
async def test_convert_gives_either_format(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        status, prompt = await client.post("/workflow/convert", drawn(9))
        assert (status, prompt["1"]["inputs"]) == (200, {"value": 9})
        status, file = await client.post("/workflow/convert?to=editor", prompt)
        assert (status, [node["type"] for node in file["nodes"]]) == (200, ["Value", "Save"])
        assert (await client.post("/workflow/convert", file))[1] == prompt
        both = png(prompt=json.dumps(chain(1)), workflow=json.dumps(drawn(2)))
        assert (await client.post("/api/workflow/convert", both))[1].keys() == chain(1).keys()
        assert (await client.post("/workflow/convert?to=editor", both))[1] == drawn(2)
        wrongs: list[Any] = [[], b"{", b"\xff\xfe", {"nodes": 5}, png()]
        for wrong in wrongs:
            status, answer = await client.post("/workflow/convert", wrong)
            assert status == 400, answer
        assert (await client.post("/workflow/convert?to=pdf", drawn()))[0] == 400


@in_loop
async def test_check_says_what_is_missing(tmp_path: Path) -> None:
    file = drawn()
    fancy = {"id": 8, "type": "Fancy", "inputs": [{"name": "a", "link": 3}], "properties": {"cnr_id": "fancy-pack"}}
    file["nodes"].append(fancy)
    file["links"].append([3, 1, 0, 8, 0, "INT"])
    async with serving(deps_of(tmp_path)) as client:
        status, answer = await client.post("/workflow/check", file)
    assert status == 200
    assert answer["types"] == [{"type": "Fancy", "nodes": ["8"], "pack": "fancy-pack"}]
    assert answer["models"] == answer["errors"] == []


@in_loop
async def test_a_file_that_unfolds_to_too_many_nodes_is_refused(tmp_path: Path) -> None:
    definitions = [
        {"id": f"s{level}", "nodes": [{"id": n, "type": f"s{level + 1}"} for n in range(9)], "links": []}
        for level in range(9)
    ]
    file = {"nodes": [{"id": 1, "type": "s0"}], "links": [], "definitions": {"subgraphs": definitions}}
    async with serving(deps_of(tmp_path)) as client:
        status, answer = await client.post("/prompt", {"prompt": file})
    assert (status, answer["error"]["type"]) == (400, "too_many_nodes")


A1111 = (
    "a cat\nNegative prompt: a dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512, Model: nobody"
)


@in_loop
async def test_settings_of_another_program_become_a_workflow(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        for body in (png(parameters=A1111), A1111.encode()):
            status, made = await client.post("/workflow/convert", body)
            assert status == 200, made
            assert made["3"]["inputs"]["sampler_name"] == "euler_ancestral"
            assert made["6"]["inputs"]["text"] == "a cat"
        status, report = await client.post("/workflow/check", png(parameters=A1111))
        assert (status, report["program"]) == (200, "A1111")
        assert any("nobody is not in checkpoints" in warning["message"] for warning in report["warnings"])
        status, drawn_ = await client.post("/workflow/convert?to=editor", png(parameters=A1111))
        assert (status, len(drawn_["nodes"])) == (200, 7)
        status, answer = await client.post("/prompt", png(parameters=A1111))  # the stub nodes have no sampler
        assert status == 400
        assert "CheckpointLoaderSimple" in json.dumps(answer)


@in_loop
async def test_the_users_settings_say_which_labels_files_get(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        assert "labels" not in (await client.run(chain(1)))["prompt"][3]
        await client.post("/settings", {"Darkroom.Labels.Provenance": False, "Darkroom.Labels.Parameters": True})
        extra = (await client.run(chain(2)))["prompt"][3]
        assert extra["labels"] == {"provenance": False, "parameters": True}
        asked = await client.run(chain(3), extra_data={"labels": {"parameters": False}})
        assert asked["prompt"][3]["labels"] == {"provenance": False, "parameters": False}


@in_loop
async def test_texts_are_resolved_for_those_who_ask(tmp_path: Path) -> None:
    file = drawn(4)
    file["nodes"][2]["widgets_values"] = [0, "{cat}"]
    async with serving(deps_of(tmp_path)) as client:
        plain, resolved = await client.run(file), await client.run(file, extra_data={"resolve": True})
    assert plain["prompt"][2]["3"]["inputs"]["prefix"] == "{cat}"
    assert resolved["prompt"][2]["3"]["inputs"]["prefix"] == "cat"
    assert resolved["prompt"][3]["extra_pnginfo"]["workflow"] == file
