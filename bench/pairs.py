"""Timing two programs against each other in one run: a ratio holds where this machine's speed does not."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Row(NamedTuple):
    """One line of the table. ratio: ours / theirs, the median over pairs of neighbouring runs."""

    name: str
    ours: str
    theirs: str
    ratio: float


def seconds(name: str, ours: Callable[[], object], theirs: Callable[[], object], runs: int) -> Row:
    """Run the two in turn, ours, theirs, ours …, after one uncounted run of each."""
    ours()
    theirs()
    pairs = [(_timed(ours), _timed(theirs)) for _ in range(runs)]
    a, b = (statistics.median(times) for times in zip(*pairs, strict=True))
    return Row(name, f"{a:.3f} s", f"{b:.3f} s", statistics.median(x / y for x, y in pairs))


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
