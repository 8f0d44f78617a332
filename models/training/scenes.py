"""The scenes of the drawn world, each a pure function of (seed, index, split): what there is, where, and a true caption."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np

from models.training.world import COLOURS, GREEN, KINDS, SIZE, Level, Place, Season, Style, Time, Weather

UNSEEN_PAIRS = frozenset({("purple", "cat"), ("green", "boat"), ("blue", "apple")})  # never drawn for training at all
CELL = 8  # pixels, by which all moves from scene to scene, so that a thing's latents are alike wherever it is
HELD_OUT_SHARE = 10  # one in so many combinations is kept for the tests
STAND: Mapping[Place, float] = MappingProxyType(  # the y that things stand on
    {Place.SEA: 86.0, Place.BEACH: 112.0, Place.MEADOW: 110.0, Place.HILLS: 112.0, Place.TABLE: 108.0}
)


class Split(StrEnum):
    """Which combinations a scene may show."""

    TRAIN = "train"
    HELD_OUT = "held out"


class Relation(StrEnum):
    """Where the first of two things is, seen from the second."""

    LEFT = "left of"
    ABOVE = "above"


@dataclass(frozen=True)
class Thing:
    """One thing. x, y: its middle, radius: half its height, in pixels. Only trees have no colour of their own."""

    kind: str
    colour: str | None
    x: float
    y: float
    radius: float

    @property
    def name(self) -> tuple[str | None, str]:
        """Its colour and kind."""
        return self.colour, self.kind


@dataclass(frozen=True)
class Scene:
    """One to three things of one kind and colour, or two different ones, at a place. Things in reading order."""

    place: Place
    time: Time
    weather: Weather
    season: Season | None
    style: Style
    things: tuple[Thing, ...]
    seed: int  # of what is drawn at random and told by no caption

    @property
    def relation(self) -> Relation | None:
        """Of the first to the second thing, where they differ."""
        if len({thing.name for thing in self.things}) < 2:
            return None
        first, second = self.things
        return Relation.LEFT if second.x - first.x > 20 else Relation.ABOVE

    @property
    def size(self) -> str | None:
        """Of one thing alone: "small", "big", or between."""
        if len(self.things) > 1:
            return None
        radius = self.things[0].radius
        return "small" if radius < 22 else "big" if radius > 31 else None

    @property
    def side(self) -> str | None:
        """Of one thing alone: "left" or "right", or neither."""
        x = self.things[0].x
        return None if len(self.things) > 1 or abs(x - SIZE / 2) < 20 else "left" if x < SIZE / 2 else "right"

    def combination(self) -> str:
        """What the split goes by: the things, their number, the place and the time."""
        names = sorted(f"{thing.colour} {thing.kind}" for thing in self.things)
        return "/".join([*names, self.place, self.time])


def scene(seed: int, index: int, split: Split = Split.TRAIN) -> Scene:
    """The scene number `index` of the world `seed`, on its side of the split."""
    rng = np.random.default_rng([seed, index, int(split is Split.HELD_OUT)])
    while True:
        candidate = _compose(rng)
        if split_of(candidate) is split:
            return candidate


def split_of(candidate: Scene) -> Split:
    """The side of the split that a scene's combination belongs to."""
    if has_unseen_pair(candidate):
        return Split.HELD_OUT
    held_out = zlib.crc32(candidate.combination().encode()) % HELD_OUT_SHARE == 0
    return Split.HELD_OUT if held_out else Split.TRAIN


def has_unseen_pair(candidate: Scene) -> bool:
    """Whether a scene shows a colour and kind that no training scene joins."""
    return any(thing.name in UNSEEN_PAIRS for thing in candidate.things)


def _compose(rng: np.random.Generator) -> Scene:
    place = tuple(Place)[_one(rng, (0.24, 0.13, 0.25, 0.16, 0.22))]
    time = tuple(Time)[_one(rng, (0.46, 0.26, 0.28))]
    season = tuple(Season)[_one(rng, (0.25,) * 4)] if place in GREEN else None
    weather = _weather(rng, place, time, season)
    style = tuple(Style)[_one(rng, (0.73, 0.09, 0.09, 0.09))]
    things = _things(rng, place, time, weather, season, fine=style is not Style.PIXEL_ART)
    return Scene(place, time, weather, season, style, things, int(rng.integers(2**31)))


def _weather(rng: np.random.Generator, place: Place, time: Time, season: Season | None) -> Weather:
    if place is Place.TABLE:
        return Weather.CLEAR
    wet = Weather.SNOW if season is Season.WINTER or (season is None and rng.random() < 0.4) else Weather.RAIN
    if time is Time.SUNSET:
        return (Weather.CLEAR, Weather.CLOUDY)[_one(rng, (0.75, 0.25))]
    return (Weather.CLEAR, Weather.CLOUDY, wet)[_one(rng, (0.5, 0.22, 0.28))]


def _things(
    rng: np.random.Generator, place: Place, time: Time, weather: Weather, season: Season | None, fine: bool
) -> tuple[Thing, ...]:
    kinds = [name for name, kind in KINDS.items() if place in kind.places]
    form = rng.random()
    if form < 0.42:
        name = _name(rng, kinds, place, time, weather, season)
        size = (18.0, 26.0, 36.0)[_one(rng, (0.3, 0.3, 0.4) if fine else (0, 0.5, 0.5))]
        x = SIZE / 2 + CELL * (-4, -3, -1, 0, 1, 3, 4)[_one(rng, (0.12, 0.13, 0.16, 0.18, 0.16, 0.13, 0.12))]
        return (_placed(name, place, x, size),)
    if form < 0.68:
        name = _name(rng, kinds, place, time, weather, season)
        places = ((40.0, 88.0), (24.0, 64.0, 104.0))[rng.integers(2)]
        return tuple(_placed(name, place, x, 25.0 if len(places) == 2 else 19.0) for x in places)
    names = [_name(rng, kinds, place, time, weather, season)]
    while len(names) < 2:
        name = _name(rng, kinds, place, time, weather, season)
        if name[1] != names[0][1]:
            names.append(name)
    levels = [KINDS[kind].level for _, kind in names]
    if levels.count(Level.SKY) == 1 and rng.random() < 0.6:
        names.sort(key=lambda name: KINDS[name[1]].level is not Level.SKY)
        return tuple(_placed(name, place, SIZE / 2, 25.0) for name in names)
    return tuple(_placed(name, place, x, 25.0) for name, x in zip(names, (40.0, 88.0), strict=True))


def _name(
    rng: np.random.Generator, kinds: list[str], place: Place, time: Time, weather: Weather, season: Season | None
) -> tuple[str | None, str]:
    kind = kinds[rng.integers(len(kinds))]
    if not KINDS[kind].coloured:
        return None, kind
    hidden = set()
    if time is Time.NIGHT:
        hidden.add("black")
    if season is Season.WINTER or (weather is not Weather.CLEAR and KINDS[kind].level is Level.SKY):
        hidden.add("white")
    seen = [colour for colour in COLOURS if colour not in hidden]
    return seen[rng.integers(len(seen))], kind


def _placed(name: tuple[str | None, str], place: Place, x: float, radius: float) -> Thing:
    colour, kind = name
    level = KINDS[kind].level
    if level is Level.SKY:
        y = max(34.0, radius + 4)
    elif kind == "fish":
        y = 104.0 - 0.3 * radius
    else:
        y = STAND[place] + (8.0 if kind == "boat" else 0.0) - 0.95 * radius
    return Thing(kind, colour, x, CELL * round(y / CELL), radius)


def _one(rng: np.random.Generator, odds: Sequence[float]) -> int:
    """A number below that of the odds, drawn by them."""
    return int(rng.choice(len(odds), p=odds))
