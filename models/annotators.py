"""Pictures as ControlNets were trained to see them, where arithmetic alone makes them: tiles, shuffles, lines, brightness.

All take and give pictures [B, H, W, 3] in 0..1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.colour_transfer import light_of_srgb
from models.scaling import PICTURE_METHODS

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
PATCH = 256  # pixels between two places that a shuffle draws
DARK = 127 / 255  # what a scribble is darker than
DIMMEST = 16 / 255  # lines are made as bright as if their middle were this at least
LINE = 127 / 255  # how bright the middle of all lines is made


def with_short_side(pictures: Tensor, pixels: int) -> Tensor:
    """Pictures whose short side has so many pixels: the mean of areas where they shrink, Lanczos where they grow."""
    height, width = pictures.shape[1:3]
    scale = pixels / min(height, width)
    if scale == 1:
        return pictures
    method = PICTURE_METHODS["area" if scale < 1 else "lanczos"]
    return method(pictures.movedim(-1, 1), round(width * scale), round(height * scale)).movedim(1, -1)


def tiled(pictures: Tensor, halvings: int) -> Tensor:
    """Pictures without detail: the mean of areas of 2 ** halvings pixels a side, and up again by Gaussian pyramids."""
    x = pictures.movedim(-1, 1)
    size = [max(2, round(side / 2**halvings)) for side in x.shape[-2:]]
    x = F.interpolate(x, size=size, mode="area")
    for _ in range(halvings):
        x = _twice(_twice(x).transpose(-1, -2)).transpose(-1, -2)
    return x.movedim(1, -1).clamp(0, 1)


def _twice(x: Tensor) -> Tensor:
    """[..., W] -> [..., 2 W]: a step up a Gaussian pyramid (Burt and Adelson 1983), mirrored at the start."""
    before = torch.cat([x[..., 1:2], x[..., :-1]], dim=-1)
    after = torch.cat([x[..., 1:], x[..., -1:]], dim=-1)
    return torch.stack([(before + 6 * x + after) / 8, (x + after) / 2], dim=-1).flatten(-2)


def shuffled(pictures: Tensor, seed: int) -> Tensor:
    """Pictures of which every place shows another: smooth noise says which. All of a batch are shuffled alike."""
    _, height, width, _ = pictures.shape
    chance = np.random.RandomState(seed % 2**32)
    columns, rows = (_smooth(chance, height, width) for _ in range(2))
    grid = torch.stack([columns, rows], dim=-1) * 2 - 1
    x = pictures.movedim(-1, 1)
    moved = F.grid_sample(x, grid.expand(len(x), -1, -1, -1), "bilinear", "border", align_corners=True)
    return moved.movedim(1, -1)


def _smooth(chance: np.random.RandomState, height: int, width: int) -> Tensor:
    """Smooth noise in 0..1, [height, width]."""
    drawn = torch.from_numpy(chance.uniform(0, 1, (height // PATCH + 2, width // PATCH + 2))).float()
    size = (height + 2 * PATCH, width + 2 * PATCH)
    noise = F.interpolate(drawn[None, None], size=size, mode="bicubic")[0, 0, PATCH:-PATCH, PATCH:-PATCH]
    low, high = noise.min(), noise.max()
    return (noise - low) / (high - low)


def dark_parts(pictures: Tensor, threshold: int) -> Tensor:
    """White where pictures are at most `threshold` of 255 bright, else black; 0 or 255: at Otsu's (1979) threshold."""
    luma = ((pictures * torch.tensor(LUMA)).sum(-1) * 255).round()
    made = [_white(one <= (otsu(one) if threshold in (0, 255) else threshold)) for one in luma]
    return torch.stack(made)


def otsu(luma: Tensor) -> int:
    """The threshold that best parts the brightnesses of a picture: luma [H, W], whole numbers in 0..255."""
    counts = torch.bincount(luma.flatten().long(), minlength=256).double()
    levels = torch.arange(256, dtype=torch.float64)
    below, sums = counts.cumsum(0), (counts * levels).cumsum(0)
    above = counts.sum() - below
    apart = sums / below.clamp(min=1) - (sums[-1] - sums) / above.clamp(min=1)
    return int((below * above * apart**2).argmax())


def scribbled(pictures: Tensor) -> Tensor:
    """White where some colour of a picture is darker than half, as pencil on paper is; else black."""
    return torch.stack([_white(one.amin(-1) < DARK) for one in pictures])


def luminance(pictures: Tensor, gamma: float) -> Tensor:
    """How bright pictures look: L* of CIELAB of their sRGB, in 0..1, to the power of gamma."""
    y = (light_of_srgb(pictures) * torch.tensor((0.212671, 0.715160, 0.072169))).sum(-1, keepdim=True)
    light = torch.where(y > 216 / 24389, 1.16 * y.clamp(min=0) ** (1 / 3) - 0.16, y * 24389 / 2700)
    return (light**gamma).clamp(0, 1).expand(-1, -1, -1, 3)


def lines(pictures: Tensor, sigma: float, threshold: int) -> Tensor:
    """How much darker pictures are than their blur: drawings as white lines on black.

    sigma: of the blur, in pixels; threshold: of 255, above which a place counts for how bright lines are made.
    """
    x = pictures.movedim(-1, 1)
    darker = (_blurred(x, sigma) - x).amin(1).clamp(0, 1)
    made = []
    for one in darker:
        counted = one[one > threshold / 255]
        middle = float(np.median(counted.numpy())) if len(counted) else 0.0
        made.append((one / max(DIMMEST, middle) * LINE).clamp(0, 1))
    return torch.stack(made)[..., None].expand(-1, -1, -1, 3)


def _blurred(x: Tensor, sigma: float) -> Tensor:
    """[B, C, H, W] under a Gaussian of four deviations, mirrored at the edges as often as needed."""
    radius = round(4 * sigma)
    places = torch.arange(-radius, radius + 1, dtype=torch.float32)
    weights = torch.exp(-((places / sigma) ** 2) / 2)
    weights = weights / weights.sum()
    for _ in range(2):
        side = x.shape[-1]
        period = max(1, 2 * side - 2)
        at = (torch.arange(-radius, side + radius) % period + period) % period
        mirrored = x[..., torch.minimum(at, period - at) if side > 1 else at * 0]
        x = F.conv1d(mirrored.flatten(0, -2)[:, None], weights[None, None])[:, 0].view(*x.shape)
        x = x.transpose(-1, -2)
    return x


def _white(where: Tensor) -> Tensor:
    """[H, W] -> [H, W, 3]."""
    return where.float()[..., None].expand(-1, -1, 3)
