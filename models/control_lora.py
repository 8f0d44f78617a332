"""Control-LoRA: what makes of a U-Net's way down a control network's, by low-rank factors (Hu et al. 2021, arXiv:2106.09685)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from models.checkpoint import Change, CheckpointError, Part
from models.config import Shapes
from models.weights import TensorFile, read_tensors


@dataclass(frozen=True)
class ControlFactors:
    """A patch of a U-Net's way down: `X.up` and `X.down` add their product to `X.weight`, what is whole takes its place."""

    file: TensorFile
    identity: str

    @property
    def key(self) -> Hashable:
        """Equal for patches that do the same."""
        return "Control-LoRA", self.identity

    @property
    def sources(self) -> tuple[tuple[Path, str], ...]:
        """The file that it is read from, and its identity."""
        return ((self.file.path, self.identity),)

    def changes(self, shapes: Shapes, part: Part) -> Mapping[str, Change]:
        """What it does to the weights of a way down with `shapes`. Raises CheckpointError for what does not fit."""
        self.check(shapes)
        found = {own: names for own in shapes if (names := self._names(own))}
        wanted = [name for names in found.values() for name in names]
        tensors = dict(read_tensors(self.file, wanted, dtype=torch.float32, device=torch.device("cpu"), mapped=False))
        return {own: partial(_changed, parts=[tensors[name] for name in names]) for own, names in found.items()}

    def check(self, shapes: Shapes) -> None:
        """Raise CheckpointError unless all that the file holds fits the U-Net."""
        for own, shape in shapes.items():
            sizes = [self.file.tensors[name].shape for name in self._names(own)]
            if len(sizes) == 2:
                fits = sizes[0][0] == shape[0] and math.prod(sizes[1][1:]) == math.prod(shape[1:])
            else:
                fits = all(math.prod(size) == math.prod(shape) for size in sizes)
            if not fits:
                shown = " and ".join(f"{name} {list(self.file.tensors[name].shape)}" for name in self._names(own))
                raise CheckpointError(
                    f"{self.file.path.name}: {shown} cannot change {own}, which has the shape {list(shape)}; was it made "
                    "for another kind of model?"
                )

    def _names(self, own: str) -> tuple[str, ...]:
        """What the file has for a weight: two factors, or one whole tensor, or nothing."""
        layer = own.removesuffix("weight")
        if own.endswith("weight") and layer + "up" in self.file.tensors and layer + "down" in self.file.tensors:
            return layer + "up", layer + "down"
        return (own,) if own in self.file.tensors else ()


def _changed(weight: Tensor, parts: list[Tensor]) -> Tensor:
    if len(parts) == 1:
        return parts[0].reshape(weight.shape)
    up, down = parts
    return weight + (up.flatten(1) @ down.flatten(1)).view(weight.shape)
