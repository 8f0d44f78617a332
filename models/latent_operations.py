"""Arithmetic of latents: their directions and lengths, sharpening and tone mapping. Cells are vectors of channels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.filters import relative_gaussian


def interpolated(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Between b (share 0) and a (1), both [B, C, h, w]: the directions of cells and their lengths, each for itself."""
    lengths = [x.norm(dim=1, keepdim=True) for x in (a, b)]
    directions = [(x / length).nan_to_num(0.0) for x, length in zip((a, b), lengths, strict=True)]
    mixed = directions[0] * share + directions[1] * (1 - share)
    mixed = (mixed / mixed.norm(dim=1, keepdim=True)).nan_to_num(0.0)
    return mixed * (lengths[0] * share + lengths[1] * (1 - share))


def composited(below: Tensor, above: Tensor, x: int, y: int, feather: int) -> Tensor:
    """`above` [B', C, h, w] on `below` [B, C, H, W] at (x, y), as far as it reaches; all in cells.

    Over `feather` cells it fades in, 1 / feather at its edge, but not at sides that touch an edge of `below`.
    """
    above = above[torch.arange(len(below)) % len(below) % len(above)]
    result = below.clone()
    part = result[..., y : y + above.shape[-2], x : x + above.shape[-1]]
    above = above[..., : part.shape[-2], : part.shape[-1]]
    height, width = above.shape[-2:]
    ramps = _ramp(height, feather, y > 0, y + height < below.shape[-2])[:, None] * _ramp(
        width, feather, x > 0, x + width < below.shape[-1]
    )
    part.copy_(above * ramps + part * (1 - ramps))
    return result


def _ramp(size: int, feather: int, first: bool, last: bool) -> Tensor:
    weights = torch.ones(size)
    rise = (torch.arange(1, feather + 1) / max(feather, 1))[:size]
    if first:
        weights[: len(rise)] *= rise
    if last:
        weights[size - len(rise) :] *= rise.flip(0)
    return weights


@dataclass(frozen=True)
class Sharpen:
    """Directions of cells sharpened, lengths kept: ten times `alpha` of what a blur takes away is added."""

    radius: int
    sigma: float
    alpha: float

    def __call__(self, latent: Tensor) -> Tensor:
        """[B, C, h, w] -> the same shape. The picture goes on beyond its edges as in a mirror."""
        length = latent.norm(dim=1, keepdim=True) + 1e-6
        kernel = relative_gaussian(self.radius, self.sigma) * (-10 * self.alpha)
        kernel[self.radius, self.radius] += 1 - kernel.sum()
        radius = min(self.radius, latent.shape[-1] - 1, latent.shape[-2] - 1)
        kept = kernel[self.radius - radius : self.radius + radius + 1, self.radius - radius : self.radius + radius + 1]
        channels = latent.shape[1]
        weight = kept.to(latent).expand(channels, 1, -1, -1)
        padded = F.pad(latent / length, (radius,) * 4, mode="reflect")
        return F.conv2d(padded, weight, groups=channels) * length


@dataclass(frozen=True)
class Tonemap:
    """Lengths of cells pressed together as Reinhard et al. 2002 do with light: m / (m / top + 1).

    top: the mean and five deviations of all lengths, times `multiplier`.
    """

    multiplier: float

    def __call__(self, latent: Tensor) -> Tensor:
        """[B, C, h, w] -> the same shape."""
        length = latent.norm(dim=1, keepdim=True) + 1e-10
        top = length.mean(dim=(1, 2, 3), keepdim=True) + 5 * length.std(dim=(1, 2, 3), keepdim=True)
        top = top * self.multiplier
        share = length / top
        return latent / length * (share / (share + 1) * top)
