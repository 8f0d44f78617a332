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


_GUIDED = Range(2.5, 7.0, 15.0)
_UNGUIDED = Range(1.0, 1.0, 2.0)


@dataclass(frozen=True)
class Suits:
    """What suits a model. name: what it is called; side: pixels a side of a square picture; distilled: it learned to draw in few
    steps. steps, cfg: None where nobody can tell. samplers, schedulers: the best first; none where many do."""

    name: str
    side: int
    distilled: bool = False
    steps: Range | None = None
    cfg: Range | None = None
    samplers: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()

    def size(self, width: int, height: int) -> tuple[int, int]:
        """A width and height of nearly the same shape that suit, or these if they do."""
        area = self.side**2
        if PIXELS[0] * area <= width * height <= PIXELS[1] * area:
            return width, height
        scale = (area / (width * height)) ** 0.5
        return _rounded(width * scale), _rounded(height * scale)


@dataclass(frozen=True)
class _Kind:
    """A way of learning to draw in few steps. words: what names say of it; called: what people call it; steps: None: the
    name says them."""

    words: str
    called: str
    steps: Range | None = None
    cfg: Range = _UNGUIDED
    samplers: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()


_DETERMINISTIC = ("euler", "ddim")
_TRAILING = ("sgm_uniform", "simple")
"""Schedules that begin at the highest level and leave out the lowest, as those models learned: "trailing" to diffusers."""

_DISTILLED: Sequence[_Kind] = (
    # first those that their makers published, with what they say of them; then what others made of them, which differs
    _Kind(r"sdxl_lightning_\d+step", "Lightning", None, samplers=_DETERMINISTIC, schedulers=_TRAILING),
    _Kind(r"lightning", "Lightning"),
    _Kind(r"hyper.*cfg", "Hyper", None, Range(3.0, 5.0, 8.0), _DETERMINISTIC, _TRAILING),
    _Kind(r"hyper-?sd(xl|15)-1step", "Hyper", Range(1, 1, 8), samplers=("lcm",)),
    _Kind(r"hyper-?sd(xl|15)-\d+step", "Hyper", None, samplers=_DETERMINISTIC, schedulers=_TRAILING),
    _Kind(r"hyper[-_ ]?sd|hyper.*steps?", "Hyper"),
    _Kind(r"sd_(xl_)?turbo", "Turbo", Range(1, 4, 10), samplers=("euler_ancestral", "euler"), schedulers=_TRAILING),
    _Kind(r"turbo", "Turbo", Range(1, 4, 10)),
    _Kind(r"lcm", "LCM", Range(2, 6, 12), samplers=("lcm",), schedulers=_TRAILING),
    _Kind(r"dmd2?(?![a-z])", "DMD", Range(1, 4, 8), samplers=("lcm",)),
)
"""Models that learned to draw in few steps; their weights have the shapes of those they learned from."""


def suits(family: Family, file: str, adapters: Sequence[str] = ()) -> Suits:
    """What suits a model of a family. Whether it draws in few steps only names tell. adapters: the LoRA files on it, of which
    one that tells nothing may ask for anything."""
    for name in (*reversed(adapters), file):
        for kind in _DISTILLED:
            if re.search(kind.words, name, re.IGNORECASE):
                side = 512 if kind.called == "Turbo" and "xl_turbo" in name.lower() else family.side
                title, steps = f"{family.name} {kind.called}", kind.steps or _steps_said(name)
                return Suits(title, side, True, steps, kind.cfg, kind.samplers, kind.schedulers)
    plain = Suits(family.name, family.side, steps=Range(12, 25, 80), cfg=_GUIDED)
    return replace(plain, steps=None, cfg=None) if adapters else plain


def _steps_said(name: str) -> Range:
    """How many steps a file's name says, such as `sdxl_lightning_4step`, or else those that most of its kind take."""
    found = re.search(r"(\d+)[-_ ]?steps?(?![a-z])", name, re.IGNORECASE)
    return Range(int(found[1]), int(found[1]), 2 * int(found[1])) if found else Range(1, 6, 12)


def _rounded(side: float) -> int:
    return max(1, round(side / SIDE)) * SIDE
