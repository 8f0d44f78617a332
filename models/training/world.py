"""What there is in the drawn world: places, times, weathers, seasons, styles, kinds of things and their colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

RGB = tuple[int, int, int]

SIZE = 128  # pixels on a side


class Place(StrEnum):
    """Where a scene is."""

    SEA = "sea"
    BEACH = "beach"
    MEADOW = "meadow"
    HILLS = "hills"
    TABLE = "table"


class Time(StrEnum):
    """The time of day."""

    DAY = "day"
    SUNSET = "sunset"
    NIGHT = "night"


class Weather(StrEnum):
    """What comes from the sky. On a table there is none, which counts as clear."""

    CLEAR = "clear"
    CLOUDY = "cloudy"
    RAIN = "rain"
    SNOW = "snow"


class Season(StrEnum):
    """Seen by the ground and the trees, so only where those are: on meadows and hills."""

    SPRING = "spring"
    SUMMER = "summer"
    AUTUMN = "autumn"
    WINTER = "winter"


class Style(StrEnum):
    """How a scene is drawn."""

    PLAIN = "plain"
    WATERCOLOUR = "watercolour"
    WOODCUT = "woodcut"
    PIXEL_ART = "pixel art"


class Level(StrEnum):
    """Where in the picture a kind of thing is at home."""

    SKY = "sky"
    GROUND = "ground"
    WATER = "water"


@dataclass(frozen=True)
class Kind:
    """A kind of thing. `coloured` is false for trees, whose colour is the season's."""

    level: Level
    places: frozenset[Place]
    coloured: bool = True


LAND = frozenset({Place.BEACH, Place.MEADOW, Place.HILLS})
GREEN = frozenset({Place.MEADOW, Place.HILLS})

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "boat": Kind(Level.WATER, frozenset({Place.SEA})),
        "fish": Kind(Level.WATER, frozenset({Place.SEA})),
        "house": Kind(Level.GROUND, LAND),
        "cat": Kind(Level.GROUND, LAND | {Place.TABLE}),
        "balloon": Kind(Level.SKY, LAND | {Place.SEA}),
        "flower": Kind(Level.GROUND, frozenset({Place.MEADOW})),
        "tree": Kind(Level.GROUND, GREEN, coloured=False),
        "apple": Kind(Level.GROUND, frozenset({Place.TABLE})),
        "cup": Kind(Level.GROUND, frozenset({Place.TABLE})),
    }
)

PALETTE: Mapping[str, RGB] = MappingProxyType(
    {
        "red": (222, 38, 38),
        "yellow": (255, 214, 40),
        "green": (28, 140, 62),
        "blue": (36, 78, 220),
        "purple": (146, 50, 190),
        "white": (250, 250, 246),
        "black": (28, 26, 34),
    }
)
COLOURS = tuple(PALETTE)
