"""Which step of a sampling a call of the network belongs to."""

from __future__ import annotations

import math


class Turns:
    """Counts the levels of one sampling, and the calls at each: those for several texts may come one after the other."""

    def __init__(self) -> None:
        self._sigma = math.nan
        self._step = -1
        self._call = 0

    def next(self, sigma: float) -> tuple[int, int]:
        """The step of a call at this level, and which of the step's calls it is, both counted from 0."""
        if sigma == self._sigma:
            self._call += 1
        else:
            self._sigma, self._call = sigma, 0
            self._step += 1
        return self._step, self._call
