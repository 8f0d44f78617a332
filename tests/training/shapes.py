"""The world of darkroom-shapes-64: shapes of eight colours, how they are drawn, and what a picture shows of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Mask = NDArray[np.bool_]

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

BORDER = 2  # pixels of the frame that shows nothing but background
SHADES = (0.0, 0.12, 0.24, 0.35)  # how far backgrounds are shaded
CORE = 6  # pixels that a thing must keep when its rim is taken off twice; blurred edges of mixed colour keep none
LEAST = 60  # pixels of the smallest thing
LIKENESS = 0.6  # of silhouettes, intersection over union, below which a thing has no known shape
GRID = 32  # silhouettes are compared at this size, stretched to fill it


@dataclass(frozen=True)
class Finding:
    """What is to be seen. Things are (colour, shape), sorted; a shape like none known is called "unknown"."""

    background: str
    things: tuple[tuple[str, str], ...]


def detect(picture: NDArray[np.uint8]) -> Finding:
    """Look at one picture, [64, 64, 3]."""
    distance = _distances(picture)
    nearest = distance.argmin(0)
    frame = np.ones((SIZE, SIZE), bool)
    frame[BORDER:-BORDER, BORDER:-BORDER] = False
    ground = int(np.bincount(nearest[frame], minlength=len(COLOURS)).argmax())
    cores = [(colour, core) for colour in range(len(COLOURS)) if colour != ground for core in _cores(nearest == colour)]
    seen = sorted({colour for colour, _ in cores})
    things: list[tuple[str, str]] = []
    for colour, core in cores:
        rivals = np.stack([distance[other] for other in {ground, *seen} - {colour}])
        body = _grown(core, distance[colour] < rivals.min(0))
        if body.sum() >= LEAST:
            things.append((COLOURS[colour], _shape(body)))
    return Finding(COLOURS[ground], tuple(sorted(things)))


def _distances(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How far each pixel is from each palette colour or the nearest of its shades. [8, 64, 64]"""
    rgb = picture.astype(np.float32)
    shades = np.stack([[shaded(colour, depth) for depth in SHADES] for colour in COLOURS])  # [8, shades, 3]
    apart = rgb[None, None] - shades[:, :, None, None]
    nearest: NDArray[np.float32] = np.sqrt(np.square(apart).sum(-1)).min(1)
    return nearest


def _cores(mask: Mask) -> Iterator[Mask]:
    """The connected parts of a mask that remain when its rim is taken off twice."""
    rest = _eroded(_eroded(mask))
    while rest.any():
        first = np.zeros_like(rest)
        first.flat[rest.argmax()] = True
        part = _grown(first, rest)
        rest &= ~part
        if part.sum() >= CORE:
            yield part


def _eroded(mask: Mask) -> Mask:
    padded = np.pad(mask, 1)
    inner: Mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inner


def _grown(seed: Mask, within: Mask) -> Mask:
    """What of `within` is connected to the seed."""
    body = seed & within
    while True:
        padded = np.pad(body, 1)
        wider = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:] | body
        wider &= within
        if (wider == body).all():
            return body
        body = wider


def _shape(body: Mask) -> str:
    filled = _stretched(body.astype(np.float32))
    likeness = {
        shape: float(np.minimum(filled, template).sum() / np.maximum(filled, template).sum())
        for shape, template in _templates().items()
    }
    best = max(likeness, key=likeness.__getitem__)
    return best if likeness[best] >= LIKENESS else "unknown"


@cache
def _templates() -> dict[str, NDArray[np.float32]]:
    return {shape: _stretched((silhouette(shape, 32, 32, 14) > 0.5).astype(np.float32)) for shape in SHAPES}


def _stretched(cover: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is covered, stretched to fill a square grid, [32, 32] in 0..1."""
    rows, columns = np.nonzero(cover)
    crop = cover[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    image = Image.fromarray(crop).resize((GRID, GRID), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32)


def drawn(things: tuple[tuple[str, str], ...], ground: str) -> NDArray[np.uint8]:
    """A picture of one thing in the middle or two side by side, (colour, shape) each, [64, 64, 3]."""
    canvas = np.broadcast_to(shaded(ground, 0), (SIZE, SIZE, 3))
    for i, (colour, shape) in enumerate(things):
        x = SIZE / 2 if len(things) == 1 else SIZE / 4 + i * SIZE / 2
        cover = silhouette(shape, x, SIZE / 2, 13)[..., None]
        canvas = canvas * (1 - cover) + shaded(colour, 0) * cover
    return np.rint(canvas).astype(np.uint8)


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
