"""Nodes that cut, turn and join latents, and lay them over others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated

import torch
from torch import Tensor

from graph.errors import InputError
from graph.sockets import Choice, Int
from graph.spec import Tip, node
from models.blending import pasted
from models.latent_operations import composited
from models.masking import cycled
from models.types import Latent, Mask
from nodes.mask_fit import told_of_mask
from nodes.services import Context

SIDE = 16384  # the most pixels a side
FACTOR = 8  # pixels a side for one cell
FEWEST = 8  # cells that are left of a cut at the edge
AXES: Mapping[str, int] = MappingProxyType({"x": -1, "y": -2})
Given = Annotated[Latent, Tip("The latents.")]
Result = Annotated[Latent, Tip("The latents.")]


def _pixels(tooltip: str, least: int = 0) -> Int:
    return Int(least, SIDE, step=8, tooltip=tooltip)


@node("LatentCrop", category="latent/transform", title="Crop Latent")
def latent_crop(
    ctx: Context,
    *,
    samples: Given,
    width: Annotated[int, _pixels("Width in pixels; less where the latents end.", 64)] = 512,
    height: Annotated[int, _pixels("Height in pixels; less where the latents end.", 64)] = 512,
    x: Annotated[int, _pixels("Pixels cut off on the left.")] = 0,
    y: Annotated[int, _pixels("Pixels cut off at the top.")] = 0,
) -> Result:
    """Cut a rectangle out of latents."""
    rows, columns = samples.samples.shape[-2:]
    left, top = (min(start // FACTOR, max(size - FEWEST, 0)) for start, size in ((x, columns), (y, rows)))
    if (left, top) != (x // FACTOR, y // FACTOR):
        ctx.warn(
            f"the latents end at {columns * FACTOR}x{rows * FACTOR}: it begins at {left * FACTOR}, {top * FACTOR}", "x"
        )
    cut = samples.samples[..., top : top + height // FACTOR, left : left + width // FACTOR]
    return replace(samples, samples=cut.clone())


@node("LatentFlip", category="latent/transform", title="Flip Latent")
def latent_flip(
    ctx: Context,
    *,
    samples: Given,
    flip_method: Annotated[
        str, Choice(("x-axis: vertically", "y-axis: horizontally"), tooltip="Upside down, or left to right.")
    ],
) -> Result:
    """Mirror latents."""
    axis = AXES["y" if flip_method.startswith("x") else "x"]
    return replace(samples, samples=samples.samples.flip(axis))


@node("LatentRotate", category="latent/transform", title="Rotate Latent")
def latent_rotate(
    ctx: Context,
    *,
    samples: Given,
    rotation: Annotated[
        str, Choice(("none", "90 degrees", "180 degrees", "270 degrees"), tooltip="How far, clockwise.")
    ],
) -> Result:
    """Turn latents."""
    quarters = 0 if rotation == "none" else int(rotation.split()[0]) // 90
    return replace(samples, samples=torch.rot90(samples.samples, k=quarters, dims=(3, 2)))


@node("LatentConcat", category="latent/advanced")
def latent_concat(
    ctx: Context,
    *,
    samples1: Annotated[Latent, Tip("The first latents.")],
    samples2: Annotated[Latent, Tip("The second latents.")],
    dim: Annotated[
        str,
        Choice(
            ("x", "-x", "y", "-y", "t", "-t"), typed=True, tooltip="Beside each other, or below; -: the second first."
        ),
    ],
) -> Result:
    """Put latents beside or below others."""
    axis = _axis(dim.removeprefix("-"))
    first, second = samples1.samples, cycled(samples2.samples, len(samples1.samples))
    across = -3 - axis  # the other side: -1 and -2 change places
    if first.shape[across] != second.shape[across] or first.shape[1] != second.shape[1]:
        sizes = " and ".join(f"{it.shape[-1]}x{it.shape[-2]} cells of {it.shape[1]}" for it in (first, second))
        raise InputError("samples2", f"does not fit beside samples1 along {dim}: they have {sizes} channels")
    parts = (second, first) if dim.startswith("-") else (first, second)
    return replace(samples1, samples=torch.cat(parts, dim=axis))


@node("LatentCut", category="latent/advanced")
def latent_cut(
    ctx: Context,
    *,
    samples: Given,
    dim: Annotated[str, Choice(("x", "y", "t"), typed=True, tooltip="Along which side.")],
    index: Annotated[int, Int(-SIDE, SIDE, step=1, tooltip="The first cell; below 0 it counts from the end.")] = 0,
    amount: Annotated[int, Int(1, SIDE, step=1, tooltip="How many cells; fewer where the latents end.")] = 1,
) -> Result:
    """Cut a strip out of latents."""
    axis = _axis(dim)
    size = samples.samples.shape[axis]
    start = min(index, size - 1) if index >= 0 else max(size + index, 0)
    return replace(samples, samples=samples.samples.narrow(axis, start, min(amount, size - start)).clone())


def _axis(name: str) -> int:
    if name not in AXES:
        raise InputError("dim", "got t, the time of videos; these are latents of pictures, with x and y")
    return AXES[name]


@node("LatentComposite", category="latent", title="Latent Composite")
def latent_composite(
    ctx: Context,
    *,
    samples_to: Annotated[Latent, Tip("The latents below.")],
    samples_from: Annotated[Latent, Tip("The latents above.")],
    x: Annotated[int, _pixels("Pixels from the left edge to where the upper ones begin.")] = 0,
    y: Annotated[int, _pixels("Pixels from the upper edge to where they begin.")] = 0,
    feather: Annotated[int, _pixels("Pixels over which they fade in at their edges.")] = 0,
) -> Result:
    """Lay latents over others."""
    _check_place(samples_to.samples, x, y)
    x, y, feather = x // FACTOR, y // FACTOR, feather // FACTOR
    return replace(samples_to, samples=composited(samples_to.samples, samples_from.samples, x, y, feather))


@node("LatentCompositeMasked", category="latent")
def latent_composite_masked(
    ctx: Context,
    *,
    destination: Annotated[Latent, Tip("The latents below.")],
    source: Annotated[Latent, Tip("The latents above.")],
    x: Annotated[int, _pixels("Pixels from the left edge to where the upper ones begin.")] = 0,
    y: Annotated[int, _pixels("Pixels from the upper edge to where they begin.")] = 0,
    resize_source: Annotated[bool, Tip("Whether the source is first brought to the size of the destination.")] = False,
    mask: Annotated[Mask | None, Tip("Where the source shows; everywhere without one.")] = None,
) -> Result:
    """Lay latents over others, where a mask says so."""
    _check_place(destination.samples, x, y)
    if mask is not None:
        height, width = (destination if resize_source else source).samples.shape[-2:]
        told_of_mask(ctx, mask.values, height, width, FACTOR)
    values = None if mask is None else mask.values
    result = pasted(destination.samples, source.samples, x // FACTOR, y // FACTOR, values, resize_source)
    return replace(destination, samples=result)


def _check_place(below: Tensor, x: int, y: int) -> None:
    """Blame a place that lies outside."""
    rows, columns = below.shape[-2:]
    for name, start, size in (("x", x, columns), ("y", y, rows)):
        if start // FACTOR >= size:
            raise InputError(
                name, f"got {start}, which lies outside: the latents are {columns * FACTOR}x{rows * FACTOR}"
            )
