"""The world of the embedded model: captioned 64×64 scenes of one or two coloured shapes, each a pure function of (seed, index)."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.training.captions import describe

SIZE = 64  # pixels on a side
SUPERSAMPLING = 4  # shapes are drawn this much larger and shrunk, which smooths their edges

PALETTE: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "red": (215, 20, 30),
        "green": (25, 150, 60),
        "blue": (30, 70, 225),
        "yellow": (255, 232, 45),
        "orange": (255, 140, 0),
        "purple": (150, 40, 190),
        "black": (12, 12, 12),
        "white": (250, 250, 250),
    }
)
COLOURS = tuple(PALETTE)
SHAPES = ("circle", "square", "triangle", "star", "heart")
BACKGROUND_ODDS = (1, 1, 1, 1, 1, 1, 1.8, 3)  # in the order of COLOURS: plain paper is what most prompts ask for
UNSEEN_PAIRS = frozenset({("purple", "triangle"), ("orange", "heart")})  # never drawn for training at all
HELD_OUT_SHARE = 10  # one in so many combinations is kept for the tests


class Pattern(StrEnum):
    """How a background's colour is laid."""

    PLAIN = "plain"
    GRADIENT = "gradient"  # shaded towards the bottom
    STRIPED = "striped"  # vertical stripes, every second one shaded


class Split(StrEnum):
    """Which combinations of things a scene may show."""

    TRAIN = "train"
    HELD_OUT = "held out"


@dataclass(frozen=True)
class Thing:
    """One coloured shape. x, y, radius in pixels."""

    shape: str
    colour: str
    size: str  # small or large
    place: str  # left, right, top, bottom or centre
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Background:
    """What the things lie on."""

    colour: str
    pattern: Pattern


@dataclass(frozen=True)
class Scene:
    """One or two things, in reading order (left before right, top before bottom), and a caption that is true of them."""

    things: tuple[Thing, ...]
    background: Background
    caption: str

    def combination(self) -> tuple[str, ...]:
        """What the split goes by: colour, shape and background of one thing, or the two colour-shape pairs, sorted."""
        pairs = sorted(f"{thing.colour} {thing.shape}" for thing in self.things)
        return tuple(pairs) if len(pairs) == 2 else (*pairs, self.background.colour)


def scene(seed: int, index: int, split: Split = Split.TRAIN) -> Scene:
    """The scene number `index` of the world `seed`, on its side of the split."""
    rng = np.random.default_rng([seed, index, int(split is Split.HELD_OUT)])
    while True:
        candidate = _compose(rng)
        if split_of(candidate) is split:
            return candidate


def split_of(candidate: Scene) -> Split:
    """The side of the split that a scene's combination of things belongs to."""
    if any((thing.colour, thing.shape) in UNSEEN_PAIRS for thing in candidate.things):
        return Split.HELD_OUT
    held_out = zlib.crc32("/".join(candidate.combination()).encode()) % HELD_OUT_SHARE == 0
    return Split.HELD_OUT if held_out else Split.TRAIN


def draw(candidate: Scene) -> NDArray[np.uint8]:
    """The picture of a scene, [64, 64, 3]."""
    canvas = _paper(candidate.background)
    for thing in candidate.things:
        cover = silhouette(thing.shape, thing.x, thing.y, thing.radius)[..., None]
        canvas = canvas * (1 - cover) + np.array(PALETTE[thing.colour], np.float32) * cover
    return np.rint(canvas).astype(np.uint8)


def pictures(seed: int, first: int, count: int, split: Split = Split.TRAIN) -> NDArray[np.uint8]:
    """The pictures of `count` scenes from number `first` on, [count, 64, 64, 3]."""
    return np.stack([draw(scene(seed, index, split)) for index in range(first, first + count)])


def silhouette(shape: str, x: float, y: float, radius: float) -> NDArray[np.float32]:
    """How much of each pixel a shape covers, [64, 64] in 0..1."""
    mask = Image.new("L", (SIZE * SUPERSAMPLING, SIZE * SUPERSAMPLING))
    outline = [((x + radius * u) * SUPERSAMPLING, (y + radius * v) * SUPERSAMPLING) for u, v in _outline(shape)]
    ImageDraw.Draw(mask).polygon(outline, fill=255)
    cover: NDArray[np.float32] = np.asarray(mask.reduce(SUPERSAMPLING), np.float32) / np.float32(255)
    return cover


def shaded(colour: str, depth: float) -> NDArray[np.float32]:
    """A palette colour darkened by `depth` (0..1); black, which cannot be, is lightened instead."""
    rgb = np.array(PALETTE[colour], np.float32)
    changed: NDArray[np.float32] = rgb + 150 * depth if colour == "black" else rgb * (1 - depth)
    return changed


def _outline(shape: str) -> list[tuple[float, float]]:
    """A polygon about the origin, of circumradius about 1, y pointing down."""
    match shape:
        case "circle":
            turns = [2 * math.pi * i / 48 for i in range(48)]
            return [(0.97 * math.cos(a), 0.97 * math.sin(a)) for a in turns]
        case "square":
            return [(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)]
        case "triangle":
            return [(0.0, -1.0), (1.05, 0.82), (-1.05, 0.82)]
        case "star":
            spokes = [(math.pi * i / 5, 1.1 if i % 2 == 0 else 0.47) for i in range(10)]
            return [(r * math.sin(a), 0.06 - r * math.cos(a)) for a, r in spokes]
        case "heart":
            turns = [2 * math.pi * i / 48 for i in range(48)]
            return [(math.sin(a) ** 3, _heart_height(a)) for a in turns]
        case _:
            raise ValueError(f"no such shape: {shape!r}; there are {', '.join(SHAPES)}")


def _heart_height(angle: float) -> float:
    curve = 13 * math.cos(angle) - 5 * math.cos(2 * angle) - 2 * math.cos(3 * angle) - math.cos(4 * angle)
    return -(curve + 2.5) / 15


def _paper(background: Background) -> NDArray[np.float32]:
    """An empty background, [64, 64, 3] in 0..255."""
    match background.pattern:
        case Pattern.PLAIN:
            depth = np.zeros((SIZE, SIZE))
        case Pattern.GRADIENT:
            depth = np.broadcast_to(np.linspace(0, 0.35, SIZE)[:, None], (SIZE, SIZE))
        case Pattern.STRIPED:
            depth = np.broadcast_to(np.arange(SIZE)[None, :] // 8 % 2 * 0.25, (SIZE, SIZE))
    light, dark = shaded(background.colour, 0), shaded(background.colour, 1)
    paper: NDArray[np.float32] = light + (dark - light) * depth[..., None].astype(np.float32)
    return paper


def _compose(rng: np.random.Generator) -> Scene:
    odds = np.array(BACKGROUND_ODDS) / sum(BACKGROUND_ODDS)
    colour = COLOURS[rng.choice(len(COLOURS), p=odds)]
    pattern = (Pattern.PLAIN, Pattern.GRADIENT, Pattern.STRIPED)[rng.choice(3, p=(0.7, 0.15, 0.15))]
    background = Background(colour, pattern)
    places = _places(rng)
    kinds: list[tuple[str, str]] = []
    while len(kinds) < len(places):
        kind = (SHAPES[rng.integers(len(SHAPES))], COLOURS[rng.integers(len(COLOURS))])
        if kind[1] != background.colour and kind not in kinds:
            kinds.append(kind)
    things = tuple(
        _placed(rng, *kind, place, alone=len(places) == 1) for kind, place in zip(kinds, places, strict=True)
    )
    return Scene(things, background, describe(rng, things, background))


def _places(rng: np.random.Generator) -> tuple[str, ...]:
    if rng.random() < 0.45:
        return (("centre", "left", "right", "top", "bottom")[rng.choice(5, p=(0.4, 0.15, 0.15, 0.15, 0.15))],)
    return ("left", "right") if rng.random() < 0.7 else ("top", "bottom")


def _placed(rng: np.random.Generator, shape: str, colour: str, place: str, alone: bool) -> Thing:
    """A thing of random size at a place, never nearer than 2 pixels to the edge or to the middle line of a pair."""
    size = ("small", "large")[rng.integers(2)]
    radius = {"small": 10.5, "large": 18.0 if alone else 13.6}[size] + rng.uniform(-0.8, 0.8)
    across, along = rng.uniform(-2, 2), rng.uniform(-0.7, 0.7)
    reach = 32 - 18.0 - 2.8 if alone and size == "large" else 16
    dx, dy = {"centre": (0, 0), "left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}[place]
    jitter = (along, across) if dx else (across, along)
    return Thing(shape, colour, size, place, 32 + dx * reach + jitter[0], 32 + dy * reach + jitter[1], radius)
