"""What builds on the U-Net, in miniature: an upscaler."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from models.training.enlarge import enlarging_lesson, gains, newborn
from models.training.export import TOKENS, spread
from models.training.unpack import gathered
from models.training.vae import halved
from models.training.words import ROWS, known
from models.upscaler import CompactNet
from tests.training.miniature import MINIATURE


def test_crops_are_of_the_same_place_at_both_sizes() -> None:
    lesson = enlarging_lesson(CompactNet(MINIATURE.upscaler), 8, seed=1, size=64)
    large, small, _ = lesson.draw(3, 1)
    assert np.array_equal(halved(large), small)
    assert len({crop.tobytes() for crop in small}) == len(small)


def test_an_upscaler_that_repeats_pixels_gains_nothing() -> None:
    network = CompactNet(MINIATURE.upscaler)
    for weight in network.parameters():
        nn.init.zeros_(weight)
    assert all(ours < theirs for ours, theirs in gains(network, 1, 3, 64))


def test_a_newborn_upscaler_interpolates() -> None:
    slope = torch.linspace(0.2, 0.8, 32).expand(1, 3, 32, 32)
    with torch.no_grad():
        enlarged = newborn(MINIATURE.upscaler)(slope)[..., 8:-8, 8:-8]
    step = float(slope[0, 0, 0, 1] - slope[0, 0, 0, 0]) / 2
    assert torch.allclose(enlarged.diff(dim=-1), torch.tensor(step), atol=1e-5), "half a step for each pixel"
    assert enlarged.diff(dim=-2).abs().max() < 1e-5


def test_the_token_table_survives_being_spread() -> None:
    text = {TOKENS: torch.randn(ROWS, 8)}
    used = len(known()) + 1
    assert torch.equal(gathered(spread(text))[TOKENS][:used], text[TOKENS][:used])
