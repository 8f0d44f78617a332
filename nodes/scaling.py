"""Nodes that change the size of pictures and latents."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from torch import Tensor

from graph.errors import InputError
from graph.sockets import Choice, Float, Int
from graph.spec import Items, Tip, node
from models.scaling import LATENT_METHODS, PICTURE_METHODS, Resize, center_crop
from models.types import Image, Latent
from nodes.services import Context

FACTOR = 8  # pixels a side for one cell of a latent
SMALLEST = 64  # pixels a side of what a latent may be made to
MOST_CELLS = 16384**2  # of one picture or latent: a side may be as long only if the other is not

CROP = Choice(
    ("disabled", "center"), tooltip="Whether to cut the edges off that the new shape has no place for, or to stretch."
)


@node("ImageScale", category="image/upscaling", aliases=("resize", "image size"), title="Upscale Image")
def image_scale(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    upscale_method: Annotated[str, Choice(PICTURE_METHODS, tooltip="How new pixels are made from old ones.")],
    width: Annotated[int, Int(0, 16384, step=1, tooltip="New width in pixels; 0 keeps the shape.")] = 512,
    height: Annotated[int, Int(0, 16384, step=1, tooltip="New height in pixels; 0 keeps the shape.")] = 512,
    crop: Annotated[str, CROP],
) -> Annotated[Image, Tip("The pictures in their new size.")]:
    """Bring pictures to a size."""
    if not width and not height:
        return image
    old_height, old_width = image.pixels.shape[1:3]
    width = width or max(1, round(old_width * height / old_height))
    height = height or max(1, round(old_height * width / old_width))
    return scaled_image(image, PICTURE_METHODS[upscale_method], width, height, crop)


@node("ImageScaleBy", category="image/upscaling", title="Upscale Image By")
def image_scale_by(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    upscale_method: Annotated[str, Choice(PICTURE_METHODS, tooltip="How new pixels are made from old ones.")],
    scale_by: Annotated[float, Float(0.01, 8.0, step=0.01, tooltip="2 doubles each side.")] = 1.0,
) -> Annotated[Image, Tip("The pictures in their new size.")]:
    """Make pictures larger or smaller by a factor."""
    height, width = (max(1, round(side * scale_by)) for side in image.pixels.shape[1:3])
    return scaled_image(image, PICTURE_METHODS[upscale_method], width, height, "disabled")


@node("ImageScaleToTotalPixels", category="image/upscaling")
def image_scale_to_total_pixels(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    upscale_method: Annotated[
        str, Choice(PICTURE_METHODS, typed=True, tooltip="How new pixels are made from old ones.")
    ],
    megapixels: Annotated[
        float, Float(0.01, 16.0, step=0.01, tooltip="How many pixels in all; 1 is 1024 times 1024.")
    ] = 1.0,
) -> Annotated[Image, Tip("The pictures in their new size.")]:
    """Bring pictures to a number of pixels, in their own shape."""
    height, width = image.pixels.shape[1:3]
    scale = (int(megapixels * 1024 * 1024) / (width * height)) ** 0.5
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return scaled_image(image, PICTURE_METHODS[upscale_method], *size, "disabled")


@node("ImageScaleToMaxDimension", category="image/upscaling")
def image_scale_to_max_dimension(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    upscale_method: Annotated[
        str,
        Choice(
            ("area", "lanczos", "bilinear", "nearest-exact", "bicubic"),
            tooltip="How new pixels are made from old ones.",
        ),
    ],
    largest_size: Annotated[int, Int(0, 16384, step=1, tooltip="Pixels of the longer side.")] = 512,
) -> Annotated[Image, Tip("The pictures in their new size.")]:
    """Bring the longer side of pictures to a length, in their own shape."""
    height, width = image.pixels.shape[1:3]
    longest = max(height, width)
    size = max(1, round(width * largest_size / longest)), max(1, round(height * largest_size / longest))
    return scaled_image(image, PICTURE_METHODS[upscale_method], *size, "disabled")


@node(
    "LatentUpscale",
    category="latent",
    aliases=("hires fix", "resize latent"),
    title="Upscale Latent",
    items=Items(("samples",)),
)
def latent_upscale(
    ctx: Context,
    *,
    samples: Annotated[Latent, Tip("The latents.")],
    upscale_method: Annotated[str, Choice(LATENT_METHODS, tooltip="How new cells are made from old ones.")],
    width: Annotated[int, Int(0, 16384, step=8, tooltip="New width in pixels; 0 keeps the shape.")] = 512,
    height: Annotated[int, Int(0, 16384, step=8, tooltip="New height in pixels; 0 keeps the shape.")] = 512,
    crop: Annotated[str, CROP],
) -> Annotated[Latent, Tip("The latents in their new size; a sampler makes details of them.")]:
    """Bring latents to the size of a picture, usually for a second sampler to add detail."""
    if not width and not height:
        return samples
    rows, columns = samples.samples.shape[-2:]
    width = max(SMALLEST, width or round(columns * height / rows))
    height = max(SMALLEST, height or round(rows * width / columns))
    return _scaled_latent(samples, LATENT_METHODS[upscale_method], width // FACTOR, height // FACTOR, crop)


@node("LatentUpscaleBy", category="latent", title="Upscale Latent By", items=Items(("samples",)))
def latent_upscale_by(
    ctx: Context,
    *,
    samples: Annotated[Latent, Tip("The latents.")],
    upscale_method: Annotated[str, Choice(LATENT_METHODS, tooltip="How new cells are made from old ones.")],
    scale_by: Annotated[float, Float(0.01, 8.0, step=0.01, tooltip="2 doubles each side.")] = 1.5,
) -> Annotated[Latent, Tip("The latents in their new size; a sampler makes details of them.")]:
    """Make latents larger or smaller by a factor."""
    height, width = (max(1, round(cells * scale_by)) for cells in samples.samples.shape[-2:])
    return _scaled_latent(samples, LATENT_METHODS[upscale_method], width, height, "disabled")


def scaled_image(image: Image, resize: Resize, width: int, height: int, crop: str, blamed: str = "image") -> Image:
    """The pictures in that size; crop: as CROP has it. Raises InputError, on `blamed`."""
    pixels = _scaled(image.pixels.movedim(-1, 1), resize, width, height, crop, blamed)
    return Image(pixels.movedim(1, -1).contiguous())


def _scaled_latent(latent: Latent, resize: Resize, width: int, height: int, crop: str) -> Latent:
    return replace(latent, samples=_scaled(latent.samples, resize, width, height, crop, "samples"))


def _scaled(x: Tensor, resize: Resize, width: int, height: int, crop: str, blamed: str) -> Tensor:
    """[B, C, H, W] -> [B, C, height, width]."""
    if width * height > MOST_CELLS:
        raise InputError(blamed, f"would become {width}x{height}, more than anybody has memory for")
    cut = center_crop(x, width, height) if crop == "center" else x
    if 0 in cut.shape:
        raise InputError(blamed, f"of {x.shape[-1]}x{x.shape[-2]} has no middle in the shape of {width}x{height}")
    return resize(cut, width, height)
