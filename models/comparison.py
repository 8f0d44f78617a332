"""How alike two pictures are, pixel by pixel: PSNR and SSIM."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW = 11  # pixels a side of SSIM's window
SPREAD = 1.5  # its standard deviation in pixels
C1, C2 = 0.01**2, 0.03**2


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal to noise in decibels, of pictures of the same shape in 0..1; infinite for equal ones."""
    error = (a.double() - b.double()).square().mean().item()
    return -10 * math.log10(error) if error else math.inf


def ssim(a: Tensor, b: Tensor) -> float:
    """Structural similarity, 1 for equal pictures, of pictures [H, W, C] in 0..1 of WINDOW pixels a side or more.

    Wang et al. 2004, with their Gaussian window and constants; the mean over the channels, and over the places where
    the window lies within the picture.
    """
    x, y = (picture.double().movedim(-1, 0)[:, None] for picture in (a, b))
    mean_x, mean_y = _blurred(x), _blurred(y)
    variance_x, variance_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    alike = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    return (alike / ((mean_x**2 + mean_y**2 + C1) * (variance_x + variance_y + C2))).mean().item()


def _blurred(x: Tensor) -> Tensor:
    """[C, 1, H, W] -> [C, 1, H - 10, W - 10]."""
    place = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    bell = (-(place**2) / (2 * SPREAD**2)).exp()
    bell = bell / bell.sum()
    return F.conv2d(F.conv2d(x, bell.reshape(1, 1, -1, 1)), bell.reshape(1, 1, 1, -1))
