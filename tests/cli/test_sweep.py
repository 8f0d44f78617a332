"""`--sweep` on the command line: what can be typed, what runs for it, and what is printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

import main
from server.sweep_options import read_option
from tests.tiny_checkpoint import write_tiny_checkpoint

WORKFLOW = Path(__file__).parents[2] / "workflows" / "text_to_image.json"
TINY = ["--set", "3.steps=2", "--set", "5.width=32", "--set", "5.height=32", "--cpu"]
DESCRIBED: dict[str, Any] = {
    "input": {
        "required": {
            "cfg": ["FLOAT", {}],
            "seed": ["INT", {}],
            "text": ["STRING", {}],
            "on": ["BOOLEAN", {}],
            "ckpt_name": [["a.safetensors", "b.safetensors", "c.ckpt"], {}],
        },
        "optional": {"mode": ["COMBO", {"options": ["euler", "heun"]}]},
    }
}

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base directory with two checkpoints."""
    for seed, name in enumerate(("one", "two")):
        write_tiny_checkpoint(tmp_path / "models" / "checkpoints" / f"{name}.safetensors", seed)
    return tmp_path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Call main.py; gives the exit status, standard output and standard error."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        status = main.main([str(argument) for argument in arguments])
        return (status, *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("3.cfg=2,4,6.5", {"__sweep__": [2, 4, 6.5]}),
        ("3.cfg=1..2:0.25", {"__sweep__": [1.0, 1.25, 1.5, 1.75, 2.0]}),
        ("3.cfg=0.1..0.3:0.1", {"__sweep__": [0.1, 0.2, 0.3]}),
        ("3.seed=1..4,9", {"__sweep__": [1, 2, 3, 4, 9]}),
        ("3.seed@pair=5, 6", {"__sweep__": [5, 6], "axis": "pair"}),
        ('3.text=a cat,"a dog, red"', {"__sweep__": ["a cat", "a dog, red"]}),
        ('3.text=["a cat, red", "1..2"]', {"__sweep__": ["a cat, red", "1..2"]}),
        ("3.text=1..2", {"__sweep__": ["1..2"]}),
        ("3.on=true,false", {"__sweep__": [True, False]}),
        ("3.ckpt_name=*.safetensors", {"__sweep__": ["a.safetensors", "b.safetensors"]}),
        ("3.mode=*", {"__sweep__": ["euler", "heun"]}),
        ("3.cfg=many", {"__sweep__": ["many"]}),
    ],
)
def test_what_can_be_typed(typed: str, expected: object) -> None:
    assert read_option(typed, {"3": {}}).on("Type", lambda type_: DESCRIBED) == expected


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("3.cfg", "expected NODE.INPUT=VALUES, such as 3.cfg=2,4,6"),
        ("3.cfg=", "expected NODE.INPUT=VALUES, such as 3.cfg=2,4,6"),
        ("4.cfg=1,2", "the workflow has no node '4'"),
        ("3.cgf=1,2", "Type has no input 'cgf' (did you mean 'cfg'?)"),
        ("3.cfg=8..2", "got '8..2', expected a range that rises, with a step above 0"),
        ("3.cfg=1..2:0", "got '1..2:0', expected a range that rises, with a step above 0"),
        ("3.seed=1..2:0.5", "got '1..2:0.5', expected integers"),
        ("3.seed=1..1000000000", "got a range of 1000000000 values, expected at most 20000"),
        ("3.cfg=1..x", "got '1..x', expected a range such as 2..8 or 2..8:0.5"),
        ("3.ckpt_name=z*", "nothing fits 'z*'; choices: 'a.safetensors', 'b.safetensors', 'c.ckpt'"),
        ("3.text=[1", "begins like a JSON list and is none"),
    ],
)
def test_what_cannot_be_taken_is_said(typed: str, message: str) -> None:
    with pytest.raises(ValueError, match="--sweep") as caught:
        read_option(typed, {"3": {}}).on("Type", lambda type_: DESCRIBED)
    assert str(caught.value) == f"--sweep {typed}: {message}"


def test_a_node_id_may_have_dots() -> None:
    assert read_option("1.2.cfg=1,2", {"1.2": {}}).node == "1.2"


def test_run_draws_every_combination_in_one_graph(base: Path, call: Call) -> None:
    sweeps = ["--sweep", "4.ckpt_name=???.safetensors", "--sweep", "3.cfg=2,4", "--set", "4.ckpt_name=one.safetensors"]
    status, out, err = call("run", WORKFLOW, "--base-directory", base, *TINY, *sweeps)
    assert status == 0, err
    files = [Path(line) for line in out.splitlines()]
    made = []
    for file in files:
        with PIL.Image.open(file) as picture:
            prompt = json.loads(picture.info["prompt"])
            assert "trainedAlgorithmicMedia" in picture.info["XML:com.adobe.xmp"], (
                "every cell says that a model drew it"
            )
            assert "__sweep__" not in picture.info["workflow"]
        made.append((prompt["4"]["inputs"]["ckpt_name"], prompt["3"]["inputs"]["cfg"]))
    assert made == [(f"{name}.safetensors", cfg) for name in ("one", "two") for cfg in (2, 4)]
    assert "(ckpt_name one, cfg 4): step 2 of 2" in err


def test_the_workflow_in_a_cell_makes_the_same_picture(base: Path, call: Call) -> None:
    name = ["--set", "4.ckpt_name=one.safetensors"]
    _, out, _ = call("run", WORKFLOW, "--base-directory", base, *TINY, *name, "--sweep", "3.seed=1..3", "--json")
    answer = json.loads(out)
    assert answer["sweep"]["axes"][0]["labels"] == ["1", "2", "3"]
    assert [entry["cell"] for entry in answer["outputs"]["9"]["images"]] == [[0], [1], [2]]
    with PIL.Image.open(answer["files"][1]) as picture:
        alone = base / "alone.json"
        alone.write_text(picture.info["prompt"])
        pixels = picture.tobytes()
    _, out, _ = call("run", alone, "--base-directory", base, "--cpu")
    with PIL.Image.open(out.strip()) as picture:
        assert picture.tobytes() == pixels


def test_a_fault_in_one_value_is_told_before_anything_runs(base: Path, call: Call) -> None:
    name = ["--set", "4.ckpt_name=one.safetensors"]
    status, out, err = call("run", WORKFLOW, "--base-directory", base, *TINY, *name, "--sweep", "3.cfg=2,many")
    assert (status, out) == (2, "")
    assert "node 3 (KSampler), input 'cfg': value 2 of 2: got 'many', expected a number" in err
    status, _, err = call("run", WORKFLOW, "--base-directory", base, *TINY, *name, "--sweep", "3.cgf=2,4")
    assert status == 2
    assert "KSampler has no input 'cgf' (did you mean 'cfg'?)" in err
