"""Figures that only a fresh process can give: its peak memory, and what it costs to get going.

Both sides run one after the other in processes of their own; each prints its figures as its last line.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.pairs import Row, row


def figures(module: str, side: str, checkpoint: Path, *rest: str) -> list[float]:
    """The numbers in the last line that `python -m module side checkpoint *rest` prints."""
    return [float(word) for word in output(module, side, checkpoint, *rest).splitlines()[-1].split()]


def output(module: str, side: str, checkpoint: Path, *rest: str) -> str:
    """What `python -m module side checkpoint *rest` prints. Raises CalledProcessError."""
    command = [sys.executable, "-m", module, side, str(checkpoint), *rest]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def process_seconds(module: str, side: str, checkpoint: Path) -> float:
    """How long that process takes, from its start to its end."""
    start = time.perf_counter()
    output(module, side, checkpoint)
    return time.perf_counter() - start


def seconds(names: tuple[str, ...], measure: Callable[[str], list[float]], runs: int) -> list[Row]:
    """A row for each figure that `measure(side)` gives, the two sides in turn."""
    pairs = [(measure("ours"), measure("theirs")) for _ in range(runs)]
    return [row(name, [(ours[i], theirs[i]) for ours, theirs in pairs]) for i, name in enumerate(names)]
