"""What suits a model: the size it learned at, and steps, guidance and sampler to begin with. Hints, which nothing rests on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from models.family import Family

PIXELS = (0.5, 2.0)
"""How many pixels a picture may have, in shares of those that a model learned with, before figures double or fall apart."""
SIDE = 64
"""Sides that suit every U-Net are multiples of this."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high` suit, `best` most."""

    low: float
    best: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Suits:
    """What suits a model. name: what it is called; side: pixels a side of a square picture; distilled: it learned to draw in few
    steps. steps, cfg, sampler and scheduler: None where nobody can tell."""

    name: str
    side: int
    distilled: bool = False
    steps: Range | None = None
    cfg: Range | None = None
    sampler: str | None = None
    scheduler: str | None = None

    def size(self, width: int, height: int) -> tuple[int, int]:
        """A width and height of nearly the same shape that suit, or these if they do."""
        area = self.side**2
        if PIXELS[0] * area <= width * height <= PIXELS[1] * area:
            return width, height
        scale = (area / (width * height)) ** 0.5
        return _rounded(width * scale), _rounded(height * scale)


_DISTILLED: Sequence[tuple[str, str, Range | None, str | None, str | None]] = (
    # what names say, what it is called, steps (None: the name says them), sampler, scheduler
    (r"lightning", "Lightning", None, None, None),
    (r"hyper[-_ ]?sd|hyper.*steps?", "Hyper", None, None, None),
    (r"turbo", "Turbo", Range(1, 4, 10), None, None),
    (r"lcm", "LCM", Range(2, 6, 12), "lcm", "sgm_uniform"),
    (r"dmd2?(?![a-z])", "DMD", Range(1, 4, 8), "lcm", None),
)
"""Models that learned to draw in few steps; their weights have the shapes of those they learned from."""

_UNGUIDED = Range(1.0, 1.0, 2.0)


def suits(family: Family, file: str, adapters: Sequence[str] = ()) -> Suits:
    """What suits a model of a family. Whether it draws in few steps only names tell. adapters: the LoRA files on it, of which
    one that tells nothing may ask for anything."""
    plain = Suits(family.name, family.side, steps=Range(12, 25, 80), cfg=Range(2.5, 7.0, 15.0))
    for name in (*reversed(adapters), file):
        for words, called, steps, sampler, scheduler in _DISTILLED:
            if re.search(words, name, re.IGNORECASE):
                side = 512 if called == "Turbo" and "xl_turbo" in name.lower() else family.side
                title = f"{family.name} {called}"
                return Suits(title, side, True, steps or _steps_said(name), _UNGUIDED, sampler, scheduler)
    return replace(plain, steps=None, cfg=None) if adapters else plain


def _steps_said(name: str) -> Range:
    """How many steps a file's name says, such as `sdxl_lightning_4step`, or else those that most of its kind take."""
    found = re.search(r"(\d+)[-_ ]?steps?(?![a-z])", name, re.IGNORECASE)
    return Range(int(found[1]), int(found[1]), 2 * int(found[1])) if found else Range(1, 6, 12)


def _rounded(side: float) -> int:
    return max(1, round(side / SIDE)) * SIDE
