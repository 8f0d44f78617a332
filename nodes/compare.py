"""A node that says how alike pictures are, pixel by pixel."""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

from graph.errors import InputError
from graph.result import Shown
from graph.spec import Tip, node
from models.comparison import WINDOW, psnr, ssim
from models.types import Image
from nodes.services import Context


class Likeness(NamedTuple):
    """Means over the pictures."""

    psnr: Annotated[float, Tip("Decibels: 30 is hard to tell apart, infinite is the same.")]
    ssim: Annotated[float, Tip("Structural similarity: 1 is the same.")]


@node("ImageCompare", category="image/quality", title="Compare Images", terminal=True)
def image_compare(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    reference: Annotated[Image, Tip("What each is compared with: as many, or one for all.")],
) -> Shown[Likeness]:
    """Measure how alike pictures are: peak signal to noise, and structural similarity."""
    pictures, references = image.pixels, reference.pixels
    if pictures.shape[1:] != references.shape[1:]:
        raise InputError(
            "reference", f"is {_size(reference)}, the picture is {_size(image)}; ImageScale makes them equal"
        )
    if len(references) not in (1, len(pictures)):
        raise InputError("reference", f"holds {len(references)} pictures for {len(pictures)}; expected as many, or one")
    if min(pictures.shape[1:3]) < WINDOW:
        raise InputError("image", f"is {_size(image)}; SSIM looks through a window of {WINDOW}x{WINDOW} pixels")
    pairs = list(zip(pictures, references.expand_as(pictures), strict=True))
    noise = [psnr(a, b) for a, b in pairs]
    likeness = Likeness(sum(noise) / len(noise), sum(ssim(a, b) for a, b in pairs) / len(pairs))
    decibels = f"{likeness.psnr:.2f} dB" if math.isfinite(likeness.psnr) else "∞ dB"
    return Shown(likeness, {"text": [f"PSNR {decibels}, SSIM {likeness.ssim:.4f}"]})


def _size(image: Image) -> str:
    _, height, width, channels = image.pixels.shape
    return f"{width}x{height}" + ("" if channels == 3 else f" with {channels} channels")
