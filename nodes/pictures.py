"""Picture files <-> tensors."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from PIL import ImageOps, ImageSequence
from torch import Tensor

NO_MASK = (64, 64)  # the size of the blank mask of a picture that has no transparency

NO_PICTURE = (
    OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError,
    struct.error, zlib.error, PIL.Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow's readers raise on damaged files."""


def read_picture(path: Path) -> tuple[Tensor, Tensor]:
    """A picture file as ([B, H, W, 3], [B, h, w]) float32 in 0..1: colours, and 1 where it is transparent.

    Turned upright by its EXIF note. Frames of an animation become a batch, as far as they have the first one's
    size. Without transparency the masks are zeros of 64x64. Raises one of NO_PICTURE for what is none.
    """
    colours: list[Tensor] = []
    masks: list[Tensor | None] = []
    with PIL.Image.open(path) as file:
        for frame in _frames(file):
            upright = ImageOps.exif_transpose(frame)
            if upright.mode == "I":
                upright = upright.point(lambda value: value * (1 / 255))
            colour = _tensor(upright.convert("RGB"))
            if colours and colour.shape != colours[0].shape:
                continue
            colours.append(colour)
            masks.append(_transparency(upright))
    blank = torch.zeros(NO_MASK if all(mask is None for mask in masks) else colours[0].shape[:2])
    return torch.stack(colours), torch.stack([blank if mask is None else mask for mask in masks])


def to_pil(pixels: Tensor) -> PIL.Image.Image:
    """One picture [H, W, 3] (or 4) in 0..1, cut to 8 bits."""
    return PIL.Image.fromarray((pixels * 255).clamp(0, 255).to(torch.uint8).numpy())


def _frames(file: PIL.Image.Image) -> Iterator[PIL.Image.Image]:
    if file.format == "MPO":  # a camera's main picture, then its previews
        yield file
    else:
        yield from ImageSequence.Iterator(file)


def _transparency(picture: PIL.Image.Image) -> Tensor | None:
    if not picture.has_transparency_data:
        return None
    return 1 - _tensor(picture.convert("RGBA").getchannel("A"))


def _tensor(picture: PIL.Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture).astype(np.float32) / 255)
