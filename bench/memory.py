"""Peak memory of a text-to-image run, each side in a process of its own; by default at 512x512 in fp32.

`python -m bench.memory` prints a table of what flags save, beside diffusers, with the seconds of the whole run.
`python -m bench.memory ours|theirs CHECKPOINT [SIDE [FLAG ...]]` prints one run's peak in bytes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from bench import fresh
from bench.pairs import Row

SIDE = 512
STEPS = 2  # more steps hold no more
LEAN: Sequence[tuple[int, Sequence[str]]] = (
    *((512, flags) for flags in ((), ("--ram-budget", "4G"), ("--ram-budget", "2G"), ("--fp16-unet",))),
    *((512, flags) for flags in (("--precision", "auto"), ("--int8",))),
    *((128, flags) for flags in ((), ("--precision", "auto"), ("--int8",))),
)
"""Sides of the picture in pixels, and flags."""


def table(checkpoint: Path) -> list[Row]:
    """One line."""
    ours, theirs = (fresh.figures("bench.memory", side, checkpoint)[0] for side in ("ours", "theirs"))
    name = "peak memory of a text-to-image run, 512x512"
    return [Row(name, f"{ours / 2**30:.2f} GiB", f"{theirs / 2**30:.2f} GiB", ours / theirs)]


def lean() -> None:
    """Print the table."""
    from tests.random_checkpoint import random_checkpoint

    checkpoint = random_checkpoint()
    print("| picture | flags | peak | ÷ diffusers fp32 | seconds | ÷ |\n|---|---|---|---|---|---|", flush=True)
    theirs: dict[int, tuple[float, float]] = {}
    for side, flags in LEAN:
        if side not in theirs:
            theirs[side] = _measured("theirs", checkpoint, str(side))
            print(f"| {side} | diffusers | {theirs[side][0] / 2**30:.2f} GiB | | {theirs[side][1]:.1f} | |", flush=True)
        peak, took = _measured("ours", checkpoint, str(side), *flags)
        ratios = f"{peak / theirs[side][0]:.2f}", f"{took / theirs[side][1]:.2f}"
        words = " ".join(flags) or "none"
        print(f"| {side} | {words} | {peak / 2**30:.2f} GiB | {ratios[0]} | {took:.1f} | {ratios[1]} |", flush=True)


def _measured(who: str, checkpoint: Path, *rest: str) -> tuple[float, float]:
    """Peak bytes and seconds of one run."""
    start = time.perf_counter()
    (peak,) = fresh.figures("bench.memory", who, checkpoint, *rest)
    return peak, time.perf_counter() - start


def run_ours(checkpoint: Path, side: int = SIDE, *flags: str) -> None:
    """The workflow through the engine, as `main.py run` runs it."""
    import main

    with tempfile.TemporaryDirectory() as base:
        Path(base, "models/checkpoints").mkdir(parents=True)
        Path(base, "models/checkpoints", checkpoint.name).symlink_to(checkpoint.resolve())
        changes = [f"4.ckpt_name={checkpoint.name}", f"5.width={side}", f"5.height={side}", f"3.steps={STEPS}"]
        options = [option for change in changes for option in ("--set", change)]
        status = main.main(["run", "workflows/text_to_image.json", "--base-directory", base, "--cpu", *flags, *options])
    if status != 0:
        raise RuntimeError(f"the workflow failed with status {status}")


def run_theirs(checkpoint: Path, side: int = SIDE) -> None:
    """The same work in diffusers."""
    from bench import peer

    with tempfile.TemporaryDirectory() as base:
        peer.draw(peer.diffusers_folder(checkpoint), ("a red circle", ""), side, STEPS, 4.0, Path(base, "picture.png"))


def peak_bytes() -> int:
    """The most memory this process has held. (What getrusage tells begins, on Linux, at the size of the parent.)"""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["ours", file, *rest]:
            run_ours(Path(file), int(rest[0]) if rest else SIDE, *rest[1:])
            print(peak_bytes())
        case ["theirs", file, *rest]:
            run_theirs(Path(file), int(rest[0]) if rest else SIDE)
            print(peak_bytes())
        case _:
            lean()
