"""Samplers: integrators of the probability-flow equation dx / dsigma = (x - D(x, sigma)) / sigma.

D is the denoiser, sigma the noise level, in the notation of Karras et al. 2022 (arXiv:2206.00364). A sampler
yields after every step, so progress, previews and stopping are its caller's `for` loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor

from models.noise import NoiseStream

Denoise = Callable[[Tensor, Tensor], Tensor]
"""D(x, sigma): x [B, C, H, W] at level sigma [] -> the clean latent it is an average of, [B, C, H, W]."""


class Step(NamedTuple):
    """One step taken."""

    i: int  # its index, from 0
    sigma: Tensor  # [], the level it started from
    x: Tensor  # [B, C, H, W], the latent after it
    denoised: Tensor  # [B, C, H, W], the estimate of the clean latent at `sigma`


Sampler = Callable[[Denoise, Tensor, Tensor, NoiseStream], Iterator[Step]]
"""(denoise, x at sigmas[0], sigmas [n + 1] decreasing, noise) -> steps. The last sigma may be 0."""


def sample_euler(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: NoiseStream) -> Iterator[Step]:
    """Euler's method, first order. Karras et al. 2022, Algorithm 2 without churn; never draws from `noise`.

    With the schedule's sigmas this is DDIM with eta 0 (Song et al. 2021, arXiv:2010.02502, equation 12).
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        d = (x - denoised) / sigma
        x = x + d * (sigma_next - sigma)
        yield Step(i, sigma, x, denoised)


def sample_euler_ancestral(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: NoiseStream) -> Iterator[Step]:
    """Euler's method down to `sigma_down`, then fresh noise up to the next level (DDPM's ancestral sampling).

    Ho et al. 2020 (arXiv:2006.11239), Algorithm 2, in the sigma notation of k-diffusion.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        if sigma_next > 0:
            sigma_down, sigma_up = ancestral(sigma, sigma_next)
            d = (x - denoised) / sigma
            x = x + d * (sigma_down - sigma)
            x = x + noise(x) * sigma_up
        else:
            x = denoised
        yield Step(i, sigma, x, denoised)


def ancestral(sigma: Tensor, sigma_next: Tensor, eta: float = 1.0) -> tuple[Tensor, Tensor]:
    """Split a step to `sigma_next` into a step down and noise up, down ** 2 + up ** 2 = sigma_next ** 2."""
    up = eta * (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2).sqrt()
    up = up.minimum(sigma_next)
    return (sigma_next**2 - up**2).sqrt(), up


def sample_dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: NoiseStream) -> Iterator[Step]:
    """DPM-Solver++(2M), second order in log sigma with one evaluation a step; never draws from `noise`.

    Lu et al. 2022 (arXiv:2211.01095), Algorithm 2, in the sigma notation of Karras et al. 2022.
    """
    old_denoised = h_last = None
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        h = sigma.log() - sigma_next.log()  # infinite when sigma_next is 0
        d = denoised
        if old_denoised is not None and h_last is not None and sigma_next > 0:
            d = denoised + (denoised - old_denoised) * h / (2 * h_last)
        x = sigma_next / sigma * x - (-h).expm1() * d
        yield Step(i, sigma, x, denoised)
        old_denoised, h_last = denoised, h


SAMPLERS: Mapping[str, Sampler] = MappingProxyType(
    {
        "euler": sample_euler,
        "euler_ancestral": sample_euler_ancestral,
        "dpmpp_2m": sample_dpmpp_2m,
        "ddim": sample_euler,
    }
)
