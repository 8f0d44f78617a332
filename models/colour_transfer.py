"""Giving a picture the colours of another: by mean and spread, by covariance, or value by value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

Transfer = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(colours, those of the baseline, those of the reference), each [n, 3] -> the changed colours."""

HISTOGRAM = "histogram"
TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
WHITE = (0.95047, 1.0, 1.08883)  # D65


def light_of_srgb(x: Tensor) -> Tensor:
    """Linear light of values in sRGB (IEC 61966-2-1)."""
    return torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055).clamp(min=0) ** 2.4)


def to_lab(rgb: Tensor) -> Tensor:
    """sRGB in 0..1 -> CIE L*a*b* of 1976 under D65 (IEC 61966-2-1; ISO/CIE 11664-4). [..., 3]"""
    t = light_of_srgb(rgb) @ torch.tensor(TO_XYZ).T.to(rgb) / torch.tensor(WHITE).to(rgb)
    f = torch.where(t > (6 / 29) ** 3, t.clamp(min=1e-12) ** (1 / 3), t * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = f.unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-1)


def from_lab(lab: Tensor) -> Tensor:
    """The way back; colours that no screen shows are cut to 0..1."""
    lightness, a, b = lab.unbind(-1)
    y = (lightness + 16) / 116
    f = torch.stack([y + a / 500, y, y - b / 200], dim=-1)
    t = torch.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * torch.tensor(WHITE).to(lab)
    linear = t @ torch.linalg.inv(torch.tensor(TO_XYZ, dtype=torch.float64)).T.to(lab)
    rgb = torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)
    return rgb.clamp(0, 1)


def reinhard(colours: Tensor, baseline: Tensor, reference: Tensor) -> Tensor:
    """Mean and spread of each channel as the reference has them (Reinhard et al. 2001)."""
    scale = reference.std(dim=0) / baseline.std(dim=0).clamp(min=1e-6)
    return (colours - baseline.mean(dim=0)) * scale + reference.mean(dim=0)


def monge_kantorovich(colours: Tensor, baseline: Tensor, reference: Tensor) -> Tensor:
    """The linear map of least cost between two Gaussians of these means and covariances (Pitie and Kokaram 2007)."""
    given, wanted = (torch.cov(x.T.double()) + 1e-8 * torch.eye(3, dtype=torch.float64) for x in (baseline, reference))
    root = _root(given)
    inverse = torch.linalg.inv(root)
    through = inverse @ _root(root @ wanted @ root) @ inverse
    return (colours - baseline.mean(dim=0)) @ through.to(colours) + reference.mean(dim=0)


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def matched(colours: Tensor, baseline: Tensor, reference: Tensor) -> Tensor:
    """Each channel's values as often as in the reference: v becomes what stands there at the same quantile."""
    channels = []
    for value, given, wanted in zip(colours.T, baseline.T, reference.T, strict=True):
        ranks = torch.searchsorted(given.sort().values, value.contiguous(), right=True) / len(given)
        ordered = wanted.sort().values
        channels.append(ordered[((ranks * len(ordered)).ceil().long() - 1).clamp(0, len(ordered) - 1)])
    return torch.stack(channels, dim=-1)


TRANSFERS: Mapping[str, Transfer] = MappingProxyType({"reinhard_lab": reinhard, "mkl_lab": monge_kantorovich})
"""Those that work in L*a*b*."""


def transferred(picture: Tensor, baseline: Tensor, reference: Tensor, method: str) -> Tensor:
    """[H, W, 3] in 0..1 with the colours of `reference` [n, H', W', 3]. baseline: [m, H, W, 3], what it is told by."""
    flat = [x.reshape(-1, 3) for x in (picture, baseline, reference)]
    if method == HISTOGRAM:
        return matched(*flat).reshape(picture.shape)
    return from_lab(TRANSFERS[method](*(to_lab(x) for x in flat))).reshape(picture.shape)
