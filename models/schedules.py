"""Schedules: which noise levels a sampler visits.

sigma is the standard deviation of the noise in a latent of unit variance, as in Karras et al. 2022
(arXiv:2206.00364). All lists are float32 on the CPU, so that the sampling loop never waits for a device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.levels import NoiseLevels

Schedule = Callable[[NoiseLevels, int], Tensor]
"""(levels, n) -> decreasing sigmas, n of them and a final 0; no level comes twice, so there are fewer where n is large.
ddim_uniform and beta may give another count."""

Spacing = Callable[[Tensor], Tensor]
"""Places between two levels, 0 at the first and 1 at the second, evenly spaced -> as they are to lie."""

SPACINGS: Mapping[str, Spacing] = MappingProxyType(
    {
        "linear": lambda x: x,
        "cosine": lambda x: (x * (math.pi / 2)).sin(),
        "sine": lambda x: 1 - (x * (math.pi / 2)).cos(),
    }
)


def simple(levels: NoiseLevels, steps: int) -> Tensor:
    """Every (1000 / n)th trained level, from the top."""
    stride = len(levels.sigmas) / steps
    return ended([float(levels.sigmas[-(1 + int(i * stride))]) for i in range(steps)])


def sgm_uniform(levels: NoiseLevels, steps: int) -> Tensor:
    """Equal steps in time, of which the last goes to 0 instead of the lowest level."""
    return ended(levels.sigma(torch.linspace(*levels.times, steps + 1)[:-1]))


def normal(levels: NoiseLevels, steps: int) -> Tensor:
    """Equal steps in time, both ends included."""
    return ended(levels.sigma(torch.linspace(*levels.times, steps)))


def karras(levels: NoiseLevels, steps: int) -> Tensor:
    """Equal steps in sigma ** (1 / 7) (Karras et al. 2022, equation 5)."""
    return karras_between(levels.sigma_min, levels.sigma_max, steps)


def karras_between(sigma_min: float, sigma_max: float, steps: int, rho: float = 7.0) -> Tensor:
    """Equal steps in sigma ** (1 / rho) between any two levels, and a final 0. [steps + 1]"""
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return ended((high + torch.linspace(0, 1, steps) * (low - high)) ** rho)


def exponential(levels: NoiseLevels, steps: int) -> Tensor:
    """Equal steps in log sigma."""
    return ended(torch.linspace(math.log(levels.sigma_max), math.log(levels.sigma_min), steps).exp())


def polyexponential_between(sigma_min: float, sigma_max: float, steps: int, rho: float) -> Tensor:
    """Steps in log sigma between any two levels, r ** rho for r from 1 to 0, and a final 0. k-diffusion's."""
    r = torch.linspace(1, 0, steps) ** rho
    return ended((r * (math.log(sigma_max) - math.log(sigma_min)) + math.log(sigma_min)).exp())


def vp(beta_d: float, beta_min: float, eps_s: float, steps: int) -> Tensor:
    """A variance-preserving process at equal times from 1 to eps_s (Song et al. 2021, arXiv:2011.13456, equation 33)."""
    t = torch.linspace(1, eps_s, steps)
    return ended((beta_d * t**2 / 2 + beta_min * t).expm1().sqrt())


def laplace(sigma_min: float, sigma_max: float, steps: int, mu: float, beta: float) -> Tensor:
    """Equal quantiles of a Laplace distribution of log sigma, cut to the two levels; no 0 at the end.

    Hang et al. 2024 (arXiv:2407.03297), section 3.3. A level that comes several times over counts once.
    """
    quantiles = torch.linspace(0, 1, steps)
    side = 0.5 - quantiles
    log_sigmas = mu - beta * side.sign() * (1 - 2 * side.abs() + 1e-5).log()
    return torch.unique_consecutive(log_sigmas.exp().clamp(sigma_min, sigma_max))


def extended(sigmas: Tensor, parts: int, start: float, end: float, spacing: Spacing) -> Tensor:
    """Every step that begins at a level from `start` down to `end` in so many parts. spacing: of the levels between."""
    places = spacing(torch.linspace(0, 1, parts + 1)[1:-1])
    pieces: list[Tensor] = []
    for sigma, sigma_next in pairwise(sigmas):
        pieces.append(sigma[None])
        if end <= sigma <= start:
            pieces.append(sigma + (sigma_next - sigma) * places)
    return torch.cat([*pieces, sigmas[-1:]])


def log_linear(levels: Sequence[float], count: int) -> Tensor:
    """`count` levels along a short list, linear in log sigma over its equal spacing."""
    exact = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(levels)), np.log(levels))
    return torch.from_numpy(np.exp(exact)).float()


ALIGN_YOUR_STEPS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "SD1": (
            14.6146412293, 6.4745760956, 3.8636745985, 2.6946151520, 1.8841921177, 1.3943805092, 0.9642583904,
            0.6523686016, 0.3977456272, 0.1515232662, 0.0291671582,
        ),
        "SDXL": (
            14.6146412293, 6.3184485287, 3.7681790315, 2.1811480769, 1.3405244945, 0.8620721141, 0.5550693289,
            0.3798540708, 0.2332364134, 0.1114188177, 0.0291671582,
        ),
    }
)  # fmt: skip
"""Levels for ten steps (Sabour et al. 2024, arXiv:2404.14507, appendix), of which the last stands for 0."""


def ddim_uniform(levels: NoiseLevels, steps: int) -> Tensor:
    """DDIM's stride through the trained levels (Song et al. 2021, arXiv:2010.02502), as v1's own sampler counted it.

    The stride is the whole part of 1000 / n, so the list may be longer than n + 1, and it starts below the top.
    """
    stride = max(len(levels.sigmas) // steps, 1)
    return ended(levels.sigmas[1::stride].flip(0))


def beta(levels: NoiseLevels, steps: int) -> Tensor:
    """Trained levels at equal quantiles of Beta(0.6, 0.6): dense at both ends of time (Lee et al. 2024, arXiv:2407.12173)."""
    return beta_quantiles(levels, steps, 0.6, 0.6)


def beta_quantiles(levels: NoiseLevels, steps: int, a: float, b: float) -> Tensor:
    """Trained levels at equal quantiles of Beta(a, b), in time. a, b: above 0.

    A level that several quantiles round to comes once, so a long list is shorter than n + 1.
    """
    quantiles = 1 - np.linspace(0, 1, steps, endpoint=False)
    # t is the rounded quantile when the distribution has reached q at t + 1/2 but not at t - 1/2.
    last = len(levels.sigmas) - 1
    borders = beta_distribution((np.arange(last) + 0.5) / last, a, b)
    # The median of a symmetric one is 499.5, which is rounded to 500: so a border counts as reached a rounding before.
    t = np.unique(np.searchsorted(borders, quantiles + 1e-12, side="right"))[::-1]
    return ended(levels.sigmas[t.tolist()])


def beta_distribution(x: NDArray[np.float64], a: float, b: float) -> NDArray[np.float64]:
    """The distribution function of Beta(a, b) for x in 0..1, by its continued fraction (DLMF 8.17.22) and its symmetry."""
    turned = x > (a + 1) / (a + b + 2)  # where the fraction of the mirrored distribution converges faster
    y, p, q = np.where(turned, 1 - x, x), np.where(turned, b, a), np.where(turned, a, b)
    d = fraction = np.ones_like(y)
    for m in range(200, 0, -1):  # from the innermost term outwards
        even = m * (q - m) * y / ((p + 2 * m - 1) * (p + 2 * m))
        odd = -(p + m - 1) * (p + q + m - 1) * y / ((p + 2 * m - 2) * (p + 2 * m - 1))
        fraction = 1 + odd / (1 + even / d)
        d = fraction
    front = np.exp(p * np.log(y) + q * np.log1p(-y) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)) / p
    below = front / fraction
    return np.where(turned, 1 - below, below)


def linear_quadratic(levels: NoiseLevels, steps: int) -> Tensor:
    """Half of the steps share the first 2.5 % of the way from the top to 0, the others go on with growing strides.

    Movie Gen (Polyak et al. 2024, arXiv:2410.13720, linear-quadratic schedule); the parabola goes on at the slope of the line.
    """
    if steps == 1:
        return ended([levels.sigma_max])
    bend, share = steps // 2, 0.025
    strides = steps - bend
    line = share / bend  # of the way, a step
    curve = (1 - share - line * strides) / strides**2
    places = torch.arange(steps + 1, dtype=torch.float64)
    way = line * places + curve * (places - bend).clamp(min=0) ** 2
    return ended((1 - way[:-1]) * levels.sigma_max)


def kl_optimal(levels: NoiseLevels, steps: int) -> Tensor:
    """Equal steps in arctan sigma (Sabour et al. 2024, arXiv:2404.14507, theorem 3.1). One step starts at the top."""
    low, high = math.atan(levels.sigma_min), math.atan(levels.sigma_max)
    r = torch.linspace(0, 1, steps)
    return ended((r * low + (1 - r) * high).tan())


def ended(sigmas: Tensor | list[float]) -> Tensor:
    """Decreasing levels as a sampler takes them: float32, each once, and a final 0.

    A list of more steps than there are levels to tell apart is shorter for that; a sampler cannot stay at a level.
    """
    levels = torch.as_tensor(sigmas).float()
    return torch.cat([torch.unique_consecutive(levels[levels > 0]), torch.zeros(1)])


SCHEDULES: Mapping[str, Schedule] = MappingProxyType(
    {
        "simple": simple,
        "sgm_uniform": sgm_uniform,
        "karras": karras,
        "exponential": exponential,
        "ddim_uniform": ddim_uniform,
        "beta": beta,
        "normal": normal,
        "linear_quadratic": linear_quadratic,
        "kl_optimal": kl_optimal,
    }
)


def without_penultimate(schedule: Schedule) -> Schedule:
    """As long, but the last level above 0 is left out: the step to 0 starts higher."""

    def shortened(levels: NoiseLevels, steps: int) -> Tensor:
        sigmas = schedule(levels, steps + 1)
        return torch.cat([sigmas[:-2], sigmas[-1:]])

    return shortened


def sigmas_for(schedule: Schedule, levels: NoiseLevels, steps: int, denoise: float = 1.0) -> Tensor:
    """The sigmas of `steps` steps that change a latent by `denoise` (0..1): the tail of a longer list when below 1.

    Empty when denoise is 0: nothing is to be done.
    """
    if denoise <= 0:
        return torch.zeros(0)
    if denoise > 0.9999:
        return schedule(levels, steps)
    return schedule(levels, int(steps / denoise))[-(steps + 1) :]


def starts_from_noise(sigmas: Tensor, levels: NoiseLevels) -> bool:
    """Whether sampling begins at the highest level, where nothing of the latent is left."""
    first = float(sigmas[0])
    return first > levels.sigma_max or math.isclose(first, levels.sigma_max, rel_tol=1e-5)
