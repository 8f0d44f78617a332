"""Nodes that choose what of a picture is seen: rectangles cut out, room around it, and words upon it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Protocol

import numpy as np
import PIL.Image
import torch
from PIL import ImageDraw
from torch import Tensor
from torch.nn import functional as F

from graph.drawn import Colour, Rectangle, Region
from graph.errors import InputError
from graph.sockets import Choice, Float, Int, Text, Toggle
from graph.spec import Cases, Named, Tip, node
from models.masking import cycled, fitted, grown
from models.scaling import lanczos
from models.types import Image, Mask
from nodes.lettering import font_for, lines_of
from nodes.services import Context

SIDE = 16384  # the most pixels a side
BLACK, WHITE = "#000000", "#ffffff"
ROOM = Int(0, SIDE, tooltip="New pixels on this side.")
SMALLEST_LETTERS = 8  # pixels; text that has no room is made no smaller
Edges = tuple[int, int, int, int]
"""Pixels on the left, above, on the right and below."""


@node("PrimitiveBoundingBox", category="utils/primitive", title="Bounding Box")
def primitive_bounding_box(
    ctx: Context,
    *,
    x: Annotated[int, Int(0, SIDE, tooltip="Pixels to the left of it.")] = 0,
    y: Annotated[int, Int(0, SIDE, tooltip="Pixels above it.")] = 0,
    width: Annotated[int, Int(1, SIDE, tooltip="Pixels across.")] = 512,
    height: Annotated[int, Int(1, SIDE, tooltip="Pixels down.")] = 512,
) -> Annotated[Rectangle, Tip("The rectangle.")]:
    """A rectangle of a picture, for several nodes at once."""
    return Rectangle(x=x, y=y, width=width, height=height)


WHOLE = Rectangle(x=0, y=0, width=512, height=512)


@node("ImageCropV2", category="image/transform", title="Crop Image")
def image_crop_v2(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    crop_region: Annotated[
        Rectangle, Region(tooltip="The rectangle: pixels to its left and above it, its width and its height.")
    ] = WHOLE,
) -> Annotated[Image, Tip("The part.")]:
    """Cut a rectangle out of pictures."""
    return cut_out(ctx, image, crop_region)


def cut_out(ctx: Context, image: Image, region: Rectangle) -> Image:
    """The part of pictures in a rectangle, as far as they reach. Warns where they do not."""
    rows, columns = image.pixels.shape[1:3]
    x, y, width, height = region["x"], region["y"], region["width"], region["height"]
    left, top = min(x, columns - 1), min(y, rows - 1)
    if (left + width, top + height) > (columns, rows) or (left, top) != (x, y):
        cut = f"{min(width, columns - left)}x{min(height, rows - top)} instead of {width}x{height}"
        ctx.warn(f"the rectangle reaches beyond the picture of {columns}x{rows} pixels: it is {cut}")
    return Image(image.pixels[:, top : top + height, left : left + width].contiguous())


class Amount(Protocol):
    """How much room is made around a picture."""

    def edges(self, width: int, height: int) -> Edges:
        """New pixels on each side of a picture of that size."""


@dataclass(frozen=True)
class PerSide:
    """So many pixels on each side."""

    left: Annotated[int, ROOM] = 0
    top: Annotated[int, ROOM] = 0
    right: Annotated[int, ROOM] = 0
    bottom: Annotated[int, ROOM] = 0

    def edges(self, width: int, height: int) -> Edges:
        """New pixels on each side."""
        return self.left, self.top, self.right, self.bottom


@dataclass(frozen=True)
class TimesSize:
    """A multiple of the size it has."""

    multiplier: Annotated[float, Float(1.0, 8.0, step=0.01, tooltip="1.5 adds a quarter on each side.")] = 1.0

    def edges(self, width: int, height: int) -> Edges:
        """New pixels on each side."""
        return _halves(round(width * self.multiplier) - width, round(height * self.multiplier) - height)


@dataclass(frozen=True)
class NextMultiple:
    """Up to the next multiple of a number."""

    multiple: Annotated[int, Int(1, SIDE, tooltip="What both sides are to be a multiple of.")] = 32

    def edges(self, width: int, height: int) -> Edges:
        """New pixels on each side."""
        return _halves(-width % self.multiple, -height % self.multiple)


def _halves(across: int, down: int) -> Edges:
    """Shared out; a pixel that is left over goes to the right or the bottom."""
    return across // 2, down // 2, across - across // 2, down - down // 2


class Filling(Protocol):
    """What new room around a picture shows."""

    def filled(self, pixels: Tensor, edges: Edges) -> Tensor:
        """[B, H, W, C] with room around it."""


@dataclass(frozen=True)
class Plain:
    """One colour, into which the picture may fade."""

    color: Annotated[str, Colour(tooltip="The colour.")] = BLACK
    feathering: Annotated[
        int, Int(0, SIDE, tooltip="Over so many pixels the picture fades into it, evenly; 0 leaves a hard edge.")
    ] = 0

    def filled(self, pixels: Tensor, edges: Edges) -> Tensor:
        """[B, H, W, C] with the colour around it."""
        colour = _colour(self.color, pixels.shape[-1])
        left, top, right, bottom = edges
        height, width = pixels.shape[1:3]
        seen = torch.ones(height, width)
        if self.feathering:
            columns, rows = torch.arange(width).float(), torch.arange(height).float()[:, None]
            for is_new, distance in (
                (left, columns), (right, width - 1 - columns), (top, rows), (bottom, height - 1 - rows),
            ):  # fmt: skip
                if is_new:
                    seen = torch.minimum(seen, ((distance + 1) / (self.feathering + 1)).clamp(max=1))
        where = F.pad(seen, (left, right, top, bottom))[..., None]
        padded = F.pad(pixels, (0, 0, left, right, top, bottom))
        return padded * where + colour * (1 - where)


@dataclass(frozen=True)
class Mirrored:
    """The picture in a mirror, again and again where it has to go on."""

    def filled(self, pixels: Tensor, edges: Edges) -> Tensor:
        """[B, H, W, C] with its mirror images around it."""
        left, top, right, bottom = edges
        height, width = pixels.shape[1:3]
        return pixels[:, _reflected(height, top, bottom)][:, :, _reflected(width, left, right)]


def _reflected(length: int, before: int, after: int) -> Tensor:
    """Which of so many pixels stands where; the outermost ones are not repeated."""
    period = max(1, 2 * (length - 1))
    places = torch.arange(-before, length + after) % period
    return torch.minimum(places, period - places).clamp(max=length - 1)


AMOUNTS: Mapping[str, type[Amount]] = MappingProxyType(
    {"pad dimensions": PerSide, "pad by multiplier": TimesSize, "pad to multiple": NextMultiple}
)
FILLINGS: Mapping[str, type[Filling]] = MappingProxyType({"color": Plain, "mirror image": Mirrored})


@node("PadImageNode", category="image/transform", title="Pad Image")
def pad_image(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    padding_type: Annotated[Amount, Cases({}, AMOUNTS), Tip("What decides how much room is made.")],
    padding_style: Annotated[Filling, Cases({}, FILLINGS), Tip("What the room shows.")],
) -> Annotated[Image, Named("image"), Tip("The pictures with room around them.")]:
    """Make room around pictures, of one colour or with their mirror images in it."""
    height, width = image.pixels.shape[1:3]
    edges = padding_type.edges(width, height)
    if not any(edges):
        return image
    columns, rows = width + edges[0] + edges[2], height + edges[1] + edges[3]
    if columns > SIDE or rows > SIDE:
        raise InputError("padding_type", f"would make pictures of {columns}x{rows} pixels; {SIDE} a side is the most")
    return Image(padding_style.filled(image.pixels, edges).contiguous())


def _colour(text: str, channels: int) -> Tensor:
    """`#rrggbb` -> [channels] in 0..1: grey for one channel, opaque for four."""
    colour = torch.tensor([int(text[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return colour.mean().expand(1) if channels == 1 else torch.cat([colour, torch.ones(channels - 3)])


@node("ImageCropToMask", category="image/transform", title="Crop Image to Mask")
def image_crop_to_mask(
    ctx: Context,
    *,
    images: Annotated[Image, Tip("The pictures.")],
    masks: Annotated[Mask, Tip("White where the subject is; one for all pictures, or one for each.")],
    width: Annotated[int, Int(64, 4096, step=8, tooltip="Width of the result in pixels.")] = 1024,
    height: Annotated[int, Int(64, 4096, step=8, tooltip="Height of the result in pixels.")] = 1024,
    pad_factor: Annotated[
        float, Float(1.0, 2.0, step=0.01, tooltip="How much larger than the subject the part is that is cut out.")
    ] = 1.0,
    grow_mask: Annotated[int, Int(-32, 32, step=1, tooltip="Pixels by which the subject grows, or shrinks.")] = 0,
    background: Annotated[str, Colour(tooltip="The colour around the subject.")] = BLACK,
) -> Annotated[Image, Named("images"), Tip("The subject in the middle of each picture.")]:
    """Cut the subject out of pictures and put it in the middle, before one colour."""
    pixels, (rows, columns) = images.pixels, images.pixels.shape[1:3]
    if len(masks.values) not in (1, len(pixels)):
        raise InputError("masks", f"has {len(masks.values)} masks for {len(pixels)} pictures; expected one or as many")
    shown = cycled(grown(fitted(masks.values, rows, columns), grow_mask, tapered=False), len(pixels))
    colour = _colour(background, pixels.shape[-1])
    cut = []
    for picture, mask in zip(pixels, shown, strict=True):
        if not (mask > HALF).any() or _is_inverted(mask):
            mask = 1 - mask
        whole = picture * mask[..., None] + colour * (1 - mask[..., None])
        part = _around(whole, _middle(mask, width / height, pad_factor), colour)
        cut.append(lanczos(part[None].movedim(-1, 1), width, height).movedim(1, -1))
    return Image(torch.cat(cut).contiguous())


HALF = 0.5


def _is_inverted(mask: Tensor) -> bool:
    """Whether what a mask [H, W] means stands along its border, and leaves out something of its middle."""
    height, width = mask.shape
    on = mask > HALF
    border = torch.cat([on[0], on[-1], on[1:-1, 0], on[1:-1, -1]]).float().mean()
    middle = on[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return bool(border > HALF and not middle.all())


def _middle(mask: Tensor, aspect: float, factor: float) -> Rectangle:
    """The rectangle of that shape around what a mask means, so much larger than it. It may reach beyond the mask."""
    rows, columns = (torch.nonzero((mask > HALF).any(dim)).flatten() for dim in (1, 0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    across, down = (right - left) * factor, (bottom - top) * factor
    across, down = max(across, down * aspect), max(down, across / aspect)
    width, height = max(1, round(across)), max(1, round(down))
    x, y = round((left + right - width) / 2), round((top + bottom - height) / 2)
    return Rectangle(x=x, y=y, width=width, height=height)


def _around(picture: Tensor, region: Rectangle, colour: Tensor) -> Tensor:
    """A rectangle of a picture [H, W, C], with the colour where there is no picture."""
    rows, columns = picture.shape[:2]
    x, y, width, height = region["x"], region["y"], region["width"], region["height"]
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, columns), min(y + height, rows)
    part = colour.expand(height, width, -1).clone()
    part[top - y : bottom - y, left - x : right - x] = picture[top:bottom, left:right]
    return part


@node("TextOverlay", category="image/text", title="Draw Text Overlay")
def text_overlay(
    ctx: Context,
    *,
    images: Annotated[Image, Tip("The pictures.")],
    text: Annotated[str, Text(multiline=True, tooltip="The words. A line that is too long goes on in the next.")] = "",
    font_size: Annotated[
        float, Float(0.5, 50.0, step=0.5, tooltip="How high a line is, in hundredths of the picture's height.")
    ] = 5.0,
    color: Annotated[str, Colour(tooltip="The colour of the letters.")] = WHITE,
    position: Annotated[str, Choice(("top", "bottom"), typed=True, tooltip="Where they stand.")] = "top",
    align: Annotated[
        str, Choice(("left", "center", "right"), typed=True, tooltip="On which side lines begin or end.")
    ] = "left",
    outline: Annotated[bool, Toggle(tooltip="A black edge around the letters.")] = True,
) -> Annotated[Image, Named("images"), Tip("The pictures with the words upon them.")]:
    """Write words upon pictures. The letters are Pillow's own, or the system's where words are in other scripts."""
    words = text.replace("\\n", "\n").replace("\\t", "\t").expandtabs(4)
    if not words.strip():
        return images
    height, width, channels = images.pixels.shape[1:]
    letters, edges = _lettered(words, (width, height), height * font_size / 100, position, align, outline)
    pixels = images.pixels * (1 - edges)
    return Image(
        (pixels + _colour(color, channels) * letters + _colour(BLACK, channels) * (edges - letters)).clamp(0, 1)
    )


def _lettered(
    words: str, size: tuple[int, int], letters: float, position: str, align: str, outline: bool
) -> tuple[Tensor, Tensor]:
    """How much of each pixel [H, W, 1] letters cover, and how much they cover with their edges."""
    width, height = size
    points = max(1, round(letters))
    while True:
        font, margin, line = font_for(points, words), max(1, points // 2), round(points * 1.25)
        lines = [row for part in words.splitlines() for row in list(lines_of(part, font, width - 2 * margin)) or [""]]
        if len(lines) * line + 2 * margin <= height or points <= SMALLEST_LETTERS:
            break
        points = max(SMALLEST_LETTERS, points - max(1, points // 10))
    top = margin if position == "top" else max(margin, height - margin - len(lines) * line)
    covered = []
    for edge in (0, max(1, points // 12) if outline else 0):
        sheet = PIL.Image.new("L", size)
        pen = ImageDraw.Draw(sheet)
        for i, row in enumerate(lines):
            room = width - 2 * margin - font.getlength(row)
            left = margin + {"left": 0.0, "center": room / 2, "right": room}[align]
            pen.text((left, top + i * line), row, 255, font, stroke_width=edge)
        covered.append(torch.from_numpy(np.asarray(sheet).astype(np.float32) / 255)[..., None])
    return covered[0], torch.maximum(*covered)
