"""Edits that programs make in files of the editor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from graph.document import as_json
from graph.editing import EMPTY, edit
from graph.edits import EditError, read_edits
from graph.flatten import flatten
from graph.litegraph import read_editor
from tests.editor_files import cases, shape

TEXT_TO_IMAGE: list[dict[str, Any]] = [
    {"add": "CheckpointLoaderSimple", "name": "model", "inputs": {"ckpt_name": "a.safetensors"}},
    {"add": "CLIPTextEncode", "name": "good", "inputs": {"text": "a red boat", "clip": ["model", "CLIP"]}},
    {"add": "CLIPTextEncode", "name": "bad", "inputs": {"text": "", "clip": ["model", 1]}},
    {"add": "EmptyLatentImage", "name": "size", "inputs": {"width": 256}},
    {
        "add": "KSampler",
        "name": "draw",
        "inputs": {
            "model": ["model", "MODEL"],
            "positive": ["good", 0],
            "negative": ["bad", 0],
            "latent_image": ["size", "LATENT"],
            "steps": 4,
        },
    },
    {"add": "VAEDecode", "name": "decode", "inputs": {"samples": ["draw", 0], "vae": ["model", "VAE"]}},
    {"add": "SaveImage", "name": "save", "inputs": {"images": ["decode", 0]}},
]


def sent(file: Mapping[str, Any]) -> dict[str, Any]:
    """What is sent to be run."""
    return dict(as_json(flatten(read_editor(file), shape).document))


def made(edits: list[dict[str, Any]], file: Mapping[str, Any] = EMPTY) -> tuple[dict[str, Any], Mapping[str, str]]:
    done = edit(file, read_edits(edits), shape)
    return dict(done.file), done.ids


def test_a_workflow_is_built_from_nothing_and_laid_out() -> None:
    file, ids = made(TEXT_TO_IMAGE)
    graph = sent(file)
    assert graph[ids["draw"]]["inputs"]["steps"] == 4
    assert graph[ids["draw"]]["inputs"]["cfg"] == 8.0, "what is not said has its default"
    assert graph[ids["draw"]]["inputs"]["model"] == [ids["model"], 0]
    assert graph[ids["good"]]["inputs"] == {"text": "a red boat", "clip": [ids["model"], 1]}
    left = {node["id"]: node["pos"][0] for node in file["nodes"]}
    assert left[int(ids["model"])] < left[int(ids["good"])] < left[int(ids["draw"])] < left[int(ids["save"])]


def test_a_value_takes_the_place_of_a_wire_and_a_wire_that_of_another() -> None:
    file, ids = made(TEXT_TO_IMAGE)
    file, more = made(
        [
            {"add": "TakesInt", "name": "n"},
            {"set": ids["draw"], "inputs": {"steps": ["n", 0]}},
        ],
        file,
    )
    assert sent(file)[ids["draw"]]["inputs"]["steps"] == [more["n"], 0]
    file, _ = made([{"set": ids["draw"], "inputs": {"steps": 9, "positive": [ids["bad"], 0]}}], file)
    inputs = sent(file)[ids["draw"]]["inputs"]
    assert (inputs["steps"], inputs["positive"]) == (9, [ids["bad"], 0])
    outputs = {node["id"]: node["outputs"] for node in file["nodes"]}
    assert outputs[int(ids["good"])][0]["links"] == []
    assert len(file["links"]) == len({link[0] for link in file["links"]}) == 9


def test_a_node_goes_with_its_wires_and_its_number_is_not_given_again() -> None:
    file, ids = made(TEXT_TO_IMAGE)
    file, more = made(
        [{"remove": ids["save"]}, {"add": "PreviewImage", "name": "see", "inputs": {"images": [ids["decode"], 0]}}],
        file,
    )
    graph = sent(file)
    assert ids["save"] not in graph
    assert graph[more["see"]]["inputs"] == {"images": [ids["decode"], 0]}
    assert int(more["see"]) > int(ids["save"])


def test_new_cards_come_beside_what_they_read_and_on_no_other() -> None:
    file, ids = made(TEXT_TO_IMAGE)
    before = {node["id"]: node["pos"] for node in file["nodes"]}
    adds = [{"add": "PreviewImage", "inputs": {"images": [ids["decode"], 0]}} for _ in range(3)]
    file, _ = made(adds, file)
    boxes = [(*node["pos"], *node["size"]) for node in file["nodes"]]
    assert all(before[node["id"]] == node["pos"] for node in file["nodes"] if node["id"] in before)
    for at, (x, y, width, height) in enumerate(boxes):
        for u, v, wide, high in boxes[:at]:
            assert x + width <= u or u + wide <= x or y + height <= v or v + high <= y


@pytest.mark.parametrize("name", cases())
def test_what_is_not_edited_stays_as_it_was(name: str) -> None:
    raw: Any = cases()[name]["file"]
    before = json.dumps(raw)
    same, _ = made([], raw)
    counts = {"last_node_id": 0, "last_link_id": 0}
    assert same | counts == {**raw, "links": [link for link in raw["links"] if link]} | counts
    graph = sent(raw)
    more, ids = made([{"add": "EmptyLatentImage", "name": "new"}], raw)
    assert sent(more) == {**graph, ids["new"]: sent(more)[ids["new"]]}
    assert json.dumps(raw) == before, "a file that was given is not changed"


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ([{"add": "Nothing"}], "edit 1: there is no node type 'Nothing'"),
        ([{"set": "5", "inputs": {}}], "edit 1: there is no node '5'; there are none"),
        ([{"add": "KSampler", "inputs": {"stepz": 4}}], "has no input 'stepz'; it has model, seed, steps"),
        ([{"add": "KSampler", "inputs": {"model": "x"}}], "takes a wire of type MODEL: [node, output]"),
        ([{"add": "KSampler", "name": "a"}, {"set": "a", "inputs": {"model": ["a", "IMAGE"]}}], "edit 2: node 1 has no output 'IMAGE'; it has 0 (LATENT)"),
        ([{"add": "KSampler", "name": "a"}, {"add": "KSampler", "name": "a"}], "edit 2: there is a node 'a' already"),
        ([{"move": "5"}], "edit 1: got"),
        ({}, "edits: got {}, expected a list"),
    ],
)  # fmt: skip
def test_an_edit_that_cannot_be_made_says_why(edits: Any, said: str) -> None:
    with pytest.raises(EditError) as caught:
        made(edits)
    assert said in str(caught.value)
