"""Samplers of the reverse stochastic equation, of higher order than a step down and noise up."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from models.noise import NoiseStream
from models.steps import Denoise, Step


def sample_er_sde(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: NoiseStream) -> Iterator[Step]:
    """Extended reverse-time SDE solver with three-step memory, one evaluation a step.

    Cui et al. 2023 (arXiv:2309.06169), Algorithm 2 (VE ER-SDE-Solver-3), the noise of their function phi 4 and their
    sums over 200 points for the integrals. Draws once a step, but not for the last. A step to 0 goes to the estimate.
    """
    old_denoised = old_d1 = None
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        if sigma_next > 0:
            phi, phi_next = _phi(sigma), _phi(sigma_next)
            share = phi_next / phi
            dt = sigma_next - sigma
            x = share * x + (1 - share) * denoised
            width = -dt / 200
            points = sigma_next + torch.arange(200, dtype=sigmas.dtype) * width
            if old_denoised is not None:
                d1 = (denoised - old_denoised) / (sigma - sigmas[i - 1])
                x = x + (dt + phi_next * (width / _phi(points)).sum()) * d1
                if old_d1 is not None:
                    d2 = (d1 - old_d1) / ((sigma - sigmas[i - 2]) / 2)
                    x = x + (dt**2 / 2 + phi_next * (width * (points - sigma) / _phi(points)).sum()) * d2
                old_d1 = d1
            x = x + noise(x, sigma, sigma_next) * (sigma_next**2 - (sigma * share) ** 2).clamp(min=0).sqrt()
        else:
            x = denoised
        yield Step(i, sigma, x, denoised)
        old_denoised = denoised


def _phi(sigma: Tensor) -> Tensor:
    return sigma * ((sigma**0.3).exp() + 10)


def sample_seeds_2(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: NoiseStream) -> Iterator[Step]:
    """Stochastic exponential solver with one stage at the middle in log sigma, two evaluations a step.

    Gonzalez et al. 2023 (arXiv:2305.14267), SEEDS-2 in the data-predicting form, on the reverse equation with DDPM's
    noise. Draws twice a step, but not for the last. A step to 0 goes to the estimate.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        if sigma_next > 0:
            h = (sigma / sigma_next).log() / 2
            sigma_mid = sigma * (-h).exp()
            w = _wander(None, noise(x, sigma, sigma_mid), h)
            x_mid = _settle(x, denoised, h) + sigma_mid * w
            w = _wander(w, noise(x, sigma_mid, sigma_next), h)
            d = denoise(x_mid, sigma_mid)
            x = _settle(x, d, 2 * h) + sigma_next * w
        else:
            x = denoised
        yield Step(i, sigma, x, denoised)


def sample_seeds_3(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: NoiseStream) -> Iterator[Step]:
    """Stochastic exponential solver with stages at 1/3 and 2/3 in log sigma, three evaluations a step.

    Gonzalez et al. 2023 (arXiv:2305.14267), SEEDS-3 in the data-predicting form, on the reverse equation with DDPM's
    noise. Draws three times a step, but not for the last. A step to 0 goes to the estimate.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        if sigma_next > 0:
            h = (sigma / sigma_next).log() / 3
            sigma_1, sigma_2 = sigma * (-h).exp(), sigma * (-2 * h).exp()
            w = _wander(None, noise(x, sigma, sigma_1), h)
            x_1 = _settle(x, denoised, h) + sigma_1 * w
            d_1 = denoise(x_1, sigma_1) - denoised
            w = _wander(w, noise(x, sigma_1, sigma_2), h)
            x_2 = _settle(x, denoised, 2 * h) + 2 * _bend(2 * h) * d_1 + sigma_2 * w
            d_2 = denoise(x_2, sigma_2) - denoised
            w = _wander(w, noise(x, sigma_2, sigma_next), h)
            x = _settle(x, denoised, 3 * h) + 3 / 2 * _bend(3 * h) * d_2 + sigma_next * w
        else:
            x = denoised
        yield Step(i, sigma, x, denoised)


def _settle(x: Tensor, d: Tensor, h: Tensor) -> Tensor:
    """The mean of the reverse equation, h further in log sigma: exact for an estimate d that does not change."""
    return (-2 * h).exp() * x - (-2 * h).expm1() * d


def _wander(w: Tensor | None, draw: Tensor, h: Tensor) -> Tensor:
    """The noise of the reverse equation in units of sigma, h further in log sigma than w (None: none yet)."""
    fresh = (-(-2 * h).expm1()).sqrt() * draw
    return fresh if w is None else (-h).exp() * w + fresh


def _bend(h: Tensor) -> Tensor:
    """What a change of the estimate adds over h, when it changes evenly: 1 - (1 - exp(-2 h)) / (2 h)."""
    return (-2 * h).expm1() / (2 * h) + 1
