"""What a network's answer means: from its output to the estimate of the clean latent.

x is the noisy latent, clean + sigma * noise; the network is given x / sqrt(sigma ** 2 + 1), of unit variance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from torch import Tensor


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


PREDICTIONS: Mapping[str, Prediction] = MappingProxyType(
    {"eps": Eps(), "v_prediction": Velocity(), "x0": Clean(), "img_to_img": Picture()}
)
"""By the names that workflows use for them."""
