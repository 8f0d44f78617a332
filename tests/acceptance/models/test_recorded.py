"""Workflows that ComfyUI ran with the random full-size checkpoint, run here: the same latents, pictures and prompts.

About eight minutes on two cores. `pytest -m acceptance -s tests/acceptance/models/test_recorded.py` prints how near each is.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from models.areas import Area, Share
from models.types import Cond, Conditioning, Image, Latent, Sigmas
from tests.engine import Engine, open_engine
from tests.models.golden import GOLDEN, recorded
from tests.models.oracles import relative_error
from tests.random_checkpoint import random_checkpoint

pytestmark = pytest.mark.acceptance

CASES: dict[str, dict[str, Any]] = {
    case["name"]: case for case in json.loads((GOLDEN / "cases.json").read_text())["cases"]
}
PLAIN = ("text_weights", "euler_normal_s42", "img2img_d0.6", "lora_0.8_0.6")  # with plain weights as well
NEAR = 1e-4
BETWEEN = (
    "sampler_dpm_2_ancestral"  # its midpoints lie halfway between two time steps: rounding decides which one it is
)
ROUNDING = {
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"
}  # as torch's sqrt rounds on AMD's processors, where the cases were recorded


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine with the random checkpoint; its weights packed for oneDNN, as `main.py` has them, or plain."""
    with open_engine(
        tmp_path_factory.mktemp("recorded"), budget=8 * 2**30, packing=request.param == "packed"
    ) as engine:
        checkpoint = random_checkpoint()
        (engine.folders.roots("checkpoints")[0] / checkpoint.name).symlink_to(checkpoint)
        for name in ("golden_input.png", "golden_input_rgba.png", "golden_mask.png"):
            shutil.copy(GOLDEN / name, engine.folders.input_dir)
        for folder, name in (("embeddings", "random_embedding"), ("loras", "random_lora")):
            shutil.copy(GOLDEN / f"{name}.safetensors", engine.folders.roots(folder)[0])
        yield engine


def arrays(array: str, value: object) -> dict[str, Tensor]:
    """A node's output under the names that its parts were recorded by."""
    match value:
        case Latent(samples, noise_mask=mask):
            return {array: samples} | ({} if mask is None else {f"{array}_noise_mask": mask})
        case Sigmas(values):
            return {array: values}
        case Image(pixels):
            return {array: pixels}
        case Conditioning(conds):
            found: dict[str, Tensor] = {}
            for i, cond in enumerate(conds):
                found |= {f"{array}.{i}.0": cond.tokens, f"{array}.{i}.1.pooled_output": cond.pooled}
                found |= {f"{array}.{i}.1.{name}": value for name, value in options(cond).items()}
            return found
        case _:
            raise AssertionError(f"nothing like {value!r} was recorded")


def options(cond: Cond) -> dict[str, Tensor]:
    """Where and when a text counts, as the other program keeps it."""
    said: dict[str, object] = {}
    match cond.area:
        case Area(height, width, y, x):
            said = {f"area.{k}": side for k, side in enumerate((height, width, y, x))}
        case Share(height, width, y, x):
            said = {f"area.{k + 1}": side for k, side in enumerate((height, width, y, x))}  # the first says so: a word
    if cond.area is not None:
        said |= {"strength": cond.strength, "set_area_to_bounds": cond.bounded}
    if (cond.start, cond.end) != (0.0, 1.0):
        said |= {"start_percent": cond.start, "end_percent": cond.end}
    return {name: torch.tensor(value) for name, value in said.items()}


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        *(("packed", name) for name in CASES if name != BETWEEN or ROUNDING.items() <= os.environ.items()),
        *(("plain", name) for name in PLAIN),
    ],
    indirect=["engine"],
    scope="module",
)
def test_a_recorded_workflow(engine: Engine, name: str) -> None:
    case = CASES[name]
    results = engine.run(json.dumps(case["workflow"]), [node for node, _, _ in case["capture"].values()])
    found: dict[str, Tensor] = {}
    for array, (node, slot, _) in case["capture"].items():
        found |= arrays(array, results[node].values[slot])
    expected = recorded(name)
    assert found.keys() == expected.keys()
    for array in expected:
        assert found[array].shape == expected[array].shape
        nothing = not expected[array].any()  # such as "no", for which there is no relative error
        error = float(found[array].any()) if nothing else relative_error(found[array], expected[array])
        print(f"{name} {array}: {error:.1e}")
        assert error <= NEAR, array


def test_a_recorded_workflow_that_rounding_decides() -> None:
    """A process of its own that rounds as the recording one did; elsewhere one of the case's time steps is the next."""
    case = f"{__file__}::test_a_recorded_workflow[packed-{BETWEEN}]"
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-m", "acceptance", "-p", "no:cacheprovider", case]
    run = subprocess.run(command, env=os.environ | ROUNDING, capture_output=True, text=True, timeout=500)
    print(run.stdout)
    assert run.returncode == 0, run.stdout
