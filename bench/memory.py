"""Peak memory of a text-to-image run at 512x512 in fp32, each side in a process of its own.

`python -m bench.memory ours|theirs CHECKPOINT` prints that side's peak in bytes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import psutil

from bench import fresh
from bench.pairs import Row

STEPS = 2  # more steps hold no more


def table(checkpoint: Path) -> list[Row]:
    """One line."""
    ours, theirs = (fresh.figures("bench.memory", side, checkpoint)[0] for side in ("ours", "theirs"))
    name = "peak memory of a text-to-image run, 512x512"
    return [Row(name, f"{ours / 2**30:.2f} GiB", f"{theirs / 2**30:.2f} GiB", ours / theirs)]


def run_ours(checkpoint: Path) -> None:
    """The workflow through the engine, as `main.py run` runs it."""
    import main

    with tempfile.TemporaryDirectory() as base:
        Path(base, "models/checkpoints").mkdir(parents=True)
        Path(base, "models/checkpoints", checkpoint.name).symlink_to(checkpoint.resolve())
        changes = [f"4.ckpt_name={checkpoint.name}", "5.width=512", "5.height=512", f"3.steps={STEPS}"]
        options = [option for change in changes for option in ("--set", change)]
        status = main.main(["run", "workflows/text_to_image.json", "--base-directory", base, "--cpu", *options])
    if status != 0:
        raise RuntimeError(f"the workflow failed with status {status}")


def run_theirs(checkpoint: Path) -> None:
    """The same work in diffusers."""
    from bench import peer

    with tempfile.TemporaryDirectory() as base:
        peer.draw(peer.diffusers_folder(checkpoint), ("a red circle", ""), 512, STEPS, 4.0, Path(base, "picture.png"))


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
    {"ours": run_ours, "theirs": run_theirs}[sys.argv[1]](Path(sys.argv[2]))
    print(peak_bytes())
