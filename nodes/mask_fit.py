"""Whether a mask fits what it is for: one that has to be resized is told, and that it is stretched, if it is."""

from __future__ import annotations

from torch import Tensor

from nodes.services import Context

MOST = 0.01  # how much proportions may differ without being called so: masks are often a few pixels off


def told_of_mask(ctx: Context, mask: Tensor, height: int, width: int, factor: int = 1, name: str = "mask") -> None:
    """Warn where a mask [b, h, w] is resized to lie over `width` x `height` cells of `factor` pixels a side.

    A mask in cells or in pixels fits, and of a blank one nothing is lost.
    """
    rows, columns = mask.shape[-2:]
    if (rows, columns) in ((height, width), (height * factor, width * factor)) or not mask.any():
        return
    sizes = f"of {columns}x{rows} is resized to {width * factor}x{height * factor}"
    stretched = abs(columns * height / (rows * width) - 1) > MOST
    ctx.warn(f"the mask {sizes}" + (", and stretched: its proportions are others" if stretched else ""), name)
