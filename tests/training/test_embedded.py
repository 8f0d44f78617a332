"""The checkpoint in the box: its size, its layout, its autoencoder, and whether it draws what it is asked for."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import models
from models.training.evaluate import Sampling, paint
from models.training.judge import load
from models.training.loop import undivided
from models.training.vae import psnr, reconstruct, to_pixels, to_tensor
from models.training.words import tokens_of
from tests.training.shapes import COLOURS, SHAPES, detect, drawn

CHECKPOINT = Path(models.__file__).parent / "embedded" / "checkpoints" / "darkroom-shapes-64.safetensors"
PROMPTS = (
    "a red circle and a blue square on a white background",
    "a large yellow star at the top on a black background",
    "a green heart on the left and an orange star on the right on a white background",
    "a small purple heart in the centre on a yellow background",
    "a white star above a red triangle on a blue background",
    "an orange circle and a purple square on a black background",
    "a blue triangle to the left of a yellow circle on a white background",
    "a black star and a red heart on a yellow background",
    "a purple triangle on a green background",
    "a green circle and a yellow star on a purple background",
)
THING = re.compile(rf"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})")


def test_the_file_is_small_and_half_precision() -> None:
    assert CHECKPOINT.stat().st_size <= 40_000_000
    with safe_open(CHECKPOINT, "pt") as content:
        kinds = {content.get_slice(name).get_dtype() for name in content.keys()}  # noqa: SIM118
        assert kinds == {"F16", "F32", "I64"}
        assert content.metadata()["license"] == "Apache-2.0"


def test_drawn_shapes_survive_its_autoencoder() -> None:
    vae = load(CHECKPOINT).vae
    grounds = [COLOURS[(i + 3) % len(COLOURS)] for i in range(len(COLOURS))]
    things = [((colour, SHAPES[i % len(SHAPES)]),) for i, colour in enumerate(COLOURS)]
    x = to_tensor(np.stack([drawn(*one) for one in zip(things, grounds, strict=True)]))
    with undivided():
        rebuilt = reconstruct(vae, x)
    assert psnr(rebuilt, x) >= 26
    assert [detect(picture).things for picture in to_pixels(rebuilt)] == things


@pytest.mark.acceptance
def test_it_draws_what_prompts_ask_for() -> None:
    tokens = torch.from_numpy(np.stack([tokens_of(prompt) for prompt in PROMPTS]))
    with undivided():
        pictures = paint(load(CHECKPOINT), tokens, torch.from_numpy(tokens_of("")), Sampling(size=64))
    hits = [
        detect(one).things == tuple(sorted(THING.findall(prompt)))
        for one, prompt in zip(pictures, PROMPTS, strict=True)
    ]
    assert np.mean(hits) >= 0.8
