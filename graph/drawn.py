"""Values that editors draw: a colour, and a rectangle of a picture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypedDict

from graph.errors import ValueRefused
from graph.files import Folders

_HEX = re.compile(r"#?([0-9a-fA-F]{6})([0-9a-fA-F]{2})?")
_NUMBERS = re.compile(r"\s*(-?\d{1,9})\s*,\s*(-?\d{1,9})\s*,\s*(-?\d{1,9})\s*,\s*(-?\d{1,9})\s*")
_SIDES = ("x", "y", "width", "height")


class Rectangle(TypedDict):
    """A rectangle of a picture, in pixels: its left upper corner and its sides. A plain mapping, as packs have it."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Colour:
    """A colour, which the node function gets as `#rrggbb` in small letters; what is said of its opacity is dropped."""

    tooltip: str = ""
    socket: ClassVar[str] = "COLOR"
    linkable: ClassVar[bool] = True

    def coerce(self, value: object, folders: Folders) -> str:
        if isinstance(value, str) and (found := _HEX.fullmatch(value.strip())):
            return f"#{found[1].lower()}"
        raise ValueRefused("invalid_input_type", "a colour such as #ff8000")


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle, as an object {x, y, width, height} or as four numbers with commas."""

    tooltip: str = ""
    socket: ClassVar[str] = "BOUNDING_BOX"
    linkable: ClassVar[bool] = True

    def coerce(self, value: object, folders: Folders) -> Rectangle:
        match value:
            case Mapping() if all(_is_whole(value.get(side)) for side in _SIDES):
                sides = [int(value[side]) for side in _SIDES]
            case str() if found := _NUMBERS.fullmatch(value):
                sides = [int(side) for side in found.groups()]
            case _:
                raise ValueRefused("invalid_input_type", "a rectangle: x, y, width and height in whole pixels")
        x, y, width, height = sides
        if x < 0 or y < 0 or width < 1 or height < 1:
            raise ValueRefused(
                "value_smaller_than_min", "a rectangle that begins at 0 or later and has a pixel at least"
            )
        return Rectangle(x=x, y=y, width=width, height=height)


def _is_whole(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and float(value).is_integer()
