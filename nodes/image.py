"""Nodes that read, write and show pictures, and latents as files."""

from __future__ import annotations

import random
import string
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, NamedTuple

import PIL.Image
import torch
from safetensors.torch import save_file

from graph.errors import InputError
from graph.files import FileRef
from graph.result import Outputs
from graph.sockets import File, Text, Toggle
from graph.spec import Extra, Tip, node
from models.scaling import PICTURE_METHODS
from models.types import Image, Latent, Mask
from models.weights import CheckpointError
from nodes.labels import Said, said_of, workflow_texts, write_picture
from nodes.latent_files import SAMPLES, UNSCALED, read_latent
from nodes.output_files import expand, write_shown
from nodes.pictures import NO_PICTURE, png_bytes, read_picture, to_pil
from nodes.scaling import scaled_image
from nodes.services import Context

EMBEDDED: Mapping[str, str] = MappingProxyType({"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"})
"""What files carry besides pixels: the workflow that made them."""


class Picture(NamedTuple):
    """What a picture file holds."""

    image: Annotated[Image, Tip("The colours.")]
    mask: Annotated[Mask, Tip("1 where the picture is transparent.")]


@node("LoadImage", category="image", aliases=("open image", "input image", "upload"), title="Load Image", lane="io")
def load_image(
    ctx: Context,
    *,
    image: Annotated[
        FileRef, File("input", annotated=True, image_upload=True, tooltip="A picture of the input directory.")
    ],
) -> Picture:
    """Read a picture, and its transparency as a mask."""
    return _read(image)


def _read(image: FileRef) -> Picture:
    try:
        pixels, mask = read_picture(image.path)
    except NO_PICTURE as error:
        raise InputError("image", f"{image.name} cannot be read as a picture: {error}") from error
    return Picture(Image(pixels), Mask(mask))


@node("LoadImageOutput", category="image", title="Load Image (from Outputs)", lane="io", experimental=True)
def load_image_output(
    ctx: Context,
    *,
    image: Annotated[
        FileRef,
        File("output", annotated=True, image_upload=True, typed=True, tooltip="A picture of the output directory."),
        Extra(
            {
                "image_folder": "output",
                "remote": {
                    "route": "/internal/files/output",
                    "refresh_button": True,
                    "control_after_refresh": "first",
                },
            }
        ),
    ],
) -> Picture:
    """Read a picture that was saved here, and its transparency as a mask."""
    return _read(image)


@node(
    "SaveImage",
    category="image",
    aliases=("export image", "output image", "write png"),
    title="Save Image",
    terminal=True,
    lane="io",
    hidden=EMBEDDED,
)
def save_image(
    ctx: Context,
    *,
    images: Annotated[Image, Tip("The pictures to save.")],
    filename_prefix: Annotated[
        str, Text(tooltip="How the names begin. May hold folders and %year% %month% %day% %width% %height%.")
    ] = "ComfyUI",
    parameters: Annotated[
        bool | None,
        Toggle(tooltip="Also write how it was made in A1111's words, which galleries and sites for models read."),
    ] = None,
) -> Outputs:
    """Save pictures as PNG files in the output directory, each with the workflow that made it."""
    said = said_of(ctx, parameters=parameters is True)
    return _save(ctx, images, filename_prefix, ctx.services.folders.output_dir, "output", said, compress_level=4)


@node(
    "PreviewImage",
    category="image",
    aliases=("show image", "view"),
    title="Preview Image",
    terminal=True,
    lane="io",
    hidden=EMBEDDED,
)
def preview_image(ctx: Context, *, images: Annotated[Image, Tip("The pictures to show.")]) -> Outputs:
    """Show pictures without keeping them: they go to the temporary directory."""
    return shown_pictures(ctx, images, "images")


@node("SaveImageWebsocket", category="api/image", terminal=True, lane="io", idempotent=False)
def save_image_websocket(ctx: Context, *, images: Annotated[Image, Tip("The pictures to send.")]) -> Outputs:
    """Send pictures to the program that waits for them, whole and as PNG, where it gets its previews. Nothing is saved."""
    for i, pixels in enumerate(images.pixels):
        ctx.progress(i, len(images.pixels), partial(png_bytes, pixels))
    return Outputs()


def shown_pictures(ctx: Context, images: Image, blamed: str) -> Outputs:
    """Pictures in the temporary directory. Raises InputError, on `blamed`."""
    prefix = "ComfyUI_temp_" + "".join(random.choices(string.ascii_lowercase, k=5))
    try:
        return _save(ctx, images, prefix, ctx.services.folders.temp_dir, "temp", said_of(ctx), compress_level=1)
    except InputError as error:  # blames the prefix, which is no input here
        raise InputError(blamed, error.message) from error


@node("ImageBatch", category="image", title="Batch Images")
def image_batch(
    ctx: Context,
    *,
    image1: Annotated[Image, Tip("The first pictures.")],
    image2: Annotated[Image, Tip("The pictures that follow; brought to the size of the first, from their middle.")],
) -> Annotated[Image, Tip("All of them.")]:
    """Put pictures into one batch."""
    _, height, width, channels = image1.pixels.shape
    if image2.pixels.shape[-1] != channels:
        raise InputError("image2", f"has {image2.pixels.shape[-1]} channels, image1 has {channels}")
    following = image2
    if image2.pixels.shape[1:3] != (height, width):
        following = scaled_image(image2, PICTURE_METHODS["bilinear"], width, height, "center", "image2")
    return Image(torch.cat([image1.pixels, following.pixels]))


@node("LoadLatent", category="_for_testing", lane="io")
def load_latent(
    ctx: Context,
    *,
    latent: Annotated[
        FileRef,
        File("input", suffixes=(".latent",), annotated=True, tooltip="A .latent file of the input directory."),
    ],
) -> Annotated[Latent, Tip("The latents.")]:
    """Read latents that SaveLatent wrote."""
    try:
        return Latent(read_latent(latent.path))
    except CheckpointError as error:
        raise InputError("latent", str(error)) from error


@node("SaveLatent", category="_for_testing", terminal=True, lane="io", hidden=EMBEDDED)
def save_latent(
    ctx: Context,
    *,
    samples: Annotated[Latent, Tip("The latents to save.")],
    filename_prefix: Annotated[str, Text(tooltip="How the name begins. May hold folders.")] = "latents/ComfyUI",
) -> Outputs:
    """Save latents as a file in the output directory, with the workflow that made them."""
    tensors = {SAMPLES: samples.samples.contiguous(), UNSCALED: torch.tensor([])}
    metadata = dict(workflow_texts(ctx)) if ctx.services.labels.asked(ctx.run.extra).workflow else {}
    place = expand(filename_prefix, ctx.services.folders.output_dir, {})
    shown = write_shown(place, ".latent", lambda path: save_file(tensors, path, metadata))
    return Outputs(ui={"latents": [shown]})


def _save(ctx: Context, images: Image, prefix: str, root: Path, kind: str, said: Said, compress_level: int) -> Outputs:
    height, width = images.pixels.shape[1:3]
    shown = []
    for i, pixels in enumerate(images.pixels):
        ctx.check()
        picture = to_pil(pixels)
        place = expand(prefix, root, {"width": width, "height": height, "batch_num": i})

        def save(path: Path, picture: PIL.Image.Image = picture) -> None:
            write_picture(picture, path, "PNG", said, compress_level=compress_level)

        shown.append(write_shown(place, ".png", save, kind))
    return Outputs(ui={"images": shown})
