"""Recorded results of ComfyUI, as tests read them; tests/data/golden/README.md says what they are."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


@cache
def recorded(name: str) -> dict[str, Tensor]:
    """The arrays of one recorded case, without those of words."""
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files if arrays[key].dtype.kind != "U"}
