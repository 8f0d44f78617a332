"""What all samplers share: the denoiser they call, the step they yield, and the arithmetic of one step.

D is the denoiser, sigma the noise level, in the notation of Karras et al. 2022 (arXiv:2206.00364). A sampler integrates
the probability-flow equation dx / dsigma = (x - D(x, sigma)) / sigma, or a stochastic equation with the same marginals.
It yields after every step, so progress, previews and stopping are its caller's `for` loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from models.levels import NoiseLevels
from models.noise import NoiseStream, StepNoise

Denoise = Callable[[Tensor, Tensor], Tensor]
"""D(x, sigma): x [B, C, H, W] at level sigma [] -> the clean latent it is an average of, [B, C, H, W]."""


class Pair(NamedTuple):
    """The estimate with guidance, and the one to guide away from, each [B, C, H, W]."""

    denoised: Tensor
    away: Tensor


class GuidedDenoise(Protocol):
    """D(x, sigma) with guidance, which can also be had together with the estimate without.

    levels: those the network was trained at, for samplers that count in time steps or by shares of the way.
    """

    @property
    def levels(self) -> NoiseLevels: ...

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor: ...

    def pair(self, x: Tensor, sigma: Tensor) -> Pair: ...


class Step(NamedTuple):
    """One step taken."""

    i: int  # its index, from 0
    sigma: Tensor  # [], the level it started from
    x: Tensor  # [B, C, H, W], the latent after it
    denoised: Tensor  # [B, C, H, W], the estimate of the clean latent at `sigma`


Sampler = Callable[[GuidedDenoise, Tensor, Tensor, StepNoise], Iterator[Step]]
"""(denoise, x at sigmas[0], sigmas [n + 1] decreasing, noise) -> steps. The last sigma may be 0. Picklable."""


@dataclass(frozen=True)
class Deterministic:
    """A sampler that never draws noise."""

    solve: Callable[[GuidedDenoise, Tensor, Tensor], Iterator[Step]]

    def __call__(self, denoise: GuidedDenoise, x: Tensor, sigmas: Tensor, noise: StepNoise) -> Iterator[Step]:
        return self.solve(denoise, x, sigmas)


@dataclass(frozen=True)
class Stochastic:
    """A sampler that draws new noise at every step."""

    solve: Callable[[GuidedDenoise, Tensor, Tensor, NoiseStream], Iterator[Step]]

    def __call__(self, denoise: GuidedDenoise, x: Tensor, sigmas: Tensor, noise: StepNoise) -> Iterator[Step]:
        return self.solve(denoise, x, sigmas, noise.stream())


@dataclass(frozen=True)
class Brownian:
    """A sampler whose noise is a Brownian path: in other steps of the same levels it takes the same turns."""

    solve: Callable[[GuidedDenoise, Tensor, Tensor, NoiseStream], Iterator[Step]]

    def __call__(self, denoise: GuidedDenoise, x: Tensor, sigmas: Tensor, noise: StepNoise) -> Iterator[Step]:
        return self.solve(denoise, x, sigmas, noise.path(x, sigmas))


def slope(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """dx / dsigma of the probability flow, which is also the network's eps (Karras et al. 2022, equation 3)."""
    return (x - denoised) / sigma


def ancestral(sigma: Tensor, sigma_next: Tensor, eta: float = 1.0) -> tuple[Tensor, Tensor]:
    """Split a step to `sigma_next` into a step down and noise up, down ** 2 + up ** 2 = sigma_next ** 2.

    With eta 1 the noise is DDPM's (Ho et al. 2020, arXiv:2006.11239, equation 7). With eta 0 there is none, and the
    next level may be the higher one.
    """
    if eta == 0:
        return sigma_next, torch.zeros_like(sigma_next)
    up = eta * (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2).sqrt()
    up = up.minimum(sigma_next)
    return (sigma_next**2 - up**2).sqrt(), up
