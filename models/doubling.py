"""Doubling a feature map's sides and the convolution behind it, together: as one transposed convolution where that is faster."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Upsample(nn.Module):
    """Double both sides (nearest), then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, 2 H, 2 W]."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def doubled(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What `Upsample` makes of x [B, C, H, W] with a weight [C', C, 3, 3]: [B, C', 2 H, 2 W].

    Two neighbours of the doubled map are one pixel of x, so that three taps fall on two pixels: 16 products for 4 pixels
    of the result instead of 36. The sums are in another order, and differ in the last digits.
    """
    kernel = _widened(_widened(weight, 2), 3).transpose(0, 1)
    return F.conv_transpose2d(x, kernel, bias, stride=2, padding=1)


def _widened(weight: Tensor, dim: int) -> Tensor:
    """Three taps a, b, c over pixels that come twice -> the four of the transposed convolution: c, b + c, a + b, a."""
    a, b, c = weight.unbind(dim)
    return torch.stack([c, b + c, a + b, a], dim)
