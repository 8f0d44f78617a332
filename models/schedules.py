"""Schedules: which noise levels a sampler visits.

sigma is the standard deviation of the noise in a latent of unit variance, as in Karras et al. 2022
(arXiv:2206.00364). All lists are float32 on the CPU, so that the sampling loop never waits for a device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import torch
from torch import Tensor


@dataclass(frozen=True)
class NoiseLevels:
    """The noise levels a network was trained at: SD v1's 1000 steps of scaled-linear betas, 0.00085 to 0.0120.

    With alpha_bar the cumulative product of 1 - beta, sigma = sqrt((1 - alpha_bar) / alpha_bar).
    """

    steps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012

    @cached_property
    def sigmas(self) -> Tensor:
        """[steps] float32, ascending: the level of each time step."""
        betas = torch.linspace(self.beta_start**0.5, self.beta_end**0.5, self.steps, dtype=torch.float64) ** 2
        alphas_cumprod = torch.cumprod(1 - betas, dim=0)
        return ((1 - alphas_cumprod) / alphas_cumprod).sqrt().float()

    @cached_property
    def log_sigmas(self) -> Tensor:
        """[steps] float32: natural logarithms of `sigmas`."""
        return self.sigmas.log()

    @property
    def sigma_min(self) -> float:
        """The lowest level, 0.0292 for SD v1."""
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        """The highest level, 14.6146 for SD v1."""
        return float(self.sigmas[-1])

    def timestep(self, sigma: Tensor) -> Tensor:
        """The time step whose level is nearest in log sigma. sigma: [] or [B] -> same shape, whole numbers, float32."""
        distances = (sigma.log()[..., None] - self.log_sigmas).abs()
        return distances.argmin(dim=-1).float()

    def sigma(self, t: Tensor) -> Tensor:
        """The level at a fractional time step, interpolated in log sigma. t: any shape -> same shape."""
        t = t.clamp(0, self.steps - 1)
        low = t.floor().long()
        high = t.ceil().long()
        w = t - low
        return ((1 - w) * self.log_sigmas[low] + w * self.log_sigmas[high]).exp()


Schedule = Callable[[NoiseLevels, int], Tensor]
"""(levels, n) -> decreasing sigmas, n of them and a final 0 (ddim_uniform may give another count)."""


def simple(levels: NoiseLevels, steps: int) -> Tensor:
    """Every (1000 / n)th trained level, from the top."""
    stride = len(levels.sigmas) / steps
    return _ended([float(levels.sigmas[-(1 + int(i * stride))]) for i in range(steps)])


def normal(levels: NoiseLevels, steps: int) -> Tensor:
    """Equal steps in time, both ends included."""
    return _ended(levels.sigma(torch.linspace(levels.steps - 1, 0, steps)))


def karras(levels: NoiseLevels, steps: int) -> Tensor:
    """Equal steps in sigma ** (1 / 7) (Karras et al. 2022, equation 5)."""
    rho = 7.0
    low, high = levels.sigma_min ** (1 / rho), levels.sigma_max ** (1 / rho)
    return _ended((high + torch.linspace(0, 1, steps) * (low - high)) ** rho)


def ddim_uniform(levels: NoiseLevels, steps: int) -> Tensor:
    """DDIM's stride through the trained levels (Song et al. 2021, arXiv:2010.02502), as v1's own sampler counted it.

    The stride is the whole part of 1000 / n, so the list may be longer than n + 1, and it starts below the top.
    """
    stride = max(levels.steps // steps, 1)
    return _ended(levels.sigmas[1::stride].flip(0))


def _ended(sigmas: Tensor | list[float]) -> Tensor:
    return torch.cat([torch.as_tensor(sigmas, dtype=torch.float32), torch.zeros(1)])


SCHEDULES: Mapping[str, Schedule] = MappingProxyType(
    {"simple": simple, "karras": karras, "ddim_uniform": ddim_uniform, "normal": normal}
)


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
