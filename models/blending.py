"""Laying one picture over another: by masks, by blend modes, and by the rules of Porter and Duff (1984)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from models.masking import cycled, fitted
from models.scaling import PICTURE_METHODS, center_crop

Blend = Callable[[Tensor, Tensor], Tensor]


def _overlay(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(a <= 0.5, 2 * a * b, 1 - 2 * (1 - a) * (1 - b))


def _soft_light(a: Tensor, b: Tensor) -> Tensor:
    """W3C Compositing and Blending Level 1, section 9.1.9."""
    lightened = torch.where(a <= 0.25, ((16 * a - 12) * a + 4) * a, a.clamp(min=0).sqrt())
    return torch.where(b <= 0.5, a - (1 - 2 * b) * a * (1 - a), a + (2 * b - 1) * (lightened - a))


BLENDS: Mapping[str, Blend] = MappingProxyType(
    {
        "normal": lambda a, b: b,
        "multiply": torch.mul,
        "screen": lambda a, b: 1 - (1 - a) * (1 - b),
        "overlay": _overlay,
        "soft_light": _soft_light,
        "difference": torch.sub,
    }
)
"""(below, above) -> the blended picture, before both are mixed and cut to 0..1."""

Rule = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Source and its alpha, destination and its alpha, colours multiplied by alpha -> colour and alpha."""


def _coefficients(
    of_source: Callable[[Tensor, Tensor], Tensor], of_destination: Callable[[Tensor, Tensor], Tensor]
) -> Rule:
    def rule(s: Tensor, sa: Tensor, d: Tensor, da: Tensor) -> tuple[Tensor, Tensor]:
        fs, fd = of_source(sa, da), of_destination(sa, da)
        return fs * s + fd * d, fs * sa + fd * da

    return rule


def _extreme(pick: Blend) -> Rule:
    return lambda s, sa, d, da: ((1 - da) * s + (1 - sa) * d + pick(s, d), sa + da - sa * da)


def _overlaid(s: Tensor, sa: Tensor, d: Tensor, da: Tensor) -> tuple[Tensor, Tensor]:
    return torch.where(2 * d < da, 2 * s * d, sa * da - 2 * (da - d) * (sa - s)), sa + da - sa * da


def _none(sa: Tensor, da: Tensor) -> Tensor:
    return torch.zeros_like(sa)


def _all(sa: Tensor, da: Tensor) -> Tensor:
    return torch.ones_like(sa)


PORTER_DUFF: Mapping[str, Rule] = MappingProxyType(
    {
        "ADD": lambda s, sa, d, da: ((s + d).clamp(0, 1), (sa + da).clamp(0, 1)),
        "CLEAR": _coefficients(_none, _none),
        "DARKEN": _extreme(torch.minimum),
        "DST": _coefficients(_none, _all),
        "DST_ATOP": _coefficients(lambda sa, da: 1 - da, lambda sa, da: sa),
        "DST_IN": _coefficients(_none, lambda sa, da: sa),
        "DST_OUT": _coefficients(_none, lambda sa, da: 1 - sa),
        "DST_OVER": _coefficients(lambda sa, da: 1 - da, _all),
        "LIGHTEN": _extreme(torch.maximum),
        "MULTIPLY": lambda s, sa, d, da: (s * d, sa * da),
        "OVERLAY": _overlaid,
        "SCREEN": lambda s, sa, d, da: (s + d - s * d, sa + da - sa * da),
        "SRC": _coefficients(_all, _none),
        "SRC_ATOP": _coefficients(lambda sa, da: da, lambda sa, da: 1 - sa),
        "SRC_IN": _coefficients(lambda sa, da: da, _none),
        "SRC_OUT": _coefficients(lambda sa, da: 1 - da, _none),
        "SRC_OVER": _coefficients(_all, lambda sa, da: 1 - sa),
        "XOR": _coefficients(lambda sa, da: 1 - da, lambda sa, da: 1 - sa),
    }
)
"""The compositing rules, as Android's PorterDuff.Mode documents them."""


def pasted(destination: Tensor, source: Tensor, x: int, y: int, mask: Tensor | None, resize: bool) -> Tensor:
    """`source` [B', C, h, w] over `destination` [B, C, H, W] at (x, y), as far as it reaches and `mask` is 1.

    resize: source is first brought to the size of destination. mask: [M, h', w'], brought to the size of source; None
    means all of it. Batches with fewer items are repeated.
    """
    if resize:
        source = PICTURE_METHODS["bilinear"](source, destination.shape[-1], destination.shape[-2])
    count = max(len(destination), len(source))
    result, source = cycled(destination, count).clone(), cycled(source, count)
    height, width = source.shape[-2:]
    shown = torch.ones(1, height, width) if mask is None else fitted(mask, height, width)
    part = result[..., y : y + height, x : x + width]
    rows, columns = part.shape[-2:]
    weight = cycled(shown, count)[:, None, :rows, :columns]
    part.copy_(source[..., :rows, :columns] * weight + part * (1 - weight))
    return result


def with_channels(pixels: Tensor, channels: int) -> Tensor:
    """[B, H, W, C] with so many channels: those beyond are dropped, a missing one is an alpha of 1."""
    missing = channels - pixels.shape[-1]
    return (
        torch.cat([pixels, pixels.new_ones(*pixels.shape[:-1], missing)], -1) if missing > 0 else pixels[..., :channels]
    )


def blended(below: Tensor, above: Tensor, share: float, blend: Blend) -> Tensor:
    """Both [B, H, W, C], mixed: 1 - share of `below`, share of the blend; in 0..1. `above` is fitted to `below`."""
    channels, (height, width) = max(below.shape[-1], above.shape[-1]), below.shape[1:3]
    count = max(len(below), len(above))
    below, above = (cycled(with_channels(it, channels), count) for it in (below, above))
    if above.shape[1:3] != (height, width):
        above = cover(above.movedim(-1, 1), width, height).movedim(1, -1)
    return (below * (1 - share) + blend(below, above) * share).clamp(0, 1)


def cover(x: Tensor, width: int, height: int) -> Tensor:
    """[B, C, h, w] -> the middle of it in the shape and size of [B, C, height, width], bicubic."""
    return PICTURE_METHODS["bicubic"](center_crop(x, width, height), width, height)


def composite(s: Tensor, sa: Tensor, d: Tensor, da: Tensor, rule: Rule) -> tuple[Tensor, Tensor]:
    """Colours [B, H, W, C] and alphas [B, H, W, 1] of source and destination, of one size -> colour and alpha in 0..1."""
    colour, alpha = rule(s * sa, sa, d * da, da)
    plain = torch.where(alpha > 1e-5, colour / alpha, torch.zeros_like(colour))
    return plain.clamp(0, 1), alpha.clamp(0, 1)
