"""Arithmetic of masks: growing, feathering, and combining one with another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F

Combine = Callable[[Tensor, Tensor], Tensor]


def _rounded(logic: Combine) -> Combine:
    return lambda a, b: logic(a.round().bool(), b.round().bool()).to(a.dtype)


COMBINATIONS: Mapping[str, Combine] = MappingProxyType(
    {
        "multiply": torch.mul,
        "add": torch.add,
        "subtract": torch.sub,
        "and": _rounded(torch.logical_and),
        "or": _rounded(torch.logical_or),
        "xor": _rounded(torch.logical_xor),
    }
)
"""(destination, source) -> the destination's new values; the last three of masks rounded to 0 and 1."""


def grown(masks: Tensor, cells: int, tapered: bool) -> Tensor:
    """Grey dilation of [B, H, W] by `cells` cells, or erosion if negative.

    tapered: to the four neighbours of every cell, `cells` times, so corners become diagonal; else to all eight, so
    squares stay squares.
    """
    if cells < 0:
        return -grown(-masks, -cells, tapered)
    if not tapered:
        height, width = masks.shape[-2:]
        return _widest(_widest(masks, min(cells, width - 1), 0), 0, min(cells, height - 1))
    for _ in range(cells):
        wider = torch.maximum(_widest(masks, 1, 0), _widest(masks, 0, 1))
        if torch.equal(wider, masks):
            break
        masks = wider
    return masks


def _widest(masks: Tensor, columns: int, rows: int) -> Tensor:
    """The largest value within so many columns and rows."""
    size, padding = (2 * rows + 1, 2 * columns + 1), (rows, columns)
    return (
        F.max_pool2d(F.pad(masks[:, None], (columns, columns, rows, rows), value=-torch.inf), size, 1)[:, 0]
        if any(padding)
        else masks
    )


def feathered(masks: Tensor, left: int, top: int, right: int, bottom: int) -> Tensor:
    """[B, H, W] fading to its edges: the outermost of n columns or rows times 1 / n, the next 2 / n, and so on."""
    height, width = masks.shape[-2:]
    across, down = torch.ones(width), torch.ones(height)
    for ramp, first, last in ((across, left, right), (down, top, bottom)):
        first, last = min(first, len(ramp)), min(last, len(ramp))
        ramp[:first] *= torch.arange(1, first + 1) / max(first, 1)
        ramp[len(ramp) - last :] *= torch.arange(last, 0, -1) / max(last, 1)
    return masks * across * down[:, None]


def combined(destination: Tensor, source: Tensor, x: int, y: int, combine: Combine) -> Tensor:
    """`destination` [B, H, W] with `source` [B', h, w] combined into it at (x, y), as far as it reaches, cut to 0..1.

    The batch with fewer masks is repeated.
    """
    count = max(len(destination), len(source))
    result, source = cycled(destination, count).clone(), cycled(source, count)
    part = result[:, y : y + source.shape[-2], x : x + source.shape[-1]]
    part.copy_(combine(part, source[:, : part.shape[-2], : part.shape[-1]]))
    return result.clamp_(0, 1)


def cycled(batch: Tensor, count: int) -> Tensor:
    """The first `count` items of a batch, beginning anew when it has fewer."""
    return batch if len(batch) == count else batch[torch.arange(count) % len(batch)]


def fitted(masks: Tensor, height: int, width: int) -> Tensor:
    """[B, h, w] -> [B, height, width], bilinear."""
    if masks.shape[-2:] == (height, width):
        return masks
    return F.interpolate(masks[:, None], size=(height, width), mode="bilinear")[:, 0]
