"""Changes of weights that packs make themselves: differences and factors by the names of a network."""

from __future__ import annotations

import uuid
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from models.checkpoint import Change, Part
from models.config import Shapes

NETWORK = "diffusion_model."
"""How packs' names of a U-Net's weights begin."""


@dataclass(frozen=True, eq=False)
class WeightPatch:
    """What a pack changes of weights, by the network's names. Held in memory: no file has it."""

    made: Mapping[str, Any]
    strength: float
    of_model: float
    key: Hashable = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def sources(self) -> Sequence[tuple[Path, str]]:
        """None."""
        return ()

    def changes(self, shapes: Shapes, part: Part) -> Mapping[str, Change]:
        """The changes, for the weights that there are."""
        return {
            name: partial(self._changed, difference=difference(change, shapes[name]))
            for name, change in self.made.items()
            if name in shapes
        }

    def _changed(self, weight: Tensor, difference: Tensor) -> Tensor:
        return weight * self.of_model + difference * self.strength


def difference(change: Any, shape: Iterable[int]) -> Tensor:
    """What a patch adds to a weight of this shape, float32. Raises ValueError for a kind that is not known here."""
    match change:
        case ("diff", (Tensor() as whole, *_)) | (Tensor() as whole,) | ("diff", Tensor() as whole):
            made = whole.float()
        case ("lora", (Tensor() as up, Tensor() as down, alpha, *rest)) if not any(it is not None for it in rest):
            scale = 1.0 if alpha is None else float(alpha) / down.shape[0]
            made = scale * up.float().flatten(1) @ down.float().flatten(1)
        case _:
            kind = change[0] if isinstance(change, tuple) and isinstance(change[0], str) else type(change).__name__
            raise ValueError(f"a patch of kind {kind!r} is not known here; `diff` and plain `lora` are")
    return made.reshape(tuple(shape)).cpu()


def weight_name(key: Any) -> str:
    """The network's name of a weight, from that by which packs know it."""
    name = key[0] if isinstance(key, tuple) else key
    return str(name).removeprefix("model.").removeprefix(NETWORK)
