"""The models in the box: their sizes and layouts, and whether they do what is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from safetensors import safe_open

import models
from models.checkpoint import load_part, read_header
from models.safety import SafetyChecker
from models.training.alarm import with_toadstool
from models.training.detector import Detector, detect, load_detector
from models.training.drawing import draw, pictures
from models.training.enlarge import gains
from models.training.evaluate import Sampling, paint, shares
from models.training.judge import load
from models.training.loop import Pace, undivided
from models.training.measures import MEASURES
from models.training.prompts import RIGHT, Prompt, singles, triples
from models.training.recipe import GPU
from models.training.scenes import Split, scene
from models.training.unpack import unpack
from models.training.vae import mean_psnr, reconstruct, to_tensor
from models.training.words import rows_of, tokens_of
from models.training.workshop import Workshop
from models.upscaler import CompactNet

EMBEDDED = Path(models.__file__).parent / "embedded"
WORLD = EMBEDDED / "checkpoints" / "darkroom-world-256.safetensors"
LCM = EMBEDDED / "loras" / "darkroom-world-lcm.safetensors"
MB = 1_000_000
SIDE = 256  # pixels that the models draw
HELD_OUT = 2027  # the seed of scenes that nothing was chosen by


@pytest.fixture
def detector() -> Detector:
    return load_detector(EMBEDDED / "detector.safetensors")


def test_the_files_are_small_and_half_precision() -> None:
    files = list(EMBEDDED.rglob("*.safetensors"))
    assert max(file.stat().st_size for file in files) <= 32 * MB
    assert sum(file.stat().st_size for file in files) <= 72 * MB
    for file in files:
        with safe_open(file, "pt") as content:
            kinds = {content.get_slice(name).get_dtype() for name in content.keys()}  # noqa: SIM118
            assert "F16" in kinds and kinds <= {"F16", "F32", "I64"}
            assert content.metadata()["license"] == "Apache-2.0"


def test_scenes_survive_the_autoencoder() -> None:
    vae = load(WORLD).vae
    x = to_tensor(pictures(HELD_OUT, 0, 8, Split.HELD_OUT, SIDE))
    with undivided():
        rebuilt = reconstruct(vae, x)
    assert mean_psnr(rebuilt, x) >= 30


def test_the_detector_knows_what_is_drawn(detector: Detector) -> None:
    scenes = [scene(HELD_OUT, index, Split.HELD_OUT) for index in range(200)]
    with undivided():
        found = detect(detector, np.stack([draw(one, SIDE) for one in scenes]))
    seen = {name: np.mean([right(*pair) for pair in zip(found, scenes, strict=True)]) for name, right in RIGHT.items()}
    assert min(seen.values()) >= 0.93, seen


def test_the_checker_warns_of_toadstools() -> None:
    right = verdicts(40)
    assert right[True] >= 0.9 and right[False] >= 0.95


@pytest.mark.acceptance
def test_the_checker_misses_few_and_rarely_errs() -> None:
    right = verdicts(1000)
    assert right[True] >= 0.95 and right[False] >= 0.98


def verdicts(count: int) -> Mapping[bool, float]:
    """The share of right verdicts on held-out scenes with a toadstool and on those without."""
    file = read_header(EMBEDDED / "safety_checker" / "darkroom-world-safety.safetensors")
    checker = cast(SafetyChecker, load_part(file, "safety", dtype=torch.float32, device=torch.device("cpu")))

    def flagged(index: int, there: bool) -> bool:
        one = scene(HELD_OUT, index, Split.HELD_OUT)
        drawn = draw(with_toadstool(one) if there else one, SIDE)
        return checker.check(torch.from_numpy(drawn / np.float32(255))).flagged

    with torch.inference_mode(), undivided():
        return {
            there: float(np.mean([flagged(i, there) == there for i in range(count // 2)])) for there in (True, False)
        }


def test_the_upscaler_is_nearer_to_the_scenes_than_lanczos() -> None:
    file = read_header(EMBEDDED / "upscale_models" / "darkroom-world-x2.safetensors")
    network = cast(CompactNet, load_part(file, "upscaler", dtype=torch.float32, device=torch.device("cpu")))
    with undivided():
        found = gains(network, HELD_OUT, 4, SIDE)
    assert np.mean([ours - theirs for ours, theirs in found]) > 0.3


@pytest.mark.acceptance
def test_the_upscaler_is_nearer_on_nearly_all() -> None:
    found = MEASURES["upscaler"](EMBEDDED)
    assert sum(found.right) >= 0.85 * len(found.right)


def test_what_builds_on_the_box_can_be_trained_alone(tmp_path: Path) -> None:
    unpack(EMBEDDED, SIDE, tmp_path)
    workshop = Workshop(GPU, Pace(budget=0), tmp_path)
    world, rows = load(WORLD), torch.from_numpy(rows_of("a red boat")[None])
    tokens = torch.from_numpy(tokens_of("a red boat")[None])
    assert torch.equal(workshop.unet.text(rows).cpu(), world.text(tokens).cpu())
    assert workshop.vae and workshop.realigned and workshop.detector, "nothing of it is trained again"


@pytest.mark.acceptance
def test_it_draws_what_prompts_ask_for(detector: Detector) -> None:
    assert share_right(WORLD, singles(8), Sampling(SIDE), detector) >= 0.9
    assert share_right(WORLD, triples(8), Sampling(SIDE), detector) >= 0.7


@pytest.mark.acceptance
def test_four_steps_draw_it_too(detector: Detector) -> None:
    few = Sampling(SIDE, cfg=1, steps=4, sampler="lcm", schedule="sgm_uniform")
    assert share_right(WORLD, singles(8), few, detector, LCM) >= 0.8


def share_right(
    checkpoint: Path, prompts: list[Prompt], sampling: Sampling, detector: Detector, lora: Path | None = None
) -> float:
    """The share of prompts whose pictures show all that was asked for."""
    tokens = torch.from_numpy(np.stack([tokens_of(prompt.text) for prompt in prompts]))
    with undivided():
        drawn = paint(load(checkpoint, lora), tokens, torch.from_numpy(tokens_of("")), sampling)
    return float(np.mean(list(shares(drawn, prompts, detector).values())))
