"""Whether what builds on the U-Net does what it is for: in a hundred cases each, that nothing was trained or chosen by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import cast

import numpy as np
import torch

from models.checkpoint import load_part, read_header
from models.training.enlarge import gains
from models.training.files import ADDITIONS
from models.training.loop import DEVICE, undivided
from models.upscaler import CompactNet

CASES = 104
HELD_OUT = 2027  # the seed of scenes that nothing was chosen by
SIZE = 256  # pixels a side of what is enlarged


@dataclass(frozen=True)
class Measured:
    """Which cases were right. told: what was counted."""

    told: str
    right: list[bool]


def measure(what: str, box: Path) -> str:
    """What was found, in words. Raises OSError and CheckpointError on files of the box."""
    with undivided():
        found = MEASURES[what](box)
    return f"{what}: {sum(found.right)} of {len(found.right)} right ({found.told})"


def enlarged(box: Path) -> Measured:
    """Held-out scenes that the upscaler makes twice as large, nearer to them as they are drawn at that size than Lanczos is."""
    weights = read_header(box / ADDITIONS["upscaler"])
    network = cast(CompactNet, load_part(weights, "upscaler", dtype=torch.float32, device=DEVICE))
    found = gains(network, HELD_OUT, CASES, SIZE)
    ours, theirs = np.mean(found, 0)
    return Measured(f"{ours:.1f} dB, Lanczos {theirs:.1f} dB", [mine > other for mine, other in found])


MEASURES: Mapping[str, Callable[[Path], Measured]] = MappingProxyType({"upscaler": enlarged})
