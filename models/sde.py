"""DPM-Solver++ for the reverse stochastic equation, in the sigma notation of k-diffusion; all draw from a Brownian path.

Lu et al. 2022 (arXiv:2211.01095). eta scales the noise: 1 is the reverse equation, 0 the probability flow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

from torch import Tensor

from models.noise import NoiseStream
from models.steps import Denoise, Step, ancestral


def sample_dpmpp_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    noise: NoiseStream,
    eta: float = 1.0,
    s_noise: float = 1.0,
    r: float = 0.5,
) -> Iterator[Step]:
    """DPM-Solver++ (SDE), two evaluations a step. r: where in the step the second stands, in log sigma.

    Draws twice a step, but not for the last. A step to 0 goes to the estimate.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        if sigma_next > 0:
            sigma_mid = sigma.log().lerp(sigma_next.log(), r).exp()
            down, up = ancestral(sigma, sigma_mid, eta)
            x_mid = down / sigma * x + (1 - down / sigma) * denoised
            if eta > 0:
                x_mid = x_mid + noise(x, sigma, sigma_mid) * (s_noise * up)
            d = denoised + (denoise(x_mid, sigma_mid) - denoised) / (2 * r)
            down, up = ancestral(sigma, sigma_next, eta)
            x = down / sigma * x + (1 - down / sigma) * d
            if eta > 0:
                x = x + noise(x, sigma, sigma_next) * (s_noise * up)
        else:
            x = denoised
        yield Step(i, sigma, x, denoised)


def sample_dpmpp_2m_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    noise: NoiseStream,
    eta: float = 1.0,
    s_noise: float = 1.0,
    solver: Literal["midpoint", "heun"] = "midpoint",
) -> Iterator[Step]:
    """DPM-Solver++(2M) SDE, second order in log sigma with one evaluation a step.

    Draws once a step, but not for the last. A step to 0 goes to the estimate.
    """
    old_denoised = h_last = None
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        h = None
        if sigma_next > 0:
            h = (sigma / sigma_next).log()
            h_eta = h * (1 + eta)
            x = (-h_eta).exp() * x - (-h_eta).expm1() * denoised
            if old_denoised is not None and h_last is not None:
                bend = (denoised - old_denoised) * h / h_last
                x = x + (-(-h_eta).expm1() / 2 if solver == "midpoint" else _phi_2(h_eta)) * bend
            x = _noisy(x, sigma, sigma_next, noise, eta, s_noise)
        else:
            x = denoised
        yield Step(i, sigma, x, denoised)
        old_denoised, h_last = denoised, h


def sample_dpmpp_3m_sde(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: NoiseStream, eta: float = 1.0, s_noise: float = 1.0
) -> Iterator[Step]:
    """DPM-Solver++(3M) SDE, third order in log sigma with one evaluation a step. k-diffusion's.

    Draws once a step, but not for the last. A step to 0 goes to the estimate.
    """
    past: deque[tuple[Tensor, Tensor]] = deque(maxlen=2)  # (estimate, length of the step it began), newest first
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        if sigma_next > 0:
            h = (sigma / sigma_next).log()
            h_eta = h * (1 + eta)
            x = (-h_eta).exp() * x - (-h_eta).expm1() * denoised
            if len(past) == 2:
                (first, h_1), (second, h_2) = past
                near, far = (denoised - first) * h / h_1, (first - second) * h / h_2
                bend = (near - far) * h / (h_1 + h_2)
                slope = near + bend * h_1 / h
                x = x + _phi_2(h_eta) * slope - (_phi_2(h_eta) / h_eta - 0.5) * bend
            elif past:
                [(first, h_1)] = past
                x = x + _phi_2(h_eta) * (denoised - first) * h / h_1
            x = _noisy(x, sigma, sigma_next, noise, eta, s_noise)
            past.appendleft((denoised, h))
        else:
            x = denoised
        yield Step(i, sigma, x, denoised)


def _noisy(x: Tensor, sigma: Tensor, sigma_next: Tensor, noise: NoiseStream, eta: float, s_noise: float) -> Tensor:
    """x with the noise that the reverse equation adds on its way down."""
    if eta == 0:
        return x
    spread = (-(-2 * eta * (sigma / sigma_next).log()).expm1()).sqrt()
    return x + noise(x, sigma, sigma_next) * (sigma_next * s_noise * spread)


def _phi_2(h: Tensor) -> Tensor:
    """What a slope of the estimate adds over h: (exp(-h) - 1) / h + 1."""
    return (-h).expm1() / h + 1
