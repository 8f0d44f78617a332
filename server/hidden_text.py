"""Texts hidden in a picture's transparency, as NovelAI and A1111's stealth extension do it: the lowest bit of each alpha value."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterator

from PIL import Image, UnidentifiedImageError

_PACKED, _PLAIN = b"stealth_pngcomp", b"stealth_pnginfo"
_MOST_PIXELS = 2**25
_MOST_BYTES = 2**24
_BITS = b"01" * 128
"""From an alpha value to its lowest bit, as the letter 0 or 1."""


def hidden_texts(content: bytes) -> Iterator[tuple[str, str]]:
    """The texts in a PNG by key; `parameters` if it is one text. Nothing where there are none, or the picture is damaged.

    The bits go column by column, the highest of a byte first: a mark, the length, and the text, packed by gzip or not.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            if picture.mode != "RGBA" or picture.width * picture.height > _MOST_PIXELS:
                return
            columns = picture.getchannel("A").transpose(Image.Transpose.TRANSPOSE).tobytes()
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return
    mark = _bytes(columns, 0, len(_PACKED))
    if mark not in (_PACKED, _PLAIN):
        return
    bits = int.from_bytes(_bytes(columns, len(mark), 4), "big")
    data = _bytes(columns, len(mark) + 4, min(bits // 8, _MOST_BYTES))
    try:
        text = (_unpacked(data) if mark == _PACKED else data).decode()
    except (zlib.error, UnicodeDecodeError):
        return
    if text:
        yield from _texts(text)


def _bytes(columns: bytes, start: int, count: int) -> bytes:
    bits = columns[8 * start : 8 * (start + count)].translate(_BITS)
    whole = len(bits) // 8
    return int(bits[: 8 * whole] or b"0", 2).to_bytes(whole, "big")


def _unpacked(data: bytes) -> bytes:
    return zlib.decompressobj(wbits=31).decompress(data, _MOST_BYTES)


def _texts(text: str) -> Iterator[tuple[str, str]]:
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        held = None
    if not isinstance(held, dict):
        yield "parameters", text
        return
    for key, value in held.items():
        yield key, value if isinstance(value, str) else json.dumps(value)
