"""Nodes that read masks from picture files, and show masks."""

from __future__ import annotations

from typing import Annotated

from graph.errors import InputError
from graph.files import FileRef
from graph.result import Outputs
from graph.sockets import Choice, File
from graph.spec import Tip, node
from models.types import Image, Mask
from nodes.image import EMBEDDED, shown_pictures
from nodes.pictures import NO_PICTURE, read_picture
from nodes.services import Context

COLOURS = ("red", "green", "blue")


@node("LoadImageMask", category="mask", title="Load Image (as Mask)", lane="io")
def load_image_mask(
    ctx: Context,
    *,
    image: Annotated[
        FileRef, File("input", annotated=True, image_upload=True, tooltip="A picture of the input directory.")
    ],
    channel: Annotated[
        str, Choice(("alpha", *COLOURS), tooltip="Which of its channels. alpha: 1 where the picture is transparent.")
    ],
) -> Annotated[Mask, Tip("That channel.")]:
    """Read one channel of a picture as a mask."""
    try:
        pixels, transparent = read_picture(image.path)
    except NO_PICTURE as error:
        raise InputError("image", f"{image.name} cannot be read as a picture: {error}") from error
    if channel == "alpha":
        return Mask(transparent)
    return Mask(pixels[..., COLOURS.index(channel)].clone())


@node("MaskPreview", category="mask", terminal=True, lane="io", hidden=EMBEDDED)
def mask_preview(ctx: Context, *, mask: Annotated[Mask, Tip("The masks to show.")]) -> Outputs:
    """Show masks without keeping them, white where they are 1."""
    pixels = mask.values[..., None].expand(-1, -1, -1, 3)
    return shown_pictures(ctx, Image(pixels.contiguous()), "mask")
