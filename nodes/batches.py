"""Nodes that make batches of pictures, and take them apart."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch

from graph.sockets import Int
from graph.spec import Extra, Tip, node
from models.types import Image
from nodes.services import Context

SIDE = 16384  # the most pixels a side
COLOUR = Extra({"display": "color"})


class Size(NamedTuple):
    """How large a batch of pictures is."""

    width: Annotated[int, Tip("Pixels across.")]
    height: Annotated[int, Tip("Pixels down.")]
    batch_size: Annotated[int, Tip("How many pictures.")]


@node("EmptyImage", category="image")
def empty_image(
    ctx: Context,
    *,
    width: Annotated[int, Int(1, SIDE, step=1, tooltip="Width in pixels.")] = 512,
    height: Annotated[int, Int(1, SIDE, step=1, tooltip="Height in pixels.")] = 512,
    batch_size: Annotated[int, Int(1, 4096, tooltip="How many.")] = 1,
    color: Annotated[int, Int(0, 0xFFFFFF, step=1, tooltip="Red, green and blue as one number, 0xRRGGBB."), COLOUR] = 0,
) -> Annotated[Image, Tip("The pictures.")]:
    """Make pictures of one colour."""
    colour = torch.tensor([color >> 16 & 255, color >> 8 & 255, color & 255]) / 255
    return Image(colour.repeat(batch_size, height, width, 1))


@node("GetImageSize", category="image", title="Get Image Size", hidden={"unique_id": "UNIQUE_ID"})
def get_image_size(ctx: Context, *, image: Annotated[Image, Tip("The pictures.")]) -> Size:
    """Say how large pictures are."""
    count, height, width, _ = image.pixels.shape
    return Size(width, height, count)


@node("ImageFromBatch", category="image/batch")
def image_from_batch(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    batch_index: Annotated[int, Int(0, 4095, tooltip="The first one to take, counted from 0.")] = 0,
    length: Annotated[int, Int(1, 4096, tooltip="How many to take.")] = 1,
) -> Annotated[Image, Tip("Those pictures.")]:
    """Take some pictures out of a batch."""
    count = len(image.pixels)
    first = min(batch_index, count - 1)
    if first != batch_index:
        ctx.warn(f"the batch has {count} pictures: the last one is taken", "batch_index")
    return Image(image.pixels[first : first + length].clone())


@node("RepeatImageBatch", category="image/batch")
def repeat_image_batch(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    amount: Annotated[int, Int(1, 4096, tooltip="How many times.")] = 1,
) -> Annotated[Image, Tip("The pictures, one batch after the other.")]:
    """Repeat a batch of pictures."""
    return Image(image.pixels.repeat(amount, 1, 1, 1))
