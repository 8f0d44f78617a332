"""The noise levels that a network was trained at, and the time steps it calls them by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

LEAST_SIGNAL = 4.8973451890853435e-08  # alpha_bar of the last step where it should be 0 and its level infinite


@dataclass(frozen=True)
class NoiseLevels:
    """The noise levels a network was trained at: SD v1's 1000 steps of scaled-linear betas, 0.00085 to 0.0120.

    With alpha_bar the cumulative product of 1 - beta, sigma = sqrt((1 - alpha_bar) / alpha_bar). zero_terminal: rescaled
    so that nothing of the picture is left at the last step (Lin et al. 2023, arXiv:2305.08891, Algorithm 1).
    """

    steps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    zero_terminal: bool = False

    @cached_property
    def sigmas(self) -> Tensor:
        """[steps] float32, ascending: the level of each time step."""
        return self._exact.float()

    @cached_property
    def log_sigmas(self) -> Tensor:
        """[steps] float32: natural logarithms of the levels, rounded once.

        Rounding the levels first would move some halves between two steps to the other side: another time step.
        """
        return self._exact.log().float()

    @cached_property
    def _exact(self) -> Tensor:
        return self._trained()

    def _trained(self) -> Tensor:
        """[steps] float64, ascending."""
        betas = torch.linspace(self.beta_start**0.5, self.beta_end**0.5, self.steps, dtype=torch.float64) ** 2
        alphas_cumprod = torch.cumprod(1 - betas, dim=0)
        if self.zero_terminal:
            roots = alphas_cumprod.sqrt()
            alphas_cumprod = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
            alphas_cumprod[-1] = LEAST_SIGNAL
        return ((1 - alphas_cumprod) / alphas_cumprod).sqrt()

    @property
    def times(self) -> tuple[float, float]:
        """The time steps of the highest and of the lowest level."""
        return float(self.steps - 1), 0.0

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
        t = t.clamp(0, len(self.log_sigmas) - 1)
        low = t.floor().long()
        high = t.ceil().long()
        w = t - low
        return ((1 - w) * self.log_sigmas[low] + w * self.log_sigmas[high]).exp()

    def at(self, share: float) -> float:
        """The level after a share of the way from the noise (0) to the picture (1), counted in time steps.

        At 0 and before it any level is still ahead, so it is infinite; at 1 and after it 0.
        """
        if share <= 0:
            return math.inf
        return float(self.sigma(torch.tensor((self.steps - 1) * (1 - share)))) if share < 1 else 0.0


@dataclass(frozen=True)
class DistilledLevels(NoiseLevels):
    """Those of a network that was distilled at every so manieth time step alone, counted from the last (latent consistency,
    Luo et al. 2023, arXiv:2310.04378)."""

    stride: int = 20

    @cached_property
    def _exact(self) -> Tensor:
        return self._trained()[self.stride - 1 :: self.stride]

    @property
    def times(self) -> tuple[float, float]:
        """The time steps of the highest and of the lowest level."""
        return float(self.steps - 1), float(self.stride - 1)

    def timestep(self, sigma: Tensor) -> Tensor:
        """The time step whose level is nearest among those it knows."""
        return super().timestep(sigma) * self.stride + (self.stride - 1)

    def sigma(self, t: Tensor) -> Tensor:
        """The level at a time step, interpolated in log sigma between those it knows."""
        return super().sigma((t - (self.stride - 1)) / self.stride)


class Clock(Protocol):
    """What a network of any level calls the time of one."""

    def time(self, sigma: Tensor) -> Tensor:
        """The time at a level."""

    def sigma(self, time: Tensor) -> Tensor:
        """The level at a time."""


@dataclass(frozen=True)
class QuarterLog:
    """Of Karras et al. 2022 (arXiv:2206.00364), table 1: ln(sigma) / 4."""

    def time(self, sigma: Tensor) -> Tensor:
        """ln(sigma) / 4."""
        return sigma.log() / 4

    def sigma(self, time: Tensor) -> Tensor:
        """exp(4 t)."""
        return (4 * time).exp()


@dataclass(frozen=True)
class Angle:
    """The share of a right angle between clean latent and noise, 0..1."""

    def time(self, sigma: Tensor) -> Tensor:
        """atan(sigma) * 2 / pi."""
        return sigma.atan() * (2 / math.pi)

    def sigma(self, time: Tensor) -> Tensor:
        """tan(t * pi / 2)."""
        return (time * (math.pi / 2)).tan()


@dataclass(frozen=True)
class ContinuousLevels(NoiseLevels):
    """The levels of a network that was trained at any level between two, and is told it by a clock.

    Schedules that count trained levels are given 1000 of them, evenly in log sigma.
    """

    lowest: float = 0.002
    highest: float = 120.0
    clock: Clock = QuarterLog()

    @cached_property
    def _exact(self) -> Tensor:
        return torch.linspace(math.log(self.lowest), math.log(self.highest), self.steps, dtype=torch.float64).exp()

    @property
    def times(self) -> tuple[float, float]:
        """The times of the highest and of the lowest level."""
        high, low = self.clock.time(torch.tensor([self.highest, self.lowest], dtype=torch.float64)).tolist()
        return high, low

    def timestep(self, sigma: Tensor) -> Tensor:
        """The clock's time at a level."""
        return self.clock.time(sigma)

    def sigma(self, t: Tensor) -> Tensor:
        """The level at a time of the clock."""
        return self.clock.sigma(t)

    def at(self, share: float) -> float:
        """The level after a share of the way, even in log sigma; beyond both ends as for trained levels."""
        if share <= 0:
            return math.inf
        return math.exp(math.log(self.highest) * (1 - share) + math.log(self.lowest) * share) if share < 1 else 0.0
