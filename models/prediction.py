"""What a network's answer means: from its output to the estimate of the clean latent.

x is the noisy latent, clean + sigma * noise; the network is given x / sqrt(sigma ** 2 + 1), of unit variance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from torch import Tensor

from models.levels import NoiseLevels


class Prediction(Protocol):
    """What a network was trained to tell of a noisy latent. Picklable."""

    def scaled(self, x: Tensor, sigma: Tensor) -> Tensor:
        """What the network is given for x at level sigma []."""

    def denoised(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """The estimate of the clean latent, float32. output: [B, C, h, w] float32, the network's answer."""


@dataclass(frozen=True)
class Eps:
    """The noise, eps (Ho et al. 2020, arXiv:2006.11239): D = x - sigma * eps."""

    def scaled(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x at unit variance."""
        return unit_variance(x, sigma)

    def denoised(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """D = x - sigma * eps."""
        return x - output * sigma


@dataclass(frozen=True)
class Velocity:
    """v = alpha * noise - sigma' * clean in the variance-preserving scale (Salimans and Ho 2022, arXiv:2202.00512)."""

    def scaled(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x at unit variance."""
        return unit_variance(x, sigma)

    def denoised(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """D = x / (sigma ** 2 + 1) - v * sigma / sqrt(sigma ** 2 + 1)."""
        return x / (sigma**2 + 1) - output * sigma / (sigma**2 + 1).sqrt()


@dataclass(frozen=True)
class Clean:
    """The clean latent itself, often called x0."""

    def scaled(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x at unit variance."""
        return unit_variance(x, sigma)

    def denoised(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """D is the output."""
        return output


def unit_variance(x: Tensor, sigma: Tensor) -> Tensor:
    """x of variance sigma ** 2 + 1 -> of variance 1."""
    return x / (sigma**2 + 1).sqrt()


@dataclass(frozen=True)
class Picture:
    """The clean latent, of a network that is given x as it is."""

    def scaled(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x."""
        return x

    def denoised(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """D is the output."""
        return output


@dataclass(frozen=True)
class Preconditioned:
    """EDM's network, which tells a mixture of noise and clean latent (Karras et al. 2022, arXiv:2206.00364, table 1).

    deviation: of the data, their sigma_data.
    """

    deviation: float = 0.5

    def scaled(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x at unit variance, for data of that deviation: their c_in."""
        return x / (sigma**2 + self.deviation**2).sqrt()

    def denoised(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """D = c_skip x + c_out output."""
        variance = sigma**2 + self.deviation**2
        return x * (self.deviation**2 / variance) + output * (sigma * self.deviation / variance.sqrt())


@dataclass(frozen=True)
class Consistent:
    """The noise, told by a network that was distilled to jump (Luo et al. 2023, arXiv:2310.04378, appendix).

    D = c_skip x + c_out (x - sigma eps), with c_skip = d² / (t² + d²) and c_out = t / sqrt(t² + d²) for ten times the
    time step t and d = 0.5: x itself at time 0. levels: where the time step is read.
    """

    levels: NoiseLevels

    def scaled(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x at unit variance."""
        return unit_variance(x, sigma)

    def denoised(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """D = c_skip x + c_out (x - sigma eps)."""
        t = 10 * float(self.levels.timestep(sigma.cpu()))
        return (x - output * sigma) * (t / math.hypot(t, 0.5)) + x * (0.25 / (t * t + 0.25))


PREDICTIONS: Mapping[str, Prediction] = MappingProxyType(
    {"eps": Eps(), "v_prediction": Velocity(), "x0": Clean(), "img_to_img": Picture()}
)
"""By the names that workflows use for them."""
