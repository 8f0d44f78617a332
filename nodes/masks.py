"""Nodes that make, change and combine masks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

import torch

from graph.errors import InputError
from graph.sockets import Choice, Float, Int
from graph.spec import Extra, Tip, node
from models.masking import COMBINATIONS, combined, feathered, grown
from models.types import Image, Mask
from nodes.services import Context

SIDE = 16384  # the most pixels a side
CHANNELS: Mapping[str, int] = MappingProxyType({"red": 0, "green": 1, "blue": 2, "alpha": 3})
COLOUR = Extra({"display": "color"})


@node("SolidMask", category="mask")
def solid_mask(
    ctx: Context,
    *,
    value: Annotated[float, Float(0.0, 1.0, step=0.01, tooltip="What the mask is everywhere.")] = 1.0,
    width: Annotated[int, Int(1, SIDE, step=1, tooltip="Width in pixels.")] = 512,
    height: Annotated[int, Int(1, SIDE, step=1, tooltip="Height in pixels.")] = 512,
) -> Annotated[Mask, Tip("The mask.")]:
    """Make a mask of one value."""
    return Mask(torch.full((1, height, width), value))


@node("InvertMask", category="mask")
def invert_mask(
    ctx: Context, *, mask: Annotated[Mask, Tip("The mask.")]
) -> Annotated[Mask, Tip("1 where it was 0, and 0 where it was 1.")]:
    """Turn a mask inside out."""
    return Mask(1 - mask.values)


@node("CropMask", category="mask")
def crop_mask(
    ctx: Context,
    *,
    mask: Annotated[Mask, Tip("The mask.")],
    x: Annotated[int, Int(0, SIDE, step=1, tooltip="Pixels cut off on the left.")] = 0,
    y: Annotated[int, Int(0, SIDE, step=1, tooltip="Pixels cut off at the top.")] = 0,
    width: Annotated[int, Int(1, SIDE, step=1, tooltip="Width in pixels; less where the mask ends.")] = 512,
    height: Annotated[int, Int(1, SIDE, step=1, tooltip="Height in pixels; less where the mask ends.")] = 512,
) -> Annotated[Mask, Tip("The part.")]:
    """Cut a rectangle out of a mask."""
    rows, columns = mask.values.shape[-2:]
    if x >= columns or y >= rows:
        raise InputError("x" if x >= columns else "y", f"lies outside: the mask has {columns}x{rows} pixels")
    return Mask(mask.values[:, y : y + height, x : x + width].clone())


@node("MaskComposite", category="mask")
def mask_composite(
    ctx: Context,
    *,
    destination: Annotated[Mask, Tip("The mask that is changed.")],
    source: Annotated[Mask, Tip("The mask that is combined into it.")],
    x: Annotated[int, Int(0, SIDE, step=1, tooltip="Pixels from the left edge to where the source begins.")] = 0,
    y: Annotated[int, Int(0, SIDE, step=1, tooltip="Pixels from the upper edge to where the source begins.")] = 0,
    operation: Annotated[
        str, Choice(tuple(COMBINATIONS), tooltip="How two values become one. and, or, xor round both first.")
    ],
) -> Annotated[Mask, Tip("The destination with the source in it.")]:
    """Combine one mask into another."""
    return Mask(combined(destination.values, source.values, x, y, COMBINATIONS[operation]))


@node("FeatherMask", category="mask")
def feather_mask(
    ctx: Context,
    *,
    mask: Annotated[Mask, Tip("The mask.")],
    left: Annotated[int, Int(0, SIDE, step=1, tooltip="Columns over which it fades on the left.")] = 0,
    top: Annotated[int, Int(0, SIDE, step=1, tooltip="Rows over which it fades at the top.")] = 0,
    right: Annotated[int, Int(0, SIDE, step=1, tooltip="Columns over which it fades on the right.")] = 0,
    bottom: Annotated[int, Int(0, SIDE, step=1, tooltip="Rows over which it fades at the bottom.")] = 0,
) -> Annotated[Mask, Tip("The mask, softer at its edges.")]:
    """Fade a mask out towards the edges of the picture."""
    return Mask(feathered(mask.values, left, top, right, bottom))


@node("GrowMask", category="mask", title="GrowMask")
def grow_mask(
    ctx: Context,
    *,
    mask: Annotated[Mask, Tip("The mask.")],
    expand: Annotated[int, Int(-SIDE, SIDE, step=1, tooltip="Pixels to grow by; less than 0 shrinks.")] = 0,
    tapered_corners: Annotated[bool, Tip("Whether corners become diagonal, or stay corners.")] = True,
) -> Annotated[Mask, Tip("The larger or smaller mask.")]:
    """Grow or shrink what a mask covers."""
    return Mask(grown(mask.values, expand, tapered_corners))


@node("ThresholdMask", category="mask")
def threshold_mask(
    ctx: Context,
    *,
    mask: Annotated[Mask, Tip("The mask.")],
    value: Annotated[float, Float(0.0, 1.0, step=0.01, tooltip="What must be exceeded.")] = 0.5,
) -> Annotated[Mask, Tip("1 where the mask is above the value, else 0.")]:
    """Make a mask hard: all or nothing."""
    return Mask((mask.values > value).float())


@node("ImageToMask", category="mask", title="Convert Image to Mask")
def image_to_mask(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    channel: Annotated[str, Choice(tuple(CHANNELS), tooltip="Which of their channels.")],
) -> Annotated[Mask, Tip("That channel.")]:
    """Take one channel of pictures as masks."""
    if CHANNELS[channel] >= image.pixels.shape[-1]:
        raise InputError("channel", f"the picture has no {channel} channel, only {image.pixels.shape[-1]} of colour")
    return Mask(image.pixels[..., CHANNELS[channel]].clone())


@node("MaskToImage", category="mask", title="Convert Mask to Image")
def mask_to_image(
    ctx: Context, *, mask: Annotated[Mask, Tip("The mask.")]
) -> Annotated[Image, Tip("Grey pictures, white where the mask is 1.")]:
    """Show masks as pictures."""
    return Image(mask.values[..., None].repeat(1, 1, 1, 3))


@node("ImageColorToMask", category="mask")
def image_color_to_mask(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    color: Annotated[int, Int(0, 0xFFFFFF, step=1, tooltip="Red, green and blue as one number, 0xRRGGBB."), COLOUR] = 0,
) -> Annotated[Mask, Tip("1 where the picture has exactly this colour.")]:
    """Find one colour in pictures."""
    levels = (image.pixels[..., :3] * 255).clamp(0, 255).round().long()
    numbers = (levels[..., 0] << 16) + (levels[..., 1] << 8) + levels[..., 2]
    return Mask((numbers == color).float())
