"""What all samplers share: the denoiser they call, the step they yield, and the arithmetic of one step.

D is the denoiser, sigma the noise level, in the notation of Karras et al. 2022 (arXiv:2206.00364). A sampler integrates
the probability-flow equation dx / dsigma = (x - D(x, sigma)) / sigma, or a stochastic equation with the same marginals.
It yields after every step, so progress, previews and stopping are its caller's `for` loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


def slope(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """dx / dsigma of the probability flow, which is also the network's eps (Karras et al. 2022, equation 3)."""
    return (x - denoised) / sigma


def ancestral(sigma: Tensor, sigma_next: Tensor, eta: float = 1.0) -> tuple[Tensor, Tensor]:
    """Split a step to `sigma_next` into a step down and noise up, down ** 2 + up ** 2 = sigma_next ** 2.

    With eta 1 the noise is DDPM's (Ho et al. 2020, arXiv:2006.11239, equation 7); with eta 0 there is none.
    """
    up = eta * (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2).sqrt()
    up = up.minimum(sigma_next)
    return (sigma_next**2 - up**2).sqrt(), up
