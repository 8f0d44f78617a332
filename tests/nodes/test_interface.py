"""What clients and users' files rely on: names, order, defaults and ranges of inputs and outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from graph.files import Folders
from graph.object_info import describe
from nodes.registry import builtin

KNOWN: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data" / "nodes.json").read_text())
FACTS = [fact for fact in KNOWN if fact["class"] in builtin()]  # what the others are is known, but not built yet
OPTIONS = (
    "default",
    "min",
    "max",
    "step",
    "round",
    "multiline",
    "dynamicPrompts",
    "control_after_generate",
    "image_upload",
)

OURS = {"sampler_name": ["plms"]}  # choices that no other program has come last
BESIDES = {
    ("SaveImage", "optional"): ["parameters"],
    ("ControlNetApplyAdvanced", "optional"): ["mask"],
    ("DiffusersLoader", "optional"): ["variant"],
}  # inputs that no other program has, and nobody need give


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders.standard(tmp_path)


@pytest.mark.parametrize("fact", FACTS, ids=[fact["class"] for fact in FACTS])
def test_a_node_is_described_as_clients_know_it(fact: dict[str, Any], folders: Folders) -> None:
    info: dict[str, Any] = describe(builtin()[fact["class"]], folders)
    assert info["name"] == fact["class"]
    assert info["display_name"] == fact["display_name"]
    assert info["category"] == fact["category"]
    assert info["output_node"] is fact["output_node"]
    assert info["output"] == [output["type"] for output in fact["outputs"]]
    assert info["output_name"] == [output["name"] for output in fact["outputs"]]
    assert info["output_is_list"] == [output["is_list"] for output in fact["outputs"]]
    for group in ("required", "optional", "hidden"):
        wanted = [entry["name"] for entry in fact["inputs"] if entry["group"] == group]
        wanted += BESIDES.get((fact["class"], group), [])
        assert list(info["input"].get(group, {})) == info["input_order"].get(group, []) == wanted


INPUTS = [(fact["class"], entry) for fact in FACTS for entry in fact["inputs"]]


@pytest.mark.parametrize(("node", "entry"), INPUTS, ids=[f"{node}.{entry['name']}" for node, entry in INPUTS])
def test_an_input_has_the_type_default_and_range_that_clients_know(
    node: str, entry: dict[str, Any], folders: Folders
) -> None:
    info: dict[str, Any] = describe(builtin()[node], folders)
    given = info["input"][entry["group"]][entry["name"]]
    if entry["group"] == "hidden":
        assert given == entry["type"]
        return
    socket, options = given
    told = {name: options.get(name) for name in OPTIONS} | {"multiline": options.get("multiline", False)}
    assert told == {name: entry.get(name) for name in OPTIONS} | {"multiline": entry.get("multiline", False)}
    if entry["type"] != "COMBO":
        assert socket == entry["type"]
    elif "values" in entry:
        assert socket == "COMBO" if entry["combo_form"] == "typed" else isinstance(socket, list)
        offered = options["options"] if socket == "COMBO" else socket
        known = [name for name in dict.fromkeys(entry["values"]) if name in offered]
        assert known and offered[: len(known)] == known, "a part of the known names, in their order; then our own"
    elif entry["combo_form"] == "typed":
        assert socket == "COMBO" and isinstance(options["options"], list)
    else:
        assert isinstance(socket, list)  # the files that are there now


@pytest.mark.parametrize(("node", "entry"), [(n, e) for n, e in INPUTS if "folder" in e])
def test_a_file_input_offers_the_files_of_its_folder(node: str, entry: dict[str, Any], folders: Folders) -> None:
    suffix = entry.get("filter_extension", ".png" if entry["folder"] in ("input", "output") else ".safetensors")
    root = folders.roots(entry["folder"])[0]
    offered = ["a", "b"] if entry["folder"] == "diffusers" else [f"a{suffix}", f"b{suffix}"]
    for name in offered[::-1]:
        path = root / name / "model_index.json" if entry["folder"] == "diffusers" else root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    info: dict[str, Any] = describe(builtin()[node], folders)
    socket, options = info["input"]["required"][entry["name"]]
    assert (options["options"] if socket == "COMBO" else socket) == offered


@pytest.mark.parametrize("spec", builtin().values(), ids=builtin())
def test_every_node_says_what_it_and_its_inputs_are_for(spec: Any) -> None:
    assert spec.description
    assert all(declared.tooltip for declared in spec.inputs)
    assert all(output.tooltip for output in spec.outputs)
