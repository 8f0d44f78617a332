"""Pictures that clients ask for in another form, or send."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from graph.files import PICTURE_FORMATS
from server.refused import Refused

LARGE = 2**23
"""Pixels of a picture that is worked on alone, so that several of them at once take no more memory than one."""

_PREVIEW_PIXELS = 2**24  # of a preview at most; of more, every second, third … is left
_WIDEST: Mapping[str, int] = MappingProxyType({"WEBP": 16_383, "JPEG": 65_500})
"""Pixels of a side that a format can hold."""

_PREVIEW = re.compile(r"(webp|jpeg)(?:;([0-9]{1,3}))?")


def open_picture(source: Path, most_pixels: int) -> Image.Image:
    """A picture whose header is read and whose size is harmless; not decoded yet. Raises Refused."""
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            picture = Image.open(source, formats=PICTURE_FORMATS)
    except Image.DecompressionBombError:
        raise Refused(413, "picture_too_large", "the picture has too many pixels") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError):
        raise Refused(400, "not_a_picture", "the file cannot be read as a picture") from None
    if picture.width * picture.height > most_pixels:
        picture.close()
        raise Refused(413, "picture_too_large", f"{picture.width} × {picture.height} pixels are too many")
    return picture


def pixels_of(path: Path, most_pixels: int) -> int:
    """How many pixels a picture has, by its header. Raises Refused."""
    with open_picture(path, most_pixels) as picture:
        return picture.width * picture.height


def as_preview(path: Path, wanted: str, most_pixels: int) -> tuple[bytes, str]:
    """The picture as `webp;90` or `jpeg`, and its content type. Raises Refused."""
    found = _PREVIEW.fullmatch(wanted)
    kind, quality = (found[1], int(found[2] or 90)) if found else ("webp", 90)
    with open_picture(path, most_pixels) as picture:
        small = _decoded(picture, _PREVIEW_PIXELS)
        small.thumbnail((_WIDEST[kind.upper()],) * 2)  # leaves all but strips as they are
        if kind == "jpeg" or small.mode not in ("RGB", "RGBA"):
            small = small.convert("RGB" if kind == "jpeg" else "RGBA")
        return _encoded(small, kind.upper(), quality=max(1, min(quality, 100))), f"image/{kind}"


def channel(path: Path, name: str, most_pixels: int) -> bytes:
    """Only the colours (`rgb`), or the transparency (`a`) as an RGBA picture that is otherwise black. PNG."""
    with open_picture(path, most_pixels) as picture:
        whole = _decoded(picture)
    if name == "rgb":
        return _encoded(whole.convert("RGB"), "PNG")
    alpha = whole.convert("RGBA").getchannel("A") if whole.has_transparency_data else Image.new("L", whole.size, 255)
    del whole
    alone = Image.new("RGBA", alpha.size)
    alone.putalpha(alpha)
    return _encoded(alone, "PNG")


def masked(original: Path, mask: Path, most_pixels: int) -> bytes:
    """The original picture with the transparency of `mask`, as PNG with the original's texts. Raises Refused."""
    with open_picture(original, most_pixels) as picture, open_picture(mask, most_pixels) as drawn:
        info = PngInfo()
        for name, text in getattr(picture, "text", {}).items():
            info.add_text(name, text)
        alpha = _decoded(drawn).convert("RGBA").getchannel("A")
        rgba = _decoded(picture).convert("RGBA")
        if alpha.size != rgba.size:
            alpha = alpha.resize(rgba.size)
        rgba.putalpha(alpha)
        return _encoded(rgba, "PNG", info)


def _decoded(picture: Image.Image, most_pixels: int | None = None) -> Image.Image:
    """Its pixels, the right way up: what is sent on carries no EXIF data that would say so."""
    try:
        if most_pixels and picture.width * picture.height > most_pixels:
            smaller = (most_pixels / (picture.width * picture.height)) ** 0.5
            sides = [max(1, int(side * smaller)) for side in picture.size]
            picture.thumbnail((sides[0], sides[1]), Image.Resampling.BOX)
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
        return picture
    except (OSError, ValueError, SyntaxError, EOFError):
        raise Refused(400, "not_a_picture", "the picture is damaged") from None


def _encoded(picture: Image.Image, kind: str, info: PngInfo | None = None, quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    try:
        if kind == "PNG":
            picture.save(buffer, format=kind, pnginfo=info, compress_level=1)
        else:
            picture.save(buffer, format=kind, quality=quality)
    except (OSError, ValueError):
        raise Refused(400, "not_a_picture", f"the picture cannot be written as {kind}") from None
    return buffer.getvalue()
