"""Sampling by jumps while the picture grows: between the steps the estimate is made larger."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor

from models.noise import NoiseStream
from models.scaling import LATENT_METHODS
from models.steps import Denoise, Step


def sample_growing(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: NoiseStream, ratio: float, steps: int, method: str
) -> Iterator[Step]:
    """`sample_lcm`, whose estimate grows evenly over the first `steps` steps to `ratio` times its sides.

    steps: -1 for the first half of them. Draws once a step, but not for the last; the noise is of the larger size.
    """
    count = len(sigmas) // 2 if steps < 0 else min(steps, len(sigmas))
    height, width = x.shape[-2:]
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x = denoised = denoise(x, sigma)
        if i < count:
            share = 1 + (ratio - 1) * (i + 1) / count
            x = LATENT_METHODS[method](x, max(round(width * share), 1), max(round(height * share), 1))
        if sigma_next > 0:
            x = x + noise(x, sigma, sigma_next) * sigma_next
        yield Step(i, sigma, x, denoised)
