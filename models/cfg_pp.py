"""Samplers of CFG++ (Chung et al. 2024, arXiv:2406.08070): guidance moves the estimate, but not the noise put back.

Each goes to the guided estimate and from there up along the slope of the unguided one, D + sigma_next (x - D_away) / sigma.
So a cfg between 0 and 1 is as strong there as one between 1 and 12 is elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor

from models.noise import NoiseStream
from models.steps import GuidedDenoise, Step, ancestral, slope


def sample_euler_cfg_pp(denoise: GuidedDenoise, x: Tensor, sigmas: Tensor) -> Iterator[Step]:
    """Euler's method with the unguided slope."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised, away = denoise.pair(x, sigma)
        x = denoised + sigma_next * slope(x, sigma, away)
        yield Step(i, sigma, x, denoised)


def sample_euler_away(denoise: GuidedDenoise, x: Tensor, sigmas: Tensor) -> Iterator[Step]:
    """Euler's method with the slope of x as it were without guidance, x - D + D_away, towards D.

    The form that came before `sample_euler_cfg_pp`, kept for the pictures made with it. It ends beyond the guided
    estimate, at 2 D - D_away.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised, away = denoise.pair(x, sigma)
        x = x + slope(x - denoised + away, sigma, denoised) * (sigma_next - sigma)
        yield Step(i, sigma, x, denoised)


def sample_euler_ancestral_cfg_pp(
    denoise: GuidedDenoise, x: Tensor, sigmas: Tensor, noise: NoiseStream, eta: float = 1.0, s_noise: float = 1.0
) -> Iterator[Step]:
    """The same down to `sigma_down`, then fresh noise up to the next level. Draws once a step, but not for the last."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised, away = denoise.pair(x, sigma)
        sigma_down, sigma_up = ancestral(sigma, sigma_next, eta)
        x = denoised + sigma_down * slope(x, sigma, away)
        if eta > 0 and sigma_next > 0:
            x = x + noise(x, sigma, sigma_next) * (s_noise * sigma_up)
        yield Step(i, sigma, x, denoised)


def sample_dpmpp_2s_ancestral_cfg_pp(
    denoise: GuidedDenoise, x: Tensor, sigmas: Tensor, noise: NoiseStream, eta: float = 1.0, s_noise: float = 1.0
) -> Iterator[Step]:
    """DPM-Solver++(2S) ancestral from a latent moved by the guidance. Draws once a step, but not for the last.

    The whole step is moved by the difference to the unguided estimate at its middle, as ComfyUI has it, so that without
    guidance it is not quite the plain sampler.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised, away = denoise.pair(x, sigma)
        sigma_down, sigma_up = ancestral(sigma, sigma_next, eta)
        d = denoised
        if sigma_down > 0:
            sigma_mid = sigma.log().lerp(sigma_down.log(), 0.5).exp()
            moved = x + (denoised - away)
            x_mid = sigma_mid / sigma * moved + (1 - sigma_mid / sigma) * denoised
            d, away = denoise.pair(x_mid, sigma_mid)
        x = sigma_down / sigma * (x + (denoised - away)) + (1 - sigma_down / sigma) * d
        if eta > 0 and sigma_next > 0:
            x = x + noise(x, sigma, sigma_next) * (s_noise * sigma_up)
        yield Step(i, sigma, x, denoised)


def sample_dpmpp_2m_cfg_pp(denoise: GuidedDenoise, x: Tensor, sigmas: Tensor) -> Iterator[Step]:
    """DPM-Solver++(2M) with the unguided slope, and the unguided estimate for the course over the step before."""
    old_away = h_last = None
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised, away = denoise.pair(x, sigma)
        h = (sigma / sigma_next).log()  # infinite when sigma_next is 0
        bend = denoised * 0
        if old_away is not None and h_last is not None and sigma_next > 0:
            bend = -(-h).expm1() * (denoised - old_away) * h / (2 * h_last)
        x = denoised + (-h).exp() * (x - away) + bend
        yield Step(i, sigma, x, denoised)
        old_away, h_last = away, h


def sample_res_multistep_cfg_pp(
    denoise: GuidedDenoise, x: Tensor, sigmas: Tensor, noise: NoiseStream, eta: float = 0.0, s_noise: float = 1.0
) -> Iterator[Step]:
    """The refined exponential solver on the unguided estimates, from a latent moved by the guidance.

    With eta 1 it draws once a step, but not for the last; with eta 0 never. First and last steps are Euler's.
    """
    old_away = h_last = None
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised, away = denoise.pair(x, sigma)
        sigma_down, sigma_up = ancestral(sigma, sigma_next, eta)
        h = (sigma / sigma_down).log()  # infinite when sigma_down is 0
        if old_away is not None and h_last is not None and sigma_down > 0:
            phi_1 = -(-h).expm1() / h
            b = (1 - phi_1) / h_last
            moved = x + (denoised - away)
            x = sigma_down / sigma * moved + h * ((phi_1 + b) * away - b * old_away)
        else:
            x = denoised + sigma_down * slope(x, sigma, away)
        if eta > 0 and sigma_next > 0:
            x = x + noise(x, sigma, sigma_next) * (s_noise * sigma_up)
        yield Step(i, sigma, x, denoised)
        old_away, h_last = away, h


def sample_gradient_estimation_cfg_pp(
    denoise: GuidedDenoise, x: Tensor, sigmas: Tensor, gamma: float = 2.0
) -> Iterator[Step]:
    """Euler's method with the unguided slope, corrected by that slope's last change times gamma - 1."""
    d_last = None
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised, away = denoise.pair(x, sigma)
        d = slope(x, sigma, away)
        x = denoised + sigma_next * d
        if d_last is not None and sigma_next > 0:
            x = x + (gamma - 1) * (d - d_last) * (sigma_next - sigma)
        yield Step(i, sigma, x, denoised)
        d_last = d
