"""The checkpoint in the box: its size, its layout, its autoencoder, and whether it draws what it is asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors import safe_open

from models.training.__main__ import CHECKPOINT
from models.training.evaluate import PROMPTS, Sampling, held_out_scenes, hit, paint, score
from models.training.judge import load
from models.training.loop import undivided
from models.training.scenes import Split, draw, scene, split_of
from models.training.vae import psnr, reconstruct, to_pixels, to_tensor
from models.training.words import tokens_of

HELD_OUT = 64


def test_the_file_is_small_and_half_precision() -> None:
    assert CHECKPOINT.stat().st_size <= 40_000_000
    with safe_open(CHECKPOINT, "pt") as content:
        kinds = {content.get_slice(name).get_dtype() for name in content.keys()}  # noqa: SIM118
        assert kinds == {"F16", "F32", "I64"}
        assert content.metadata()["license"] == "Apache-2.0"


def test_drawn_scenes_survive_its_autoencoder() -> None:
    vae = load(CHECKPOINT).vae
    scenes = [scene(9, index, Split.HELD_OUT) for index in range(HELD_OUT)]
    x = to_tensor(np.stack([draw(one) for one in scenes]))
    with undivided():
        rebuilt = torch.cat([reconstruct(vae, part) for part in x.split(16)])
    assert psnr(rebuilt, x) >= 26
    assert np.mean([hit(picture, one) for picture, one in zip(to_pixels(rebuilt), scenes, strict=True)]) >= 0.95


def test_the_prompts_are_fixed_and_were_never_trained_on() -> None:
    scenes = held_out_scenes()
    assert len({one.caption for one in scenes}) == len(scenes) == PROMPTS
    assert all(split_of(one) is Split.HELD_OUT for one in scenes)
    assert 0.3 < np.mean([len(one.things) == 2 for one in scenes]) < 0.8


@pytest.mark.acceptance
def test_it_draws_what_held_out_prompts_ask_for() -> None:
    scenes = held_out_scenes()
    tokens = torch.from_numpy(np.stack([tokens_of(one.caption) for one in scenes]))
    with undivided():
        drawn = paint(load(CHECKPOINT), tokens, torch.from_numpy(tokens_of("")), Sampling())
    assert score(drawn, scenes).things >= 0.8
