"""Samplers that begin every step anew: what they learn of the slope, they learn within the step."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor

from models.noise import NoiseStream
from models.steps import Denoise, GuidedDenoise, Step, ancestral, slope


def sample_euler(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Iterator[Step]:
    """Euler's method, first order. Karras et al. 2022, Algorithm 2 without churn.

    With the schedule's sigmas this is DDIM with eta 0 (Song et al. 2021, arXiv:2010.02502, equation 12).
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        d = slope(x, sigma, denoised)
        x = x + d * (sigma_next - sigma)
        yield Step(i, sigma, x, denoised)


def sample_heun(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Iterator[Step]:
    """Heun's method, second order with two evaluations a step. Karras et al. 2022, Algorithm 1.

    The step to 0, where the flow has no slope, is Euler's.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        d = slope(x, sigma, denoised)
        x_next = x + d * (sigma_next - sigma)
        if sigma_next > 0:
            d_next = slope(x_next, sigma_next, denoise(x_next, sigma_next))
            x_next = x + (d + d_next) / 2 * (sigma_next - sigma)
        x = x_next
        yield Step(i, sigma, x, denoised)


def sample_heunpp2(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Iterator[Step]:
    """Heun++: Euler's step with a slope that is averaged over up to two levels ahead.

    The levels ahead weigh as much as they are high, sigma / (k sigmas[0]) with k slopes, so the method leans on Euler's
    towards the end. There is no paper: it comes from a sampler extension of the Stable Diffusion web UI. First order.
    The last step is Euler's, and the last but one looks one level ahead.
    """
    last = len(sigmas) - 2
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        d = d_ahead = mean = slope(x, sigma, denoised)
        x_ahead, at = x, sigma
        k = min(3, last - i + 1)
        for level in sigmas[i + 1 : i + k]:
            x_ahead, at = x_ahead + d_ahead * (level - at), level
            d_ahead = slope(x_ahead, level, denoise(x_ahead, level))
            mean = mean + (d_ahead - d) * level / (k * sigmas[0])
        x = x + mean * (sigma_next - sigma)
        yield Step(i, sigma, x, denoised)


def sample_euler_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: NoiseStream, eta: float = 1.0, s_noise: float = 1.0
) -> Iterator[Step]:
    """Euler's method down to `sigma_down`, then fresh noise up to the next level (DDPM's ancestral sampling).

    Ho et al. 2020 (arXiv:2006.11239), Algorithm 2, in the sigma notation of k-diffusion. Draws once a step, but not
    for the last and not with eta 0.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        if sigma_next > 0:
            sigma_down, sigma_up = ancestral(sigma, sigma_next, eta)
            d = slope(x, sigma, denoised)
            x = x + d * (sigma_down - sigma)
            x = x + noise(x, sigma, sigma_next) * (s_noise * sigma_up) if eta > 0 else x
        else:
            x = denoised
        yield Step(i, sigma, x, denoised)


def sample_ddim(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: NoiseStream, eta: float = 0.0) -> Iterator[Step]:
    """DDIM with any share of DDPM's noise, eta 0 (none) to 1 (all). Song et al. 2021, equations 12 and 16.

    Their sigma_t, divided by sqrt(alpha_bar), is `ancestral`'s noise up, and the rest of equation 12 Euler's step down:
    in sigma's terms DDIM and the ancestral Euler method are one family. First order. Draws as that does.
    """
    return sample_euler_ancestral(denoise, x, sigmas, noise, eta)


def sample_dpm_2(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: NoiseStream, eta: float = 0.0) -> Iterator[Step]:
    """The midpoint method with its midpoint in log sigma, second order with two evaluations a step.

    k-diffusion's, after DPM-Solver-2 (Lu et al. 2022, arXiv:2206.00927, Algorithm 1) and Karras et al. 2022,
    Algorithm 2. With eta 1 it steps down and adds noise once a step, but not for the last, as ancestral sampling does
    (dpm_2_ancestral); with eta 0 it never draws. A step down to 0 is Euler's.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        d = slope(x, sigma, denoised)
        sigma_down, sigma_up = ancestral(sigma, sigma_next, eta)
        if sigma_down > 0:
            sigma_mid = sigma.log().lerp(sigma_down.log(), 0.5).exp()
            x_mid = x + d * (sigma_mid - sigma)
            d = slope(x_mid, sigma_mid, denoise(x_mid, sigma_mid))
        x = x + d * (sigma_down - sigma)
        if eta > 0 and sigma_next > 0:
            x = x + noise(x, sigma, sigma_next) * sigma_up
        yield Step(i, sigma, x, denoised)


def sample_midpoint(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Iterator[Step]:
    """`sample_dpm_2` without noise."""
    return sample_dpm_2(denoise, x, sigmas, _unasked)


def _unasked(x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    raise AssertionError("this sampler draws nothing")


def sample_dpmpp_2s_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: NoiseStream, eta: float = 1.0, s_noise: float = 1.0
) -> Iterator[Step]:
    """DPM-Solver++(2S), two evaluations a step, down to `sigma_down`; then noise up to the next level.

    Lu et al. 2022 (arXiv:2211.01095), Algorithm 1 with r = 1/2, in the sigma notation of Karras et al. 2022 and with
    ancestral noise. Draws once a step, but not for the last and not with eta 0. A step down to 0 is Euler's.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = d = denoise(x, sigma)
        sigma_down, sigma_up = ancestral(sigma, sigma_next, eta)
        if sigma_down > 0:
            sigma_mid = sigma.log().lerp(sigma_down.log(), 0.5).exp()
            x_mid = sigma_mid / sigma * x + (1 - sigma_mid / sigma) * denoised
            d = denoise(x_mid, sigma_mid)
        x = sigma_down / sigma * x + (1 - sigma_down / sigma) * d
        if eta > 0 and sigma_next > 0:
            x = x + noise(x, sigma, sigma_next) * (s_noise * sigma_up)
        yield Step(i, sigma, x, denoised)


def sample_ddpm(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: NoiseStream) -> Iterator[Step]:
    """DDPM's reverse process, first order. Ho et al. 2020, Algorithm 2 with the variance of equation 7.

    In their scale y = sqrt(alpha_bar) x. Draws once a step, but not for the last. Equal to ancestral Euler steps with
    eta 1 but for rounding.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        eps = slope(x, sigma, denoised)
        alpha_bar, alpha_bar_next = 1 / (sigma**2 + 1), 1 / (sigma_next**2 + 1)
        alpha = alpha_bar / alpha_bar_next
        y = (alpha_bar.sqrt() * x - (1 - alpha) / (1 - alpha_bar).sqrt() * eps) / alpha.sqrt()
        if sigma_next > 0:
            y = y + noise(x, sigma, sigma_next) * ((1 - alpha) * (1 - alpha_bar_next) / (1 - alpha_bar)).sqrt()
        x = y / alpha_bar_next.sqrt()
        yield Step(i, sigma, x, denoised)


def sample_lcm(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    noise: NoiseStream,
    strengths: tuple[float, float] = (1.0, 1.0),
    clip: float = 0.0,
) -> Iterator[Step]:
    """Multistep sampling of consistency models: jump to the estimate, then noise up to the next level.

    Song et al. 2023 (arXiv:2303.01469), Algorithm 1; Luo et al. 2023 (arXiv:2310.04378). Draws once a step, but not
    for the last. It follows no flow: more steps converge to nothing unless the network is distilled for it. strengths:
    of the noise after the first and after the last step but one, between them evenly; clip: the most deviations that
    a number of the noise may have, 0 for any.
    """
    first, last = strengths
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x = denoised = denoise(x, sigma)
        if sigma_next > 0:
            drawn = noise(x, sigma, sigma_next)
            drawn = drawn.clamp(-clip, clip) if clip else drawn
            x = x + drawn * (sigma_next * (first + (last - first) * i / max(len(sigmas) - 3, 1)))
        yield Step(i, sigma, x, denoised)


def sample_tcd(
    denoise: GuidedDenoise, x: Tensor, sigmas: Tensor, noise: NoiseStream, gamma: float = 0.3
) -> Iterator[Step]:
    """Strategic stochastic sampling of trajectory consistency models (Zheng et al. 2024, arXiv:2402.19159, Algorithm 4).

    Down along the flow to the time step (1 - gamma) times the next one's, rounded down, then noise up to the next level.
    gamma 0 is DDIM, 1 nearly `sample_lcm`. Draws once a step, but not for the last and not with gamma 0. A step to 0
    goes to the estimate.
    """
    levels = denoise.levels
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        x = denoised + slope(x, sigma, denoised) * sigma_next
        if sigma_next > 0 and gamma > 0:
            below = levels.sigma(((1 - gamma) * levels.timestep(sigma_next)).floor()).to(sigma_next)
            below = below.minimum(sigma_next)
            x = denoised + (x - denoised) / sigma_next * below
            x = x + noise(x, sigma, sigma_next) * (sigma_next**2 - below**2).sqrt()
        yield Step(i, sigma, x, denoised)
