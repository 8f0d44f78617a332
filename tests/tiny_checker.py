"""Safety checkers of random weights, so narrow that they are made in a moment."""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from models.config import SafetyConfig
from models.safety import SafetyChecker
from models.vision import clip_input

TINY = SafetyConfig(width=64, layers=1, intermediate=128, patch=8, grid=4, projection=16, concepts=2, special_care=1)


def tiny_checker(config: SafetyConfig = TINY, seed: int = 0) -> SafetyChecker:
    """A checker whose answers depend on the picture, and mean nothing."""
    with torch.device("meta"):
        checker = SafetyChecker(config)
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, tensor in checker.state_dict().items():
        x = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim > 1:
            x *= 1 / math.sqrt(tensor.shape[1:].numel())
        elif "norm" in name and name.endswith("weight"):
            x = 1 + 0.1 * x
        else:
            x *= 0.1
        state[name] = x
    checker.load_state_dict(state, assign=True)
    return checker.eval().requires_grad_(False)


def write_tiny_checker(path: Path, bad: Tensor, good: Tensor) -> Path:
    """A file of a checker that flags the picture `bad`, [H, W, 3], and not `good`."""
    checker = tiny_checker()
    inputs = torch.stack([clip_input(picture, TINY.image_size) for picture in (bad, good)])
    at_bad, at_good = F.normalize(checker(inputs))
    state = checker.state_dict() | {
        "concept_embeds": torch.stack([at_bad - at_good, torch.ones(TINY.projection)]),
        "concept_embeds_weights": torch.tensor([0.0, 2.0]),  # half way between the two; never
        "special_care_embeds_weights": torch.tensor([2.0]),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path, metadata={"format": "pt"})
    return path
