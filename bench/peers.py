"""Our networks beside what people choose instead on a CPU: `python -m bench.peers [SIZE [ROUNDS]]`.

Each program computes the same step and decodes the same latent, of pictures of SIZE x SIZE, with the same weights, in a
process of its own that holds them, in turns. `pip install -r requirements-bench.txt` brings the programs; one that is not
there is said to be absent.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from tests.random_checkpoint import random_checkpoint

SIZE, ROUNDS = 512, 3
QUIET = 0.3
"""The most load of other programs at which figures are called quiet."""


class Rival(NamedTuple):
    """A program, and the format it computes in."""

    program: str
    format: str


GROUPS: Sequence[Sequence[Rival]] = (  # those of a group are in memory together
    [Rival(name, "fp32") for name in ("diffusers", "darkroom", "openvino", "onnxruntime")],
    [Rival("diffusers", "fp32"), Rival("compiled", "fp32")],
    [Rival("diffusers", "fp32"), *(Rival(name, "bf16") for name in ("diffusers", "compiled", "darkroom", "openvino"))],
    [
        Rival("diffusers", "fp32"),
        *(Rival("darkroom", kept) for kept in ("fp32", "fp16", "int8")),
        Rival("openvino", "int8"),
    ],
)


@dataclass
class Taken:
    """What one rival took: seconds of each call, and the last results."""

    steps: list[float] = field(default_factory=list)
    decodes: list[float] = field(default_factory=list)
    peak: int = 0


class Process:
    """A rival at work. Raises RuntimeError with the last line of what it said if it could not begin or go on."""

    def __init__(self, rival: Rival, checkpoint: Path, size: int, folder: Path) -> None:
        command = [sys.executable, "-m", "bench.rivals", *rival, str(checkpoint), str(size)]
        self._errors = (folder / f"{rival.program}-{rival.format}.txt").open("w+")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        while self._line() != "ready\n":
            pass

    def ask(self, line: str = "") -> float:
        """What it answers."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            raise RuntimeError((self._errors.read().strip().splitlines() or ["it ended"])[-1])
        return line


def main() -> None:
    """Print the tables."""
    size, rounds = (int(given) for given in (*sys.argv[1:3], *(str(n) for n in (SIZE, ROUNDS)[len(sys.argv) - 1 :])))
    checkpoint = random_checkpoint()
    print(f"{size}x{size}, {rounds} rounds; {quietness()} before")
    for group in GROUPS:
        print(
            "\n| | U-Net step (cond and uncond) | ÷ diffusers fp32 | decode | ÷ | peak, both | error of the step | of the picture |"
            "\n|---|---|---|---|---|---|---|---|"
        )
        for line in _lines(group, checkpoint, size, rounds):
            print(line, flush=True)
    print("\n| a picture drawn whole | a step | decode | peak |\n|---|---|---|---|")
    for form in ("Q8_0", "F16"):
        print(_whole(form, checkpoint, size), flush=True)
    print(f"\n{quietness()} after")


def quietness() -> str:
    """What other programs do on this machine now, in words."""
    busy = psutil.cpu_percent(1.0) / 100 * (os.cpu_count() or 1)
    return f"{'quiet' if busy <= QUIET else 'NOT QUIET'}: other programs use {busy:.1f} cores"


def _lines(group: Sequence[Rival], checkpoint: Path, size: int, rounds: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        running: dict[Rival, Process] = {}
        for rival in group:
            try:
                running[rival] = stack.enter_context(_running(rival, checkpoint, size, folder))
            except RuntimeError as error:
                yield f"| {rival.program} {rival.format} | absent: {error} | | | | | | |"
        taken = {rival: Taken() for rival in running}
        for _ in range(rounds):
            for rival, process in running.items():
                step = process.ask(f"step {_file(folder, rival, 'step')}")
                decode = process.ask(f"decode {_file(folder, rival, 'decode')}")
                taken[rival].steps.append(step)
                taken[rival].decodes.append(decode)
                taken[rival].peak = int(process.ask())
        first = taken[group[0]]
        for rival, it in taken.items():
            errors = [_error(folder, rival, group[0], what) for what in ("step", "decode")]
            yield (
                f"| {rival.program} {rival.format} | {statistics.median(it.steps):.2f} s | {_ratio(it.steps, first.steps):.2f} | "
                f"{statistics.median(it.decodes):.2f} s | {_ratio(it.decodes, first.decodes):.2f} | {it.peak / 2**30:.1f} GiB | "
                f"{errors[0]:.1e} | {errors[1]:.1e} |"
            )


def _whole(form: str, checkpoint: Path, size: int) -> str:
    """The line of stable-diffusion.cpp, which only draws whole pictures."""
    command = [sys.executable, "-m", "bench.cpp", str(checkpoint), str(size), form]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode != 0:
        return (
            f"| stable-diffusion.cpp {form} | absent: {(ended.stderr.strip().splitlines() or ['it ended'])[-1]} | | |"
        )
    step, decode, peak = map(float, ended.stdout.splitlines()[-1].split())
    return f"| stable-diffusion.cpp {form} | {step:.2f} s | {decode:.2f} s | {peak / 2**30:.1f} GiB |"


@contextmanager
def _running(rival: Rival, checkpoint: Path, size: int, folder: Path) -> Iterator[Process]:
    process = Process(rival, checkpoint, size, folder)
    try:
        yield process
    finally:
        process.close()


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def _file(folder: Path, rival: Rival, what: str) -> Path:
    return folder / f"{rival.program}-{rival.format}-{what}.npy"


def _error(folder: Path, rival: Rival, judge: Rival, what: str) -> float:
    """||a - b|| / ||b||."""
    a, b = (np.load(_file(folder, one, what)) for one in (rival, judge))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


if __name__ == "__main__":
    main()
