"""Nodes that change the look of pictures: colours, blur, edges, noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from graph.sockets import Choice, Float, Int
from graph.spec import Tip, node
from models.filters import MORPHOLOGY, blur, canny, from_ycbcr, quantized, sharpen, to_ycbcr
from models.types import Image
from nodes.services import Context

DITHERS = ("none", "floyd-steinberg", "bayer-2", "bayer-4", "bayer-8", "bayer-16")
EDGE = Float(0.01, 0.99, step=0.01, tooltip="Slopes above it count as edges if they touch a strong one.")


class Planes(NamedTuple):
    """Luma and the two differences of colour, as grey pictures."""

    Y: Annotated[Image, Tip("How bright.")]
    U: Annotated[Image, Tip("How blue, against how bright.")]
    V: Annotated[Image, Tip("How red, against how bright.")]


def _filtered(image: Image, change: Callable[[Tensor], Tensor]) -> Image:
    """`change` of [B, C, H, W]."""
    return Image(change(image.pixels.movedim(-1, 1)).movedim(1, -1).contiguous())


@node("ImageInvert", category="image", title="Invert Image")
def image_invert(
    ctx: Context, *, image: Annotated[Image, Tip("The pictures.")]
) -> Annotated[Image, Tip("Their negatives.")]:
    """Turn pictures into their negatives."""
    return Image(1 - image.pixels)


@node("ImageBlur", category="image/postprocessing")
def image_blur(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    blur_radius: Annotated[int, Int(1, 31, step=1, tooltip="How far the blur reaches, in pixels.")] = 1,
    sigma: Annotated[float, Float(0.1, 10.0, step=0.1, tooltip="How wide its bell is, in radii.")] = 1.0,
) -> Annotated[Image, Tip("The blurred pictures.")]:
    """Blur pictures."""
    return _filtered(image, lambda x: blur(x, blur_radius, sigma))


@node("ImageSharpen", category="image/postprocessing")
def image_sharpen(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    sharpen_radius: Annotated[int, Int(1, 31, step=1, tooltip="How coarse the details are, in pixels.")] = 1,
    sigma: Annotated[float, Float(0.1, 10.0, step=0.01, tooltip="How wide the bell is, in radii.")] = 1.0,
    alpha: Annotated[float, Float(0.0, 5.0, step=0.01, tooltip="How much sharper.")] = 1.0,
) -> Annotated[Image, Tip("The sharpened pictures.")]:
    """Sharpen pictures."""
    return _filtered(image, lambda x: sharpen(x, sharpen_radius, sigma, alpha))


@node("ImageQuantize", category="image/postprocessing")
def image_quantize(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    colors: Annotated[int, Int(1, 256, step=1, tooltip="How many colours each may have.")] = 256,
    dither: Annotated[str, Choice(DITHERS, typed=True, tooltip="How colours between them are hinted at.")],
) -> Annotated[Image, Tip("The pictures in few colours.")]:
    """Leave few colours to each picture."""
    return Image(torch.stack([quantized(pixels[..., :3], colors, dither) for pixels in image.pixels]))


@node("Morphology", category="image/postprocessing", title="ImageMorphology")
def morphology(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    operation: Annotated[
        str,
        Choice(
            tuple(MORPHOLOGY),
            typed=True,
            tooltip="Grow the dark (erode) or the bright (dilate), or what is made of both.",
        ),
    ],
    kernel_size: Annotated[int, Int(3, 999, step=1, tooltip="Side of the square that is looked at, in pixels.")] = 3,
) -> Annotated[Image, Tip("The changed pictures.")]:
    """Grow, shrink or outline what is bright in pictures."""
    return _filtered(image, lambda x: MORPHOLOGY[operation](x, kernel_size))


@node("Canny", category="image/preprocessors")
def canny_edges(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    low_threshold: Annotated[float, EDGE] = 0.4,
    high_threshold: Annotated[float, Float(0.01, 0.99, step=0.01, tooltip="Slopes above it are edges.")] = 0.8,
) -> Annotated[Image, Tip("White edges on black.")]:
    """Find the edges in pictures, for a ControlNet that draws along them."""
    low, high = sorted((low_threshold, high_threshold))
    return _filtered(image, lambda x: canny(x[:, :3], low, high).repeat(1, 3, 1, 1))


@node("ImageAddNoise", category="image")
def image_add_noise(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    seed: Annotated[int, Int(0, 2**64 - 1, control_after_generate=True, tooltip="Another seed, other noise.")] = 0,
    strength: Annotated[float, Float(0.0, 1.0, step=0.01, tooltip="Its standard deviation; white is 1.")] = 0.5,
) -> Annotated[Image, Tip("The noisy pictures.")]:
    """Add grain to pictures."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(image.pixels.shape, generator=generator)
    return Image((image.pixels + strength * noise).clamp(0, 1))


@node("ImageRGBToYUV", category="image/batch")
def image_rgb_to_yuv(ctx: Context, *, image: Annotated[Image, Tip("The pictures.")]) -> Planes:
    """Take pictures apart into brightness and two differences of colour."""
    luma, blue, red = (Image(plane[..., None].repeat(1, 1, 1, 3)) for plane in to_ycbcr(image.pixels).unbind(-1))
    return Planes(luma, blue, red)


@node("ImageYUVToRGB", category="image/batch")
def image_yuv_to_rgb(
    ctx: Context,
    *,
    Y: Annotated[Image, Tip("How bright.")],
    U: Annotated[Image, Tip("How blue, against how bright.")],
    V: Annotated[Image, Tip("How red, against how bright.")],
) -> Annotated[Image, Tip("The pictures.")]:
    """Put pictures together from brightness and two differences of colour."""
    return Image(from_ycbcr(torch.cat([plane.pixels.mean(-1, keepdim=True) for plane in (Y, U, V)], -1)))
