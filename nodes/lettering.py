"""Letters upon pictures: fonts, and text broken into lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from PIL import ImageFont

OTHER_SCRIPTS = ("NotoSansCJK-Regular.ttc", "NotoSansSC-Regular.otf", "msyh.ttc", "PingFang.ttc", "wqy-microhei.ttc")
"""Fonts for what Pillow's own does not have, by the names they usually have."""

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


def font_for(size: int, text: str) -> Font:
    """Pillow's own, or where `text` has other scripts one of the system that has them, if there is one."""
    if any(ord(letter) > 0x24F and not 0x2000 <= ord(letter) <= 0x206F for letter in text):
        for name in OTHER_SCRIPTS:
            try:
                return ImageFont.truetype(name, size)
            except OSError:
                continue
    return ImageFont.load_default(size)


def lines_of(text: str, font: Font, width: int) -> Iterator[str]:
    """Its lines, broken between words, or within one that is too long, where they would be wider than so many pixels."""
    for part in text.splitlines():
        line = ""
        for word in part.split():
            if line and font.getlength(f"{line} {word}") > width:
                yield line
                line = ""
            line = f"{line} {word}".strip()
            while font.getlength(line) > width and len(line) > 1:
                fits = _fitting(line, font, width)
                yield line[:fits]
                line = line[fits:]
        if line:
            yield line


def _fitting(text: str, font: Font, width: int) -> int:
    """How many characters fit, at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle]) <= width else (low, middle - 1)
    return low
