"""Filters of pictures: blur, sharpening, edges, morphology, colour spaces and few colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torch.nn import functional as F

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def _convolved(x: Tensor, kernel: Tensor) -> Tensor:
    """Each channel of [B, C, H, W] with an odd square kernel, mirrored at the edges."""
    radius, channels = len(kernel) // 2, x.shape[1]
    height, width = x.shape[-2:]
    mode = "reflect" if radius < min(height, width) else "replicate"  # too small a picture to be mirrored
    padded = F.pad(x, (radius,) * 4, mode=mode)
    return F.conv2d(padded, kernel.expand(channels, 1, *kernel.shape), groups=channels)


def relative_gaussian(radius: int, sigma: float) -> Tensor:
    """[2 radius + 1] squared, sum 1; sigma counts in radii, so the kernel has one shape in every size."""
    places = torch.linspace(-1, 1, 2 * radius + 1)
    distance = places[:, None] ** 2 + places**2
    kernel = torch.exp(-distance / (2 * sigma**2))
    return kernel / kernel.sum()


def blur(x: Tensor, radius: int, sigma: float) -> Tensor:
    """[B, C, H, W] under `relative_gaussian`."""
    return _convolved(x, relative_gaussian(radius, sigma))


def sharpen(x: Tensor, radius: int, sigma: float, alpha: float) -> Tensor:
    """[B, C, H, W] with ten times alpha of what a blur takes away added, cut to 0..1."""
    kernel = relative_gaussian(radius, sigma) * (-10 * alpha)
    kernel[radius, radius] += 1 - kernel.sum()
    return _convolved(x, kernel).clamp(0, 1)


def _dilate(x: Tensor, size: int) -> Tensor:
    before, after = size // 2, size - size // 2 - 1
    across = F.max_pool2d(F.pad(x, (before, after, 0, 0), value=-torch.inf), (1, size), 1)
    return F.max_pool2d(F.pad(across, (0, 0, before, after), value=-torch.inf), (size, 1), 1)


def _erode(x: Tensor, size: int) -> Tensor:
    return -_dilate(-x, size)


MORPHOLOGY: Mapping[str, Callable[[Tensor, int], Tensor]] = MappingProxyType(
    {
        "erode": _erode,
        "dilate": _dilate,
        "open": lambda x, size: _dilate(_erode(x, size), size),
        "close": lambda x, size: _erode(_dilate(x, size), size),
        "gradient": lambda x, size: _dilate(x, size) - _erode(x, size),
        "bottom_hat": lambda x, size: _erode(_dilate(x, size), size) - x,
        "top_hat": lambda x, size: x - _dilate(_erode(x, size), size),
    }
)
"""(pictures [B, C, H, W], size of a square in pixels) -> pictures. Nothing is seen beyond the edges."""


def canny(x: Tensor, low: float, high: float) -> Tensor:
    """Edges, 0 or 1, of [B, 3, H, W] in 0..1 -> [B, 1, H, W] (Canny 1986).

    Blurred by a Gaussian of sigma 1 over 5 pixels; slopes by Sobel; thinned to where the slope is largest along its
    direction, to the nearest eighth of a turn; slopes above `high` are edges, and those above `low` that touch one.
    """
    grey = (x * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    bell = torch.exp(-(torch.arange(-2.0, 3.0) ** 2) / 2)
    smooth = _convolved(grey, torch.outer(bell, bell) / bell.sum() ** 2)
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    slopes = F.conv2d(F.pad(smooth, (1, 1, 1, 1), mode="replicate"), torch.stack([sobel, sobel.T])[:, None])
    across, down = slopes[:, :1], slopes[:, 1:]
    steepness = (across**2 + down**2 + 1e-6).sqrt()
    eighth = (torch.atan2(down, across) * (4 / math.pi)).round().long() % 4
    thin = steepness * _is_ridge(steepness, eighth)
    strong, weak = thin > high, thin > low
    while True:
        spread = weak & (F.max_pool2d(strong.float(), 3, 1, 1) > 0) | strong
        if torch.equal(spread, strong):
            return strong.to(x.dtype)
        strong = spread


def _is_ridge(steepness: Tensor, eighth: Tensor) -> Tensor:
    """Whether a value is above both neighbours in its direction: 0 across, 1 down right, 2 down, 3 down left."""
    height, width = steepness.shape[-2:]
    around = F.pad(steepness, (1, 1, 1, 1))

    def neighbour(dx: int, dy: int) -> Tensor:
        return around[..., 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]

    ridge = torch.zeros_like(steepness, dtype=torch.bool)
    for direction, (dx, dy) in enumerate(((1, 0), (1, 1), (0, 1), (-1, 1))):
        above = (steepness > neighbour(dx, dy)) & (steepness > neighbour(-dx, -dy))
        ridge |= (eighth == direction) & above
    return ridge


def to_ycbcr(pixels: Tensor) -> Tensor:
    """[B, H, W, 3] in 0..1 -> luma and two differences of colour, all in 0..1 (JPEG's YCbCr)."""
    luma = (pixels[..., :3] * torch.tensor(LUMA)).sum(-1)
    blue, red = (pixels[..., 2] - luma) * 0.564 + 0.5, (pixels[..., 0] - luma) * 0.713 + 0.5
    return torch.stack([luma, blue, red], -1)


def from_ycbcr(planes: Tensor) -> Tensor:
    """The inverse of `to_ycbcr`."""
    luma, blue, red = planes[..., 0], planes[..., 1] - 0.5, planes[..., 2] - 0.5
    return torch.stack([luma + 1.403 * red, luma - 0.714 * red - 0.344 * blue, luma + 1.773 * blue], -1)


def bayer(order: int) -> Tensor:
    """Bayer's matrix of thresholds, [order, order] in 0..1 (Bayer 1973); order: a power of two."""
    matrix = torch.zeros(1, 1)
    while len(matrix) < order:
        matrix = torch.cat([torch.cat([4 * matrix, 4 * matrix + 2], 1), torch.cat([4 * matrix + 3, 4 * matrix + 1], 1)])
    return matrix / order**2


def quantized(pixels: Tensor, colours: int, dither: str) -> Tensor:
    """One picture [H, W, 3] in 0..1 with so many colours, chosen by Pillow's median cut.

    dither: none, floyd-steinberg (error diffusion), or bayer-N (thresholds of an N by N pattern).
    """
    levels = (pixels * 255).round().clamp(0, 255)
    picture = PIL.Image.fromarray(levels.to(torch.uint8).numpy())
    palette = picture.quantize(colors=colours)
    if dither.startswith("bayer-"):
        height, width = pixels.shape[:2]
        pattern = bayer(int(dither.removeprefix("bayer-")))
        tiled = pattern.repeat(-(-height // len(pattern)), -(-width // len(pattern)))[:height, :width, None]
        spread = 256 / max(1.0, colours ** (1 / 3))  # about the distance between neighbouring colours
        picture = PIL.Image.fromarray(
            (levels + (tiled - pattern.mean()) * spread).round().clamp(0, 255).to(torch.uint8).numpy()
        )
    diffuse = PIL.Image.Dither.FLOYDSTEINBERG if dither == "floyd-steinberg" else PIL.Image.Dither.NONE
    few = picture.quantize(colors=colours, palette=palette, dither=diffuse).convert("RGB")
    return torch.from_numpy(np.array(few).astype(np.float32) / 255)
