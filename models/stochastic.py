"""Samplers of the reverse stochastic equation, of higher order than a step down and noise up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from models.noise import NoiseStream
from models.steps import Denoise, Step

Phi = Callable[[Tensor], Tensor]
"""sigma -> what the share of x that stays is a quotient of, and with it how much noise is added."""


def er_phi(sigma: Tensor) -> Tensor:
    """The authors' own choice, their phi 4."""
    return sigma * ((sigma**0.3).exp() + 10)


@dataclass(frozen=True)
class ReversePhi:
    """That of the reverse stochastic equation (eta 1), of the probability flow (eta 0), and what lies between."""

    eta: float

    def __call__(self, sigma: Tensor) -> Tensor:
        """sigma ** (1 + eta)."""
        return sigma ** (1 + self.eta)


def sample_er_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    noise: NoiseStream,
    phi: Phi = er_phi,
    stages: int = 3,
    s_noise: float = 1.0,
) -> Iterator[Step]:
    """Extended reverse-time SDE solver with up to three-step memory, one evaluation a step.

    Cui et al. 2023 (arXiv:2309.06169), Algorithm 2 (VE ER-SDE-Solver-3), the noise of their function phi 4 and their
    sums over 200 points for the integrals. Draws once a step, but not for the last and not where phi adds no noise.
    A step to 0 goes to the estimate.
    """
    old_denoised = old_d1 = None
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        if sigma_next > 0:
            share = phi(sigma_next) / phi(sigma)
            dt = sigma_next - sigma
            x = share * x + (1 - share) * denoised
            width = -dt / 200
            points = sigma_next + torch.arange(200, dtype=sigmas.dtype) * width
            if old_denoised is not None and stages > 1:
                d1 = (denoised - old_denoised) / (sigma - sigmas[i - 1])
                x = x + (dt + phi(sigma_next) * (width / phi(points)).sum()) * d1
                if old_d1 is not None and stages > 2:
                    d2 = (d1 - old_d1) / ((sigma - sigmas[i - 2]) / 2)
                    x = x + (dt**2 / 2 + phi(sigma_next) * (width * (points - sigma) / phi(points)).sum()) * d2
                old_d1 = d1
            variance = (sigma_next**2 - (sigma * share) ** 2).clamp(min=0)
            if s_noise > 0 and variance > 1e-12 * sigma_next**2:
                x = x + noise(x, sigma, sigma_next) * variance.sqrt() * s_noise
        else:
            x = denoised
        yield Step(i, sigma, x, denoised)
        old_denoised = denoised


def sample_seeds_2(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    noise: NoiseStream,
    eta: float = 1.0,
    s_noise: float = 1.0,
    r: float = 0.5,
    second_order: bool = False,
) -> Iterator[Step]:
    """Stochastic exponential solver with one stage, `r` of the way in log sigma, two evaluations a step.

    Gonzalez et al. 2023 (arXiv:2305.14267), SEEDS-2 in the data-predicting form, on the reverse equation with DDPM's
    noise times eta. second_order: the change of the estimate enters with the weight of an even change (their phi 2),
    instead of half of the step over r; r 1 and eta 0 is then the exponential Heun method. Draws twice a step, but not
    for the last and not with eta 0. A step to 0 goes to the estimate.
    """
    rate, loud = 1 + eta, eta > 0 and s_noise > 0
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        if sigma_next > 0:
            h = (sigma / sigma_next).log()
            sigma_mid = sigma * (-r * h).exp()
            x_mid, w = _settle(x, denoised, r * h, rate), None
            if loud:
                w = _wander(None, noise(x, sigma, sigma_mid), r * h, eta)
                x_mid = x_mid + sigma_mid * s_noise * w
                w = _wander(w, noise(x, sigma_mid, sigma_next), (1 - r) * h, eta)
            change = denoise(x_mid, sigma_mid) - denoised
            weight = _bend(h, rate) / r if second_order else -(-rate * h).expm1() / (2 * r)
            x = _settle(x, denoised, h, rate) + weight * change
            x = x if w is None else x + sigma_next * s_noise * w
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


def _settle(x: Tensor, d: Tensor, h: Tensor, rate: float = 2.0) -> Tensor:
    """The mean of the reverse equation, h further in log sigma: exact for an estimate d that does not change."""
    return (-rate * h).exp() * x - (-rate * h).expm1() * d


def _wander(w: Tensor | None, draw: Tensor, h: Tensor, eta: float = 1.0) -> Tensor:
    """The noise of the reverse equation in units of sigma, h further in log sigma than w (None: none yet)."""
    fresh = (-(-2 * eta * h).expm1()).sqrt() * draw
    return fresh if w is None else (-eta * h).exp() * w + fresh


def _bend(h: Tensor, rate: float = 2.0) -> Tensor:
    """What a change of the estimate adds over h, when it changes evenly: 1 - (1 - exp(-rate h)) / (rate h)."""
    return (-rate * h).expm1() / (rate * h) + 1
