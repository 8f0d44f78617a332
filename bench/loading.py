"""From a checkpoint file (fp16, in the system's cache) to networks at work in fp32, each time in a fresh process.

`python -m bench.loading ours|theirs CHECKPOINT` prints the seconds until all weights are there, and until the first
U-Net step at 128x128 is done: packing our weights for oneDNN happens in that step, so it counts there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench import fresh, networks, peer
from bench.pairs import Row, timed

RUNS = 2


def table(checkpoint: Path) -> Iterator[Row]:
    """Two lines."""
    peer.diffusers_folder(checkpoint)
    names = ("load, fp16 file to fp32", "load and first U-Net step, 128x128")
    yield from fresh.seconds(names, lambda side: fresh.figures("bench.loading", side, checkpoint), RUNS)


def measure(side: str, checkpoint: Path) -> tuple[float, float]:
    """Seconds for one side; importing what it needs does not count."""
    from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: F401
    from transformers import CLIPTextModel  # noqa: F401

    folder = peer.diffusers_folder(checkpoint)
    load = partial(networks.ours_loaded, checkpoint) if side == "ours" else partial(networks.theirs_loaded, folder)
    held: list[Any] = []
    loading = timed(lambda: held.extend(load()))
    unet = networks.read(held[0]) if side == "ours" else held[0]
    with torch.inference_mode():
        return loading, loading + timed(partial(unet, *networks.step_inputs(128)))


if __name__ == "__main__":
    print(*measure(sys.argv[1], Path(sys.argv[2])))
