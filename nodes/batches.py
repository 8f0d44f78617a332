"""Nodes that make batches of pictures, and take them apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from graph.sockets import Int
from graph.spec import Extra, Group, Tip, node
from models.blending import with_channels
from models.masking import fitted
from models.scaling import PICTURE_METHODS
from models.types import Image, Mask
from nodes.mask_fit import told_of_mask
from nodes.scaling import scaled_image
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


@node("RebatchImages", category="image/batch", title="Rebatch Images")
def rebatch_images(
    ctx: Context,
    *,
    images: Annotated[list[Image], Tip("Batches of pictures.")],
    batch_size: Annotated[int, Int(1, 4096, tooltip="How many pictures each new batch has.")] = 1,
) -> Annotated[list[Image], Tip("The same pictures in other batches. What reads them runs once for each.")]:
    """Share pictures out into batches of another size."""
    pictures = [picture for image in images for picture in image.pixels]
    batches: list[list[Tensor]] = []
    for picture in pictures:
        if not batches or len(batches[-1]) == batch_size or batches[-1][0].shape != picture.shape:
            batches.append([])  # pictures of different sizes are never in one batch
        batches[-1].append(picture)
    return [Image(torch.stack(batch)) for batch in batches]


@node("BatchImagesNode", category="image/batch", title="Batch Images")
def batch_images(
    ctx: Context,
    *,
    images: Annotated[
        Mapping[str, Image],
        Group("image", min=2, max=50),
        Tip("Pictures; brought to the size of the first, from their middle."),
    ],
) -> Annotated[Image, Tip("All of them.")]:
    """Put any number of pictures into one batch."""
    first, *others = images.values()
    _, height, width, channels = first.pixels.shape
    pixels = [first.pixels]
    for name, image in zip(list(images)[1:], others, strict=True):
        like = Image(with_channels(image.pixels, channels))
        if image.pixels.shape[1:3] != (height, width):
            like = scaled_image(like, PICTURE_METHODS["bilinear"], width, height, "center", f"images.{name}")
        pixels.append(like.pixels)
    return Image(torch.cat(pixels))


@node("BatchMasksNode", category="mask", title="Batch Masks")
def batch_masks(
    ctx: Context,
    *,
    masks: Annotated[Mapping[str, Mask], Group("mask", min=1, max=50), Tip("Masks; brought to the size of the first.")],
) -> Annotated[Mask, Tip("All of them.")]:
    """Put any number of masks into one batch."""
    first, *others = masks.values()
    height, width = first.values.shape[-2:]
    for name, mask in zip(list(masks)[1:], others, strict=True):
        told_of_mask(ctx, mask.values, height, width, name=f"masks.{name}")
    return Mask(torch.cat([fitted(mask.values, height, width) for mask in masks.values()]))
