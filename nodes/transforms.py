"""Nodes that cut, turn, pad and join pictures."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from graph.drawn import Rectangle
from graph.sockets import Choice, Int
from graph.spec import Tip, node
from models.blending import with_channels
from models.masking import cycled
from models.scaling import PICTURE_METHODS
from models.types import Image, Mask
from nodes.framing import cut_out
from nodes.scaling import scaled_image
from nodes.services import Context

SIDE = 16384  # the most pixels a side
GREY = 0.5
COLOURS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "white": (1.0, 1.0, 1.0),
        "black": (0.0, 0.0, 0.0),
        "red": (1.0, 0.0, 0.0),
        "green": (0.0, 1.0, 0.0),
        "blue": (0.0, 0.0, 1.0),
    }
)
TURNS: Mapping[str, int] = MappingProxyType({"none": 0, "90 degrees": 1, "180 degrees": 2, "270 degrees": 3})
FLIPS: Mapping[str, int] = MappingProxyType({"x-axis: vertically": 1, "y-axis: horizontally": 2})


class Padded(NamedTuple):
    """Larger pictures, and what of them is new."""

    image: Annotated[Image, Tip("The pictures, grey where there was nothing.")]
    mask: Annotated[Mask, Tip("1 where there was nothing, fading into the picture.")]


@node("ImageCrop", category="image/transform", title="Image Crop")
def image_crop(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    width: Annotated[int, Int(1, SIDE, step=1, tooltip="Width in pixels; less where the picture ends.")] = 512,
    height: Annotated[int, Int(1, SIDE, step=1, tooltip="Height in pixels; less where the picture ends.")] = 512,
    x: Annotated[int, Int(0, SIDE, step=1, tooltip="Pixels cut off on the left.")] = 0,
    y: Annotated[int, Int(0, SIDE, step=1, tooltip="Pixels cut off at the top.")] = 0,
) -> Annotated[Image, Tip("The part.")]:
    """Cut a rectangle out of pictures."""
    return cut_out(ctx, image, Rectangle(x=x, y=y, width=width, height=height))


@node("ImageFlip", category="image/transform")
def image_flip(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    flip_method: Annotated[str, Choice(tuple(FLIPS), tooltip="Whether up and down change places, or left and right.")],
) -> Annotated[Image, Tip("The mirrored pictures.")]:
    """Mirror pictures."""
    return Image(image.pixels.flip(FLIPS[flip_method]))


@node("ImageRotate", category="image/transform")
def image_rotate(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    rotation: Annotated[str, Choice(tuple(TURNS), tooltip="How far, clockwise.")],
) -> Annotated[Image, Tip("The turned pictures.")]:
    """Turn pictures by quarters."""
    return Image(torch.rot90(image.pixels, k=TURNS[rotation], dims=[2, 1]).contiguous())


@node("ImagePadForOutpaint", category="image", title="Pad Image for Outpainting")
def image_pad_for_outpaint(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    left: Annotated[int, Int(0, SIDE, step=8, tooltip="New pixels on the left.")] = 0,
    top: Annotated[int, Int(0, SIDE, step=8, tooltip="New pixels at the top.")] = 0,
    right: Annotated[int, Int(0, SIDE, step=8, tooltip="New pixels on the right.")] = 0,
    bottom: Annotated[int, Int(0, SIDE, step=8, tooltip="New pixels at the bottom.")] = 0,
    feathering: Annotated[
        int, Int(0, SIDE, step=1, tooltip="Pixels over which old and new go over into each other.")
    ] = 40,
) -> Padded:
    """Make room around pictures for a model to draw in."""
    height, width = image.pixels.shape[1:3]
    pixels = F.pad(image.pixels.movedim(-1, 1), (left, right, top, bottom), value=GREY).movedim(1, -1)
    inside = _nearness(width, height, (left, top, right, bottom), feathering)
    mask = F.pad(inside, (left, right, top, bottom), value=1.0)
    return Padded(Image(pixels.contiguous()), Mask(mask[None]))


def _nearness(width: int, height: int, padded: tuple[int, int, int, int], feathering: int) -> Tensor:
    """[H, W]: how near a pixel is to a side that is padded; 1 at it, 0 from `feathering` pixels on, as a parabola."""
    if not feathering or 2 * feathering >= min(width, height):
        return torch.zeros(height, width)
    left, top, right, bottom = padded
    columns, rows = torch.arange(width).float(), torch.arange(height).float()
    across = torch.minimum(
        columns if left else torch.full_like(columns, width),
        width - columns if right else torch.full_like(columns, width),
    )
    down = torch.minimum(
        rows if top else torch.full_like(rows, height), height - rows if bottom else torch.full_like(rows, height)
    )
    distance = torch.minimum(across, down[:, None])
    return ((feathering - distance) / feathering).clamp(min=0) ** 2


@node("ImageStitch", category="image/transform", title="Image Stitch")
def image_stitch(
    ctx: Context,
    *,
    image1: Annotated[Image, Tip("The pictures that stay where they are.")],
    direction: Annotated[
        str, Choice(("right", "down", "left", "up"), tooltip="On which side the others are put.")
    ] = "right",
    match_image_size: Annotated[
        bool, Tip("Whether the others are brought to the height or width of the first; else black fills up.")
    ] = True,
    spacing_width: Annotated[int, Int(0, 1024, step=2, tooltip="Pixels between them.")] = 0,
    spacing_color: Annotated[str, Choice(tuple(COLOURS), tooltip="The colour between them.")] = "white",
    image2: Annotated[Image | None, Tip("The pictures that are put beside them.")] = None,
) -> Annotated[Image, Tip("Both in one picture.")]:
    """Put pictures side by side."""
    if image2 is None:
        return image1
    across = direction in ("right", "left")
    other = image2
    height, width = image1.pixels.shape[1:3]
    rows, columns = other.pixels.shape[1:3]
    if match_image_size and (rows != height if across else columns != width):
        size = (
            (max(1, round(columns * height / rows)), height)
            if across
            else (width, max(1, round(rows * width / columns)))
        )
        other = scaled_image(other, PICTURE_METHODS["lanczos"], *size, "disabled", "image2")
    count, channels = max(len(image1.pixels), len(other.pixels)), max(image1.pixels.shape[-1], other.pixels.shape[-1])
    parts = [cycled(with_channels(it.pixels, channels), count) for it in (image1, other)]
    side = max(part.shape[1 if across else 2] for part in parts)
    parts = [_centred(part, side, across) for part in parts]
    if spacing_width:
        shape = (count, side, spacing_width) if across else (count, spacing_width, side)
        parts.insert(1, with_channels(torch.tensor(COLOURS[spacing_color]).expand(*shape, 3), channels))
    ordered = parts if direction in ("right", "down") else parts[::-1]
    return Image(torch.cat(ordered, 2 if across else 1))


def _centred(pixels: Tensor, side: int, across: bool) -> Tensor:
    """[B, H, W, C] with black above and below, or left and right, up to `side`."""
    missing = side - pixels.shape[1 if across else 2]
    before, after = missing // 2, missing - missing // 2
    return F.pad(pixels, (0, 0, 0, 0, before, after) if across else (0, 0, before, after))


@node("ResizeAndPadImage", category="image/transform")
def resize_and_pad_image(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    target_width: Annotated[int, Int(1, SIDE, step=1, tooltip="Width in pixels.")] = 512,
    target_height: Annotated[int, Int(1, SIDE, step=1, tooltip="Height in pixels.")] = 512,
    padding_color: Annotated[str, Choice(("white", "black"), tooltip="The colour around them.")],
    interpolation: Annotated[
        str,
        Choice(
            ("area", "bicubic", "nearest-exact", "bilinear", "lanczos"),
            tooltip="How new pixels are made from old ones.",
        ),
    ],
) -> Annotated[Image, Tip("The pictures in that size, whole and in their shape.")]:
    """Bring pictures to a size without cutting or stretching them."""
    height, width = image.pixels.shape[1:3]
    scale = min(target_width / width, target_height / height)
    new_width, new_height = max(1, int(width * scale)), max(1, int(height * scale))
    small = scaled_image(image, PICTURE_METHODS[interpolation], new_width, new_height, "disabled").pixels
    left, top = (target_width - new_width) // 2, (target_height - new_height) // 2
    edges = (left, target_width - new_width - left, top, target_height - new_height - top)
    return Image(F.pad(small.movedim(-1, 1), edges, value=COLOURS[padding_color][0]).movedim(1, -1).contiguous())
