"""What a picture shows, from its pixels alone: the background's colour, and colour and shape of each thing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.training.scenes import COLOURS, SHAPES, SIZE, shaded, silhouette

Mask = NDArray[np.bool_]

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
