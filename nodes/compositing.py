"""Nodes that lay one picture over another."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from torch import Tensor

from graph.errors import InputError
from graph.sockets import Choice, Float, Int
from graph.spec import Tip, node
from models.blending import BLENDS, PORTER_DUFF, blended, composite, cover, pasted, with_channels
from models.masking import cycled, fitted
from models.types import Image, Mask
from nodes.mask_fit import told_of_mask
from nodes.services import Context

SIDE = 16384  # the most pixels a side


class Cutout(NamedTuple):
    """Pictures, and where they are transparent."""

    image: Annotated[Image, Tip("The colours.")]
    mask: Annotated[Mask, Tip("1 where the picture is transparent.")]


@node("ImageCompositeMasked", category="image")
def image_composite_masked(
    ctx: Context,
    *,
    destination: Annotated[Image, Tip("The pictures below.")],
    source: Annotated[Image, Tip("The pictures above.")],
    x: Annotated[int, Int(0, SIDE, step=1, tooltip="Pixels from the left edge to where the source begins.")] = 0,
    y: Annotated[int, Int(0, SIDE, step=1, tooltip="Pixels from the upper edge to where the source begins.")] = 0,
    resize_source: Annotated[bool, Tip("Whether the source is first brought to the size of the destination.")] = False,
    mask: Annotated[Mask | None, Tip("Where the source shows; everywhere without one.")] = None,
) -> Annotated[Image, Tip("The destination with the source on it.")]:
    """Lay pictures over others, where a mask says so."""
    below, above = destination.pixels, with_channels(source.pixels, destination.pixels.shape[-1])
    if mask is not None:
        height, width = (below if resize_source else above).shape[1:3]
        told_of_mask(ctx, mask.values, height, width)
    values = None if mask is None else mask.values
    result = pasted(below.movedim(-1, 1), above.movedim(-1, 1), x, y, values, resize_source)
    return Image(result.movedim(1, -1).contiguous())


@node("ImageBlend", category="image/postprocessing")
def image_blend(
    ctx: Context,
    *,
    image1: Annotated[Image, Tip("The pictures below.")],
    image2: Annotated[Image, Tip("The pictures above; brought to the size of those below, from their middle.")],
    blend_factor: Annotated[float, Float(0.0, 1.0, step=0.01, tooltip="How much the upper ones count.")] = 0.5,
    blend_mode: Annotated[str, Choice(tuple(BLENDS), typed=True, tooltip="What becomes of two colours.")],
) -> Annotated[Image, Tip("The mixed pictures.")]:
    """Mix pictures."""
    return Image(blended(image1.pixels, image2.pixels, blend_factor, BLENDS[blend_mode]))


@node("JoinImageWithAlpha", category="mask/compositing", title="Join Image with Alpha")
def join_image_with_alpha(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The colours.")],
    alpha: Annotated[Mask, Tip("1 where the picture is to be transparent.")],
) -> Annotated[Image, Tip("Pictures with an alpha channel.")]:
    """Make pictures transparent where a mask says so."""
    count = max(len(image.pixels), len(alpha.values))
    colours = cycled(with_channels(image.pixels, 4), count).clone()
    height, width = colours.shape[1:3]
    told_of_mask(ctx, alpha.values, height, width, name="alpha")
    colours[..., 3] = 1 - cycled(fitted(alpha.values, height, width), count)
    return Image(colours)


@node("SplitImageWithAlpha", category="mask/compositing", title="Split Image with Alpha")
def split_image_with_alpha(ctx: Context, *, image: Annotated[Image, Tip("The pictures.")]) -> Cutout:
    """Take pictures apart into colours and transparency."""
    whole = with_channels(image.pixels, 4)
    return Cutout(Image(whole[..., :3].contiguous()), Mask(1 - whole[..., 3]))


@node("PorterDuffImageComposite", category="mask/compositing", title="Porter-Duff Image Composite")
def porter_duff_image_composite(
    ctx: Context,
    *,
    source: Annotated[Image, Tip("The pictures above.")],
    source_alpha: Annotated[Mask, Tip("1 where they are transparent.")],
    destination: Annotated[Image, Tip("The pictures below.")],
    destination_alpha: Annotated[Mask, Tip("1 where they are transparent.")],
    mode: Annotated[
        str, Choice(tuple(PORTER_DUFF), typed=True, tooltip="The rule by which the two are composed.")
    ] = "DST",
) -> Cutout:
    """Compose transparent pictures by the rules of Porter and Duff."""
    height, width = destination.pixels.shape[1:3]
    count = max(map(len, (source.pixels, source_alpha.values, destination.pixels, destination_alpha.values)))
    if source.pixels.shape[-1] != destination.pixels.shape[-1]:
        have = f"{source.pixels.shape[-1]} channels, the destination has {destination.pixels.shape[-1]}"
        raise InputError("source", f"has {have}; SplitImageWithAlpha takes the alpha off")

    def colours(pixels: Tensor) -> Tensor:
        fits = pixels.shape[1:3] == (height, width)
        return cycled(pixels if fits else cover(pixels.movedim(-1, 1), width, height).movedim(1, -1), count)

    told_of_mask(ctx, source_alpha.values, height, width, name="source_alpha")
    told_of_mask(ctx, destination_alpha.values, height, width, name="destination_alpha")

    def opacity(mask: Mask) -> Tensor:
        return 1 - cycled(fitted(mask.values, height, width), count)[..., None]

    above, below = colours(source.pixels), colours(destination.pixels)
    rule = PORTER_DUFF[mode]
    pixels, alpha = composite(above, opacity(source_alpha), below, opacity(destination_alpha), rule)
    return Cutout(Image(pixels), Mask(1 - alpha[..., 0]))
