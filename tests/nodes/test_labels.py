"""What picture files say: the workflow, where the picture comes from, and how it was made."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import PIL.Image
import pytest
import torch

from graph.document import parse
from graph.flatten import flatten
from graph.labels import Labels
from graph.litegraph import read_editor
from graph.node_shapes import shapes_of
from graph.parameters_text import read_parameters
from models.types import Image
from nodes.image import save_image
from nodes.labels import Format, Said, write_picture
from nodes.registry import builtin
from server.carried import carried
from tests.nodes.conftest import Workplace

DRAWN = """{
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sub/v1-5.safetensors"}},
    "20": {"class_type": "LoraLoader", "inputs": {"lora_name": "detail.safetensors", "strength_model": 0.5,
        "strength_clip": 0.5, "model": ["4", 0], "clip": ["4", 1]}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["20", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "a dog", "clip": ["20", 1]}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 96, "batch_size": 1}},
    "3": {"class_type": "KSampler", "inputs": {"seed": 77, "steps": 9, "cfg": 6.5, "sampler_name": "dpmpp_2m",
        "scheduler": "karras", "denoise": 1.0, "model": ["20", 0], "positive": ["6", 0], "negative": ["7", 0],
        "latent_image": ["5", 0]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}}
}"""
LOADED = """{
    "1": {"class_type": "LoadImage", "inputs": {"image": "cat.png"}},
    "2": {"class_type": "ImageScale", "inputs": {"image": ["1", 0], "upscale_method": "bilinear", "width": 8,
        "height": 8, "crop": "disabled"}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}}
}"""
TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def source_type(xmp: str) -> str:
    """IPTC's digital source type in an XMP packet, read as XML."""
    root = ET.fromstring(xmp.split("?>", 1)[1].rsplit("<?xpacket", 1)[0])
    return root.findtext(".//{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType") or ""


def saved(
    place: Workplace, text: str, *, extra: Any = None, labels: Labels | None = None, **inputs: Any
) -> dict[str, str]:
    """The texts of a picture that node 9 of a workflow saves."""
    ctx = place.ctx(document=parse(text), extra=extra or {})
    services = replace(ctx.services, shapes=shapes_of(builtin(), ctx.services.folders), labels=labels or Labels())
    ctx = replace(ctx, node_id="9", services=services)
    [entry] = save_image(ctx, images=Image(torch.rand(1, 8, 8, 3)), filename_prefix="x", **inputs).ui["images"]
    return dict(carried((place.output / entry["filename"]).read_bytes()).texts)


def test_a_drawn_picture_says_that_a_model_made_it(place: Workplace) -> None:
    assert source_type(saved(place, DRAWN)["xml:com.adobe.xmp"]) == TRAINED


def test_a_picture_that_was_only_scaled_does_not(place: Workplace) -> None:
    assert "xml:com.adobe.xmp" not in saved(place, LOADED)
    unknown = LOADED.replace("ImageScale", "SomebodysPainter")
    assert source_type(saved(place, unknown)["xml:com.adobe.xmp"]) == TRAINED  # who knows


def test_those_who_must_not_can_leave_it_out(place: Workplace) -> None:
    assert "xml:com.adobe.xmp" not in saved(place, DRAWN, labels=Labels(provenance=False))
    assert "xml:com.adobe.xmp" not in saved(place, DRAWN, extra={"labels": {"provenance": False}})
    refused = saved(place, DRAWN, labels=Labels(provenance=False), extra={"labels": {"provenance": True}})
    assert "xml:com.adobe.xmp" not in refused


def test_a_picture_made_without_an_editor_carries_a_laid_out_file(place: Workplace) -> None:
    texts = saved(place, DRAWN)
    file = json.loads(texts["workflow"])
    assert len({tuple(node["pos"]) for node in file["nodes"]}) == 8
    again = flatten(read_editor(file), shapes_of(builtin(), place.ctx().services.folders)).document
    assert {key: node.inputs for key, node in again.nodes.items()} == {
        key: dict(node.inputs) for key, node in parse(texts["prompt"]).nodes.items()
    } | {"9": {**parse(texts["prompt"]).nodes["9"].inputs, "parameters": False}}
    own = saved(place, DRAWN, extra={"extra_pnginfo": {"workflow": {"nodes": []}}})
    assert own["workflow"] == '{"nodes": []}'


def test_nothing_is_written_where_the_operator_wants_no_metadata(place: Workplace) -> None:
    assert saved(place, DRAWN, labels=Labels(workflow=False, provenance=False)) == {}


@pytest.mark.parametrize(
    "how", [{"parameters": True}, {"labels": Labels(parameters=True)}, {"extra": {"labels": {"parameters": True}}}]
)
def test_how_it_was_made_is_written_in_a1111s_words(place: Workplace, how: dict[str, Any]) -> None:
    text = saved(place, DRAWN, **how)["parameters"]
    assert text.startswith(
        "a cat <lora:detail:0.5>\nNegative prompt: a dog\nSteps: 9, Sampler: DPM++ 2M, Schedule type: Karras,"
    )
    made = read_parameters(text)
    assert (made.seed, made.cfg, made.width, made.height, made.model) == (77, 6.5, 64, 96, "v1-5")
    assert "parameters" not in saved(place, DRAWN)


@pytest.mark.parametrize("kind", get_args(Format))
def test_every_format_says_all_of_it(tmp_path: Path, kind: Format) -> None:
    said = Said({"prompt": "{}", "workflow": '{"nodes": []}', "parameters": "naïve 🐈\nSteps: 1, Seed: 2"}, "<x/>")
    path = tmp_path / "picture"
    write_picture(PIL.Image.new("RGB", (16, 16)), path, kind, said)
    with PIL.Image.open(path) as picture:
        assert picture.format == kind
    texts = carried(path.read_bytes()).texts
    assert (texts["prompt"], texts["workflow"]) == ("{}", '{"nodes": []}')
    assert texts.get("parameters", texts.get("usercomment")) == said.texts["parameters"]
    assert texts.get("xmp", texts.get("xml:com.adobe.xmp")) == "<x/>"
