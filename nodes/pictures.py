"""Picture files <-> tensors."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from PIL import ImageOps, ImageSequence
from torch import Tensor

from graph.files import PICTURE_FORMATS

MOST_PIXELS = 2**26
"""Pixels of all frames of a file together: 8192 x 8192, or 800 MB as colours in float32."""

NO_MASK = (64, 64)  # the size of the blank mask of a picture that has no transparency

NO_PICTURE = (
    OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError,
    struct.error, zlib.error, PIL.Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow's readers raise on damaged files, and `read_picture` on those that are too large."""


def read_picture(path: Path) -> tuple[Tensor, Tensor]:
    """A picture file as ([B, H, W, 3], [B, h, w]) float32 in 0..1: colours, and 1 where it is transparent.

    Turned upright by its EXIF note. 16-bit grey is value / 65535, floating-point grey is 0..1 as it stands. Frames of an
    animation become a batch, as far as they have the first one's size. Without transparency the masks are zeros of
    64x64. Raises one of NO_PICTURE for what is none, and for more than MOST_PIXELS, which are counted before anything is
    decoded.
    """
    with warnings.catch_warnings(action="ignore", category=PIL.Image.DecompressionBombWarning):  # counted here
        file = PIL.Image.open(path, formats=PICTURE_FORMATS)
    with file:
        count, sides = 1 if file.format == "MPO" else int(getattr(file, "n_frames", 1)), sorted(file.size)
        if count * sides[0] * sides[1] > MOST_PIXELS:
            raise ValueError(
                f"{count} x {file.width} x {file.height} pixels are too many; at most {MOST_PIXELS // 10**6} million are read"
            )
        colours = torch.empty(0)
        masks: list[Tensor | None] = []
        for frame in _frames(file):
            if sorted(frame.size) != sides:  # not even decoded
                continue
            upright = ImageOps.exif_transpose(frame)
            if not masks:
                colours = torch.empty(count, upright.height, upright.width, 3)
            elif (upright.height, upright.width) != colours.shape[1:3]:
                continue
            colours[len(masks)] = _colours(upright)
            masks.append(_transparency(upright))
    if len(masks) < count:
        colours = colours[: len(masks)].clone()
    blank = torch.zeros(NO_MASK if all(mask is None for mask in masks) else colours.shape[1:3])
    return colours, torch.stack([blank if mask is None else mask for mask in masks])


def to_pil(pixels: Tensor) -> PIL.Image.Image:
    """One picture [H, W, 3] (or 4) in 0..1, cut to 8 bits."""
    return PIL.Image.fromarray((pixels * 255).clamp(0, 255).to(torch.uint8).numpy())


def png_bytes(pixels: Tensor) -> bytes:
    """One picture [H, W, 3] (or 4) in 0..1 as a PNG file of 8 bits."""
    buffer = io.BytesIO()
    to_pil(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _frames(file: PIL.Image.Image) -> Iterator[PIL.Image.Image]:
    if file.format == "MPO":  # a camera's main picture, then its previews
        yield file
    else:
        yield from ImageSequence.Iterator(file)


def _colours(picture: PIL.Image.Image) -> Tensor:
    """[H, W, 3] in 0..1; grey of more than 8 bits comes in by the range of its own mode."""
    if picture.mode.startswith("I;16"):
        grey = torch.from_numpy(np.array(picture).astype(np.float32)).div_(65535)
    elif picture.mode == "F":
        grey = torch.from_numpy(np.array(picture, dtype=np.float32)).nan_to_num_(nan=0.0).clamp_(0, 1)
    else:
        if picture.mode == "I":  # 16 bits in a wider number; whole 255ths, as these files have always come in
            picture = picture.point(lambda value: value * (1 / 255))
        return _tensor(picture.convert("RGB"))
    return grey[..., None].expand(-1, -1, 3)


def _transparency(picture: PIL.Image.Image) -> Tensor | None:
    if not picture.has_transparency_data:
        return None
    if picture.mode.startswith("I;16"):  # one grey value that is named transparent
        return torch.from_numpy((np.array(picture) == picture.info["transparency"]).astype(np.float32))
    return 1 - _tensor(picture.convert("RGBA").getchannel("A"))


def _tensor(picture: PIL.Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).float().div_(255)
