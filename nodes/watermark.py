"""Nodes that write and read the invisible watermark of the Stable Diffusion v1 scripts."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np
import torch

from graph.errors import InputError
from graph.result import Shown
from graph.sockets import Text
from graph.spec import Tip, node
from models.types import Image
from models.watermark import FEWEST_PIXELS, V1, Bytes, blocks_of, embed, read
from nodes.services import Context

LONGEST = 64  # bytes of a mark


class Mark(NamedTuple):
    """What is written in pictures."""

    found: Annotated[bool, Tip("Whether all pictures say exactly the text.")]
    agreement: Annotated[float, Tip("The mean share of bits that are as in the text: about 0.5 without a watermark.")]
    says: Annotated[str, Tip("What the first picture says.")]


@node("WatermarkEmbed", category="image/watermark", title="Embed Watermark")
def watermark_embed(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures, of 256x256 pixels or more.")],
    text: Annotated[str, Text(tooltip="What is written; the v1 scripts wrote StableDiffusionV1.")] = V1,
) -> Annotated[Image, Tip("The pictures in 8 bits, with the text in them.")]:
    """Write a text into pictures that nobody sees, as the scripts of Stable Diffusion v1 did. Goes before SafetyCheck."""
    mark = _mark(text, image)
    marked = np.stack([embed(picture, mark) for picture in _bytes(image)])
    return Image(torch.from_numpy(marked.astype(np.float32) / 255))


@node("WatermarkDetect", category="image/watermark", title="Detect Watermark", terminal=True)
def watermark_detect(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures, as large as they were when it was written.")],
    text: Annotated[str, Text(tooltip="What to look for.")] = V1,
) -> Shown[Mark]:
    """Look for a text that WatermarkEmbed, or a script of Stable Diffusion v1, has written into pictures."""
    mark = _mark(text, image)
    said = [read(picture, len(mark)) for picture in _bytes(image)]
    shares = [float(np.mean(_bits(each) == _bits(mark))) for each in said]
    found, agreement = all(each == mark for each in said), sum(shares) / len(shares)
    says = said[0].decode("utf-8", "replace")
    line = f"{'found' if found else 'not found'}: {text!r}, {agreement:.1%} of the bits"
    return Shown(Mark(found, agreement, says), {"text": [line]})


def _mark(text: str, image: Image) -> bytes:
    try:
        mark = text.encode()
    except UnicodeEncodeError:
        raise InputError("text", "holds half a character, which no file can") from None
    height, width, channels = image.pixels.shape[1:]
    if not 0 < len(mark) <= LONGEST:
        raise InputError("text", f"is {len(mark)} bytes long, expected 1 to {LONGEST}")
    if channels != 3:
        raise InputError("image", f"has {channels} channels, expected 3: colours without transparency")
    if height * width < FEWEST_PIXELS or blocks_of(height, width) < 8 * len(mark):
        raise InputError("image", f"is {width}x{height}; a watermark of {len(mark)} bytes takes 256x256 pixels or more")
    return mark


def _bytes(image: Image) -> Bytes:
    """[B, H, W, 3], cut to 8 bits as files are."""
    return (image.pixels * 255).clamp(0, 255).to(torch.uint8).numpy()


def _bits(text: bytes) -> Bytes:
    return np.unpackbits(np.frombuffer(text, np.uint8))
