"""A Brownian path of a seed, known at any place, whatever was asked before.

The path is made by halving (Levy's construction): the increment over an interval is shared out between its halves by
noise that belongs to the interval alone. Seeds and rounding are those of torchsde's BrownianTree (Kidger et al. 2021,
arXiv:2105.13493, "Efficient and accurate gradients for neural SDEs", section 4), so that the paths are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Draw = Callable[[tuple[int, ...]], Tensor]
"""A shape -> standard normal numbers, float32 on the CPU, new at every call."""

Generator = Callable[[int], Draw]
"""A seed -> what draws from it."""

DIGITS = 6  # places are rounded to so many after the point, which ends the halving
POOL = 24  # words in which a seed is mixed


class _Interval(NamedTuple):
    """An interval that halving leads to: its ends, and its place in the tree. key: one bit a level, 1 for right."""

    start: float
    end: float
    key: int
    depth: int


class BrownianPath:
    """Increments over intervals of [low, high] of a path that has variance 1 per unit. On the CPU, in float32."""

    def __init__(
        self, shape: tuple[int, ...], low: float, high: float, seed: int, generator: Generator | None = None
    ) -> None:
        """generator: a seed -> what draws from it, if not torch's on the CPU."""
        self._shape = shape
        self._generator = generator
        self._seed = seed
        self._whole = _Interval(round(low, DIGITS), round(high, DIGITS), 0, 0)
        self._total = self._draw(_words(seed, ())) * math.sqrt(high - low)
        self._halves: dict[_Interval, Tensor] = {}  # increments over left halves, those that the last call needed

    def __call__(self, start: float, end: float) -> Tensor:
        """The increment from `start` to `end`, which may be less; ends outside of the path are moved to its own."""
        if start > end:
            return -self(end, start)
        first, last = self._whole.start, self._whole.end
        start, end = (round(min(max(place, first), last), DIGITS) for place in (start, end))
        needed: dict[_Interval, Tensor] = {}
        total = torch.zeros(self._shape)
        pending = [(self._whole, self._total)] if start < end else []
        while pending:
            interval, increment = pending.pop()
            if start <= interval.start and interval.end <= end:
                total = total + increment
                continue
            middle = round((interval.start + interval.end) / 2, DIGITS)
            half = needed[interval] = self._left_half(interval, middle, increment)
            left = _Interval(interval.start, middle, 2 * interval.key, interval.depth + 1)
            right = _Interval(middle, interval.end, 2 * interval.key + 1, interval.depth + 1)
            if end > middle:
                pending.append((right, increment - half))
            if start < middle:
                pending.append((left, half))
        self._halves = needed
        return total

    def _left_half(self, interval: _Interval, middle: float, increment: Tensor) -> Tensor:
        """Its share of the increment, and what the path strays from it in the middle (a Brownian bridge)."""
        if (known := self._halves.get(interval)) is not None:
            return known
        left, right, length = middle - interval.start, interval.end - middle, interval.end - interval.start
        noise = self._draw(_words(self._seed, (interval.key, interval.depth)))
        return left * increment / length + math.sqrt(left * right / length) * noise

    def _draw(self, seed: int) -> Tensor:
        if self._generator is not None:
            return self._generator(seed)(self._shape)
        return torch.randn(self._shape, generator=torch.Generator("cpu").manual_seed(seed))


def _words(seed: int, place: tuple[int, ...]) -> int:
    """A seed for one place of the tree."""
    return int(np.random.SeedSequence(seed, spawn_key=place, pool_size=POOL).generate_state(4)[0])
