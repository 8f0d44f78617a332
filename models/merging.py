"""Merging networks of one shape, weight by weight: averages, differences, arcs, and the task vectors of TIES and DARE.

A merge is a patch of the first network: the others are read from their files when it is loaded, a weight at a time.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from models.checkpoint import Change, CheckpointError, Part
from models.config import Shapes
from models.exact_weights import Read, exact_weights
from models.types import ModelHandle


class Rule(Protocol):
    """How weights become one. Frozen, hashable and picklable."""

    def __call__(self, name: str, weight: Tensor, others: Sequence[Tensor]) -> Tensor:
        """The merged weight called `name`, of the first network's and the others', all of one shape in float32."""


@dataclass(frozen=True)
class Average:
    """r W1 + (1 - r) W2; r by the beginning of the weight's name, of which the longest counts."""

    ratios: tuple[tuple[str, float], ...]

    def __call__(self, name: str, weight: Tensor, others: Sequence[Tensor]) -> Tensor:
        """See Rule."""
        ratio = max((len(start), ratio) for start, ratio in self.ratios if name.startswith(start))[1]
        return weight * ratio + others[0] * (1 - ratio)


@dataclass(frozen=True)
class Sum:
    """W1 + W2."""

    def __call__(self, name: str, weight: Tensor, others: Sequence[Tensor]) -> Tensor:
        """See Rule."""
        return weight + others[0]


@dataclass(frozen=True)
class Difference:
    """m (W1 - W2)."""

    multiplier: float

    def __call__(self, name: str, weight: Tensor, others: Sequence[Tensor]) -> Tensor:
        """See Rule."""
        return weight * self.multiplier - others[0] * self.multiplier


@dataclass(frozen=True)
class Arc:
    """From W2 to W1 along the arc between their directions (Shoemake 1985), which keeps lengths where a straight line
    would shorten them: (sin(r a) W1 + sin((1 - r) a) W2) / sin a, where a is the angle whose cosine they have."""

    ratio: float

    def __call__(self, name: str, weight: Tensor, others: Sequence[Tensor]) -> Tensor:
        """See Rule."""
        cosine = torch.nn.functional.cosine_similarity(weight.flatten(), others[0].flatten(), dim=0).clamp(-1, 1).item()
        angle = math.acos(cosine)
        if math.sin(angle) < 1e-4:
            return weight * self.ratio + others[0] * (1 - self.ratio)
        here, there = math.sin(self.ratio * angle), math.sin((1 - self.ratio) * angle)
        return (weight * here + others[0] * there) / math.sin(angle)


@dataclass(frozen=True)
class Ties:
    """TIES (Yadav et al. 2023, arXiv:2306.01708, section 4): of each task vector W - base the share `density` of largest
    numbers; for each number the sign with the larger sum; the mean of those that have it, times their weights."""

    weights: tuple[float, ...]
    density: float

    def __call__(self, name: str, weight: Tensor, others: Sequence[Tensor]) -> Tensor:
        """See Rule; `weight` is the base's."""
        tasks = torch.stack([self._trimmed(other - weight) for other in others])
        agree = tasks.sign() == torch.where(tasks.sum(0) >= 0, 1.0, -1.0)
        shares = torch.tensor(self.weights).view(-1, *[1] * weight.ndim)
        return weight + (shares * tasks * agree).sum(0) / agree.sum(0).clamp(min=1)

    def _trimmed(self, task: Tensor) -> Tensor:
        kept = int(self.density * task.numel())
        if kept == task.numel():
            return task
        mask = torch.zeros(task.numel())
        mask[task.abs().flatten().topk(kept).indices] = 1
        return task * mask.view(task.shape)


@dataclass(frozen=True)
class Dare:
    """DARE (Yu et al. 2023, arXiv:2311.03099, equations 3 and 4): of each task vector W - base a share `density` of numbers
    chosen by chance, divided by it, times their weights."""

    weights: tuple[float, ...]
    density: float
    seed: int

    def __call__(self, name: str, weight: Tensor, others: Sequence[Tensor]) -> Tensor:
        """See Rule; `weight` is the base's."""
        merged = weight.clone()
        generator = torch.Generator().manual_seed(self.seed ^ zlib.crc32(name.encode()))
        for share, other in zip(self.weights, others, strict=True):
            kept = torch.rand(weight.shape, generator=generator) < self.density
            merged += share / self.density * kept * (other - weight)
        return merged


@dataclass(frozen=True)
class Merge:
    """A patch that merges a network with others by a rule."""

    others: tuple[ModelHandle[nn.Module], ...]
    rule: Rule

    @property
    def key(self) -> Hashable:
        """Equal for merges that do the same."""
        others = tuple((other.identity, other.part, *(patch.key for patch in other.patches)) for other in self.others)
        return others, self.rule

    @property
    def sources(self) -> tuple[tuple[Path, str], ...]:
        """The files that the others are read from, each with the identity that it had."""
        own = (source for other in self.others for source in other.own_files)
        patches = (source for other in self.others for patch in other.patches for source in patch.sources)
        return (*own, *patches)

    def changes(self, shapes: Shapes, part: Part) -> Mapping[str, Change]:
        """What is done to the weights of a network with `shapes`: all that the others have too. Raises CheckpointError."""
        shared = self.check(shapes)
        reads = [exact_weights(other) for other in self.others]
        return {name: self._change(name, reads) for name in shared}

    def check(self, shapes: Shapes) -> list[str]:
        """The names of the weights that all have. Raises CheckpointError where they differ in size."""
        theirs = [other.weights.shapes(other.part) for other in self.others]
        shared = [name for name in shapes if all(name in their for their in theirs)]
        for other, their in zip(self.others, theirs, strict=True):
            for name in shared:
                if math.prod(shapes[name]) != math.prod(their[name]):
                    raise CheckpointError(
                        f"{other.weights.path.name} cannot be merged: its {name} has the shape {list(their[name])}, "
                        f"that of the other {list(shapes[name])}"
                    )
        return shared

    def _change(self, name: str, reads: Sequence[Read]) -> Change:
        return lambda weight: self.rule(name, weight, [read(name).view(weight.shape) for read in reads])
