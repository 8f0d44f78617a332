"""Pictures in the place of a pooled text: SDXL's revision, after unCLIP (Ramesh et al. 2022, arXiv:2204.06125)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

STEPS = 1000
MERGED = 0.05  # how much noise the sum of several pictures gets
SEED_BEFORE = 10  # the noise is that of a seed so many before the picture's own


@dataclass(frozen=True, eq=False)
class PictureVector:
    """What CLIP sees in pictures, to be drawn. vectors: [n, P], projected; strength: how much they count; augmentation:
    0..1, how far they are lost in noise, which leaves more room for the text."""

    vectors: Tensor
    strength: float
    augmentation: float


def revised(given: Sequence[PictureVector], seed: int) -> Tensor:
    """The vector that takes the place of a pooled text, [1, P] float32: the pictures' noisy ones, summed; several get noise
    once more."""
    made = [
        vector[None] * picture.strength
        for picture in given
        for vector in _noisy(picture.vectors.float(), picture.augmentation, seed)
    ]
    total = torch.stack(made).sum(dim=0)
    return _noisy(total, MERGED, seed) if len(made) > 1 else total


def noise_step(augmentation: float) -> int:
    """The step of noise that an augmentation of 0..1 is."""
    return round((STEPS - 1) * augmentation)


def _noisy(vectors: Tensor, augmentation: float, seed: int) -> Tensor:
    """Each vector [n, P] at a level of noise, with the same noise."""
    kept = _kept()[noise_step(augmentation)].float()
    noise = torch.randn((1, vectors.shape[1]), generator=torch.Generator().manual_seed(seed - SEED_BEFORE))
    return kept.sqrt() * vectors + (1 - kept).sqrt() * noise


def _kept() -> Tensor:
    """The share of the signal's variance at each step, by the cosine schedule (Nichol and Dhariwal 2021, arXiv:2102.09672,
    equation 17). [STEPS] float64."""

    def f(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - f((i + 1) / STEPS) / f(i / STEPS), 0.999) for i in range(STEPS)]
    return torch.cumprod(1 - torch.tensor(betas, dtype=torch.float64), dim=0)
