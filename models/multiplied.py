"""Attention whose queries, keys, values and results are multiplied: a patch of its weights."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from models.checkpoint import Change, Part
from models.config import Shapes

UNET_LAYERS = ("to_q", "to_k", "to_v", "to_out.0")
CLIP_LAYERS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj")


@dataclass(frozen=True)
class Multiplied:
    """Weights and biases of some layers, times a factor each. layers: how their names end; within: a part of the names."""

    layers: tuple[str, ...]
    factors: tuple[float, ...]
    within: str = ""

    @property
    def key(self) -> Hashable:
        """Equal for patches that do the same."""
        return "multiplied", self.layers, self.factors, self.within

    @property
    def sources(self) -> tuple[tuple[Path, str], ...]:
        """No file."""
        return ()

    def changes(self, shapes: Shapes, part: Part) -> Mapping[str, Change]:
        """What it does to the weights of a network with `shapes`."""
        changes: dict[str, Change] = {}
        for layer, factor in zip(self.layers, self.factors, strict=True):
            pattern = re.compile(rf"\.{re.escape(layer)}\.(weight|bias)$")
            found = [name for name in shapes if self.within in name and pattern.search(name)]
            changes |= {name: partial(_times, factor=factor) for name in found if factor != 1}
        return changes


def _times(weight: Tensor, factor: float) -> Tensor:
    return weight * factor
