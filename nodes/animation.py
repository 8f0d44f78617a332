"""Nodes that save a batch of pictures as one file that moves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from graph.result import Outputs
from graph.sockets import Choice, Float, Int, Text
from graph.spec import Tip, node
from models.types import Image
from nodes.image import EMBEDDED
from nodes.labels import Format, said_of, write_animation
from nodes.output_files import expand, write_shown
from nodes.pictures import to_pil
from nodes.services import Context

PREFIX = Text(tooltip="How the name begins. May hold folders.")
FPS = Float(0.01, 1000.0, step=0.01, tooltip="Pictures a second.")
EFFORTS: Mapping[str, int] = MappingProxyType({"default": 4, "fastest": 0, "slowest": 6})
Pictures = Annotated[Image, Tip("The pictures, one after the other.")]


@node("SaveAnimatedWEBP", category="image/animation", terminal=True, lane="io", hidden=EMBEDDED)
def save_animated_webp(
    ctx: Context,
    *,
    images: Pictures,
    filename_prefix: Annotated[str, PREFIX] = "ComfyUI",
    fps: Annotated[float, FPS] = 6.0,
    lossless: Annotated[bool, Tip("Whether every pixel stays as it is.")] = True,
    quality: Annotated[int, Int(0, 100, tooltip="How near the file comes to the pictures, or how hard it tries.")] = 80,
    method: Annotated[str, Choice(EFFORTS, tooltip="How long to look for a smaller file.")],
) -> Outputs:
    """Save pictures as one animated WebP file."""
    options: Mapping[str, object] = {"lossless": lossless, "quality": quality, "method": EFFORTS[method]}
    return _save(ctx, images, filename_prefix, "WEBP", fps, options)


@node("SaveAnimatedPNG", category="image/animation", terminal=True, lane="io", hidden=EMBEDDED)
def save_animated_png(
    ctx: Context,
    *,
    images: Pictures,
    filename_prefix: Annotated[str, PREFIX] = "ComfyUI",
    fps: Annotated[float, FPS] = 6.0,
    compress_level: Annotated[int, Int(0, 9, tooltip="How long to look for a smaller file.")] = 4,
) -> Outputs:
    """Save pictures as one animated PNG file."""
    return _save(ctx, images, filename_prefix, "PNG", fps, {"compress_level": compress_level})


def _save(ctx: Context, images: Image, prefix: str, kind: Format, fps: float, options: Mapping[str, object]) -> Outputs:
    height, width = images.pixels.shape[1:3]
    place = expand(prefix, ctx.services.folders.output_dir, {"width": width, "height": height})
    said = said_of(ctx)
    frames = [to_pil(pixels) for pixels in images.pixels]

    def save(path: Path) -> None:
        write_animation(frames, path, kind, said, round(1000 / fps) or 1, options)

    shown = write_shown(place, f".{kind.lower()}", save)
    return Outputs(ui={"images": [shown], "animated": [len(frames) > 1]})
