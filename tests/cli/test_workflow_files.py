"""Workflow files of every kind on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest

import main
from tests.tiny_checkpoint import write_tiny_checkpoint

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "workflows" / "text_to_image.json"
TINY = ["--set", "4.ckpt_name=tiny.safetensors", "--set", "3.steps=1", "--set", "5.width=32", "--set", "5.height=32"]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Call main.py; gives the exit status, standard output and standard error."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        status = main.main([str(argument) for argument in arguments])
        return (status, *capsys.readouterr())

    return run


def test_a_picture_is_run_again_as_what_made_it(tmp_path: Path, call: Call) -> None:
    (tmp_path / "models/checkpoints").mkdir(parents=True)
    write_tiny_checkpoint(tmp_path / "models/checkpoints/tiny.safetensors")
    status, out, _ = call("convert", WORKFLOW, "--to", "editor", "--base-directory", tmp_path)
    drawn = json.loads(out)
    assert status == 0
    assert [node["type"] for node in drawn["nodes"]].count("KSampler") == 1
    file = tmp_path / "drawn.json"
    for node in drawn["nodes"]:
        if node["type"] == "KSampler":
            node["widgets_values"][2] = 1
        if node["type"] == "EmptyLatentImage":
            node["widgets_values"] = [32, 32, 1]
        if node["type"] == "CheckpointLoaderSimple":
            node["widgets_values"] = ["tiny.safetensors"]
    file.write_text(json.dumps(drawn), "utf-8")
    status, out, _ = call("run", file, "--base-directory", tmp_path, "--cpu")
    assert status == 0
    picture = Path(out.strip())
    with PIL.Image.open(picture) as first:
        assert json.loads(first.info["workflow"]) == drawn
        status, out, _ = call("run", picture, "--base-directory", tmp_path, "--cpu")
        assert status == 0
        with PIL.Image.open(Path(out.strip())) as second:
            assert second.tobytes() == first.tobytes()


def test_convert_goes_both_ways(tmp_path: Path, call: Call) -> None:
    _, out, _ = call("convert", WORKFLOW, "--to", "editor", "--base-directory", tmp_path)
    drawn = tmp_path / "drawn.json"
    drawn.write_text(out, "utf-8")
    status, out, err = call("convert", drawn, "--base-directory", tmp_path)
    assert (status, err) == (0, "")
    made = json.loads(out)
    for key, node in json.loads(WORKFLOW.read_text("utf-8")).items():
        assert {name: made[key]["inputs"][name] for name in node["inputs"]} == node["inputs"]
        assert set(made[key]["inputs"]) - set(node["inputs"]) <= {"parameters"}  # which had no value


def test_check_tells_each_thing_once(tmp_path: Path, call: Call) -> None:
    url = "https://example.org/big.safetensors"
    models = [{"name": "big.safetensors", "url": url, "directory": "checkpoints"}]
    nodes = [
        {
            "id": 1,
            "type": "CheckpointLoaderSimple",
            "widgets_values": ["big.safetensors"],
            "properties": {"models": models},
        },
        {"id": 2, "type": "FancySampler", "properties": {"cnr_id": "fancy-pack"}, "inputs": [{"name": "m", "link": 1}]},
        {"id": 3, "type": "FancySampler", "properties": {"cnr_id": "fancy-pack"}, "inputs": [{"name": "m", "link": 2}]},
    ]
    links = [[1, 1, 0, 2, 0, "MODEL"], [2, 1, 0, 3, 0, "MODEL"]]
    file = tmp_path / "file.json"
    file.write_text(json.dumps({"nodes": nodes, "links": links}), "utf-8")
    status, out, _ = call("check", file, "--base-directory", tmp_path)
    assert status == 2
    assert out.splitlines()[:2] == [
        "node type FancySampler is unknown here; the pack fancy-pack has it (node 2, 3)",
        f"model big.safetensors is not in checkpoints; to be had at {url}",
    ]
    assert out.count("FancySampler") == out.count("big.safetensors is not") == 1
    _, out, _ = call("check", file, "--json", "--base-directory", tmp_path)
    assert json.loads(out)["types"][0]["pack"] == "fancy-pack"
    status, out, _ = call("check", WORKFLOW, "--base-directory", tmp_path)
    assert (status, out) == (0, "nothing is missing: the workflow can run\n")


def test_files_without_a_workflow_are_told(tmp_path: Path, call: Call) -> None:
    picture = tmp_path / "plain.png"
    PIL.Image.new("RGB", (8, 8)).save(picture)
    for command in ("run", "convert", "check"):
        status, out, err = call(command, picture, "--base-directory", tmp_path)
        assert status == 2
        assert "the file carries no workflow" in out + err


def test_texts_and_seeds_are_what_an_editor_would_make_of_them(tmp_path: Path, call: Call) -> None:
    (tmp_path / "models/checkpoints").mkdir(parents=True)
    write_tiny_checkpoint(tmp_path / "models/checkpoints/tiny.safetensors")
    _, out, _ = call("convert", WORKFLOW, "--to", "editor", "--base-directory", tmp_path)
    drawn = json.loads(out)
    for node in drawn["nodes"]:
        match node["type"]:
            case "KSampler":
                node["widgets_values"] = [5, "increment", 1, *node["widgets_values"][3:]]
            case "EmptyLatentImage":
                node["widgets_values"] = [32, 32, 1]
            case "CheckpointLoaderSimple":
                node["widgets_values"] = ["tiny.safetensors"]
            case "SaveImage":
                node["widgets_values"] = ["%KSampler.seed%-seed"]
            case "CLIPTextEncode":
                node["widgets_values"] = ["{cat}"]
    file = tmp_path / "drawn.json"
    file.write_text(json.dumps(drawn, indent=4), "utf-8")
    given = ["run", file, "--base-directory", tmp_path, "--cpu", "--seed-after", "--resolve"]
    for seed in (5, 6):
        status, out, _ = call(*given)
        assert (status, Path(out.strip()).name) == (0, f"{seed}-seed_00001_.png")
    [sampler] = (node for node in json.loads(file.read_text("utf-8"))["nodes"] if node["type"] == "KSampler")
    assert sampler["widgets_values"][0] == 7
    assert file.read_text("utf-8").startswith('{\n    "')
    with PIL.Image.open(out.strip()) as picture:
        prompt = json.loads(picture.info["prompt"])
    assert {node["inputs"]["text"] for node in prompt.values() if node["class_type"] == "CLIPTextEncode"} == {"cat"}
    status, _, err = call("run", WORKFLOW, *given[2:], "--seed", "1", *TINY)
    assert status == 2
    assert "expected a workflow of the editor" in err
