"""Timing two programs against each other in one run: a ratio holds where this machine's speed does not."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
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
    return row(name, [(timed(ours), timed(theirs)) for _ in range(runs)])


def row(name: str, pairs: Sequence[tuple[float, float]]) -> Row:
    """The line for seconds of ours and theirs, measured in turn."""
    a, b = (statistics.median(times) for times in zip(*pairs, strict=True))
    return Row(name, f"{a:.3f} s", f"{b:.3f} s", statistics.median(x / y for x, y in pairs))


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
