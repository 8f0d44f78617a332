"""Samplers that add noise before a step (churn), and Restart, which does so once for many steps.

Churn: Karras et al. 2022 (arXiv:2206.00364), Algorithm 2. Restart: Xu et al. 2023 (arXiv:2306.14878), Algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from models.noise import NoiseStream
from models.singlestep import sample_heun
from models.steps import GuidedDenoise, Step

Solve = Callable[[GuidedDenoise, Tensor, Tensor], Iterator[Step]]
"""A sampler that begins every step anew."""


@dataclass(frozen=True)
class Churn:
    """How much noise goes in before a step, as Karras et al. name it: over all steps together `s_churn`, at levels from
    `s_tmin` to `s_tmax`, of strength `s_noise`."""

    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = math.inf
    s_noise: float = 1.0

    def raised(self, x: Tensor, sigma: Tensor, steps: int, noise: NoiseStream) -> tuple[Tensor, Tensor]:
        """x at `sigma` -> x at a higher level, and that level."""
        gamma = min(self.s_churn / steps, math.sqrt(2) - 1) if self.s_tmin <= sigma <= self.s_tmax else 0.0
        if gamma == 0:
            return x, sigma
        hat = sigma * (1 + gamma)
        return x + noise(x, sigma, hat) * (self.s_noise * (hat**2 - sigma**2).sqrt()), hat


def sample_churned(
    denoise: GuidedDenoise, x: Tensor, sigmas: Tensor, noise: NoiseStream, solve: Solve, churn: Churn
) -> Iterator[Step]:
    """The steps of `solve`, each from a level that noise raised x to. Draws once a step where there is churn."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x, hat = churn.raised(x, sigma, len(sigmas) - 1, noise)
        [step] = solve(denoise, x, torch.stack([hat, sigma_next]))
        x = step.x
        yield Step(i, sigma, x, step.denoised)


def sample_dpmpp_2m_churned(
    denoise: GuidedDenoise, x: Tensor, sigmas: Tensor, noise: NoiseStream, churn: Churn
) -> Iterator[Step]:
    """DPM-Solver++(2M) with churn: the estimate's course over the next step is taken for that over the last.

    Lu et al. 2022 (arXiv:2211.01095), Algorithm 2; the lengths compared are those of the list's steps, since over the
    raised ones the noise between them would count several times over. Draws once a step where there is churn; without
    any it is `sample_dpmpp_2m`. A step to 0 goes to the estimate.
    """
    old: tuple[Tensor, Tensor] | None = None  # the last level, and the estimate there
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x, hat = churn.raised(x, sigma, len(sigmas) - 1, noise)
        d = denoised = denoise(x, hat)
        if sigma_next > 0:
            h = (hat / sigma_next).log()
            if old is not None:
                d = denoised + (denoised - old[1]) * ((sigma / sigma_next).log() / (2 * (old[0] / sigma).log()))
            x = sigma_next / hat * x - (-h).expm1() * d
        else:
            x = denoised
        yield Step(i, sigma, x, denoised)
        old = (sigma, denoised)


def sample_restart(
    denoise: GuidedDenoise,
    x: Tensor,
    sigmas: Tensor,
    noise: NoiseStream,
    lowest: float = 0.1,
    highest: float = 2.0,
    times: int = 1,
) -> Iterator[Step]:
    """Heun's method, and at the level next to `lowest` back up by fresh noise to the one next to `highest`, some times.

    The steps between the two levels are taken 1 + times times, so there are more of them than levels. Draws once for
    each way back; if no two levels lie between, it is Heun's method.
    """
    above = sigmas[sigmas > 0]
    bottom = int((above.log() - math.log(lowest)).abs().argmin())
    top = int((above.log() - math.log(highest)).abs().argmin())
    left = times if bottom > top else 0
    i = reached = 0
    while i < len(sigmas) - 1:
        [step] = sample_heun(denoise, x, sigmas[i : i + 2])
        x = step.x
        reached = max(reached, i)  # what is told of the way never goes back
        yield Step(reached, sigmas[i], x, step.denoised)
        i += 1
        if i == bottom and left:
            left -= 1
            x = x + noise(x, sigmas[bottom], sigmas[top]) * (sigmas[top] ** 2 - sigmas[bottom] ** 2).sqrt()
            i = top
