"""Steps whose estimate is told from the last ones: EasyCache (Zhou et al. 2025, arXiv:2507.02860).

The network's answer is v = x + d. From step to step v changes about as much as x, times a rate that changes slowly
(section 3.2). So the change of v since it was last computed can be told from that of x, and while the sum of
the relative changes is below a threshold, d stays as it was (section 3.3).
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.linalg import vector_norm

from models.reading import Reading
from models.steering import Begun, Call, Estimating, Ground, Inside
from models.steps import Denoise
from models.turns import Turns

_logger = logging.getLogger(__name__)


class Estimates:
    """What is remembered of the calls for one text, or for several that are answered together."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._x: Tensor | None = None
        self._v: Tensor | None = None
        self._apart: Tensor | None = None
        self._rate = math.inf
        self.error = 0.0
        """The sum of the relative changes since the last answer that was computed."""

    def answer(self, x: Tensor, compute: Callable[[], Tensor]) -> tuple[Tensor, bool]:
        """v of x, both [B, 4, h, w], and whether it was computed."""
        last, before = self._x, self._v
        if last is None or before is None or last.shape != x.shape:
            return self._computed(x, compute), True
        moved = float(vector_norm((x - last).float()))
        self.error += self._rate * moved / max(float(vector_norm(before.float())), torch.finfo(torch.float32).tiny)
        if self._apart is not None and self.error < self._threshold:
            self._x, self._v = x, x + self._apart
            return self._v, False
        made = self._computed(x, compute)
        if moved > 0:
            self._rate = float(vector_norm((made - before).float())) / moved
        return made, True

    def _computed(self, x: Tensor, compute: Callable[[], Tensor]) -> Tensor:
        self._rate, self.error = math.inf, 0.0  # until there are two answers in turn
        self._x, self._v = x, compute()
        self._apart = self._v - x
        return self._v


@dataclass(frozen=True)
class EasyCache:
    """The network's answers are told so. threshold: the sum of relative changes up to which none is computed; start and end:
    the part of the way from noise to picture where it is done.
    """

    threshold: float
    start: float = 0.15
    end: float = 0.95
    verbose: bool = False

    def begin(self, ground: Ground) -> Begun:
        """See Steering."""
        window = _Window(self, ground)

        def steer(call: Call, reading: Reading) -> Reading:
            window.enter(call.sigma)
            return reading

        def around(inside: Inside, x: Tensor, t: Tensor, reading: Reading) -> Tensor:
            return window.answer(x, lambda: inside(x, t, reading))

        return Begun(steer, around=around)


@dataclass(frozen=True)
class LazyCache(EasyCache):
    """The guided noise of a whole step is told so, whatever it is made of."""

    def begin(self, ground: Ground) -> Begun:
        """See Steering."""
        window = _Window(self, ground)

        def predict(estimating: Estimating, denoise: Denoise, x: Tensor, sigma: Tensor) -> Tensor:
            window.enter(float(sigma))
            level, clean = sigma.to(x), list[Tensor]()

            def noise() -> Tensor:
                clean.append(denoise(x, sigma))
                return (x - clean[0]) / level

            told = window.answer(x / (1 + level**2).sqrt(), noise)
            return clean[0] if clean else x - level * told

        return Begun(predict=predict)


class _Window:
    """The steps of one sampling where answers may be told."""

    def __init__(self, what: EasyCache, ground: Ground) -> None:
        self._what = what
        self._top, self._bottom = ground.levels.at(what.start), ground.levels.at(what.end)
        self._turns = Turns()
        self._streams: dict[int, Estimates] = defaultdict(lambda: Estimates(what.threshold))
        self._sigma = math.nan
        self._which = 0

    def enter(self, sigma: float) -> None:
        self._sigma = sigma
        _, self._which = self._turns.next(sigma)

    def answer(self, x: Tensor, compute: Callable[[], Tensor]) -> Tensor:
        if not self._top >= self._sigma >= self._bottom:
            return compute()
        stream = self._streams[self._which]
        made, is_computed = stream.answer(x, compute)
        if self._what.verbose:
            done = "computed" if is_computed else f"told, {stream.error:.4f} off"
            _logger.info("%s: level %.4f %s", type(self._what).__name__, self._sigma, done)
        return made
