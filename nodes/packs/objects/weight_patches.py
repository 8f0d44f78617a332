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
from models.exact_weights import exact_weights
from models.types import Model

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
        """The files of the models whose weights are among them."""
        found = (it for change in self.made.values() if isinstance(change, tuple) for it in change)
        return tuple(dict.fromkeys(file for it in found if isinstance(it, ModelWeight) for file in it.of.files))

    def changes(self, shapes: Shapes, part: Part) -> Mapping[str, Change]:
        """The changes, for the weights that there are."""
        return {
            name: partial(self._changed, change=change, shape=shapes[name])
            for name, change in self.made.items()
            if name in shapes
        }

    def _changed(self, weight: Tensor, change: Any, shape: Sequence[int]) -> Tensor:
        return weight * self.of_model + difference(change, shape).to(weight) * self.strength


@dataclass(frozen=True)
class ModelWeight:
    """A weight of a model, which is read when a patch of it is made."""

    of: Model
    own: str

    def read(self) -> Tensor:
        """It, float32 on the CPU. Raises CheckpointError."""
        return exact_weights(self.of)(self.own)


def weights_of(model: Model, prefix: str) -> dict[str, ModelWeight]:
    """The weights of a model by the names that packs have for them, those that begin so."""
    names = {f"{NETWORK}{own}": own for own in model.weights.shapes("model")}
    return {name: ModelWeight(model, own) for name, own in names.items() if name.startswith(prefix)}


def check(change: Any) -> None:
    """Raise ValueError for a patch of a kind that is not known here."""
    match change:
        case ("diff", (Tensor(), *_)) | (Tensor(),) | ("diff", Tensor()) | (ModelWeight(),) | [(ModelWeight(),)]:
            return
        case ("lora", (Tensor(), Tensor(), _, *rest)) if not any(it is not None for it in rest):
            return
    kind = change[0] if isinstance(change, tuple) and isinstance(change[0], str) else type(change).__name__
    raise ValueError(f"a patch of kind {kind!r} is not known here; `diff`, weights of models and plain `lora` are")


def difference(change: Any, shape: Iterable[int]) -> Tensor:
    """What a patch adds to a weight of this shape, float32. Raises ValueError for a kind that is not known here."""
    check(change)
    match change:
        case (ModelWeight() as weight,) | [(ModelWeight() as weight,)]:
            made = weight.read()
        case ("lora", (up, down, alpha, *_)):
            scale = 1.0 if alpha is None else float(alpha) / down.shape[0]
            made = scale * up.float().flatten(1) @ down.float().flatten(1)
        case ("diff", (whole, *_)) | (whole,) | ("diff", whole):
            made = whole.float()
    return made.reshape(tuple(shape)).cpu()


def weight_name(key: Any) -> str:
    """The network's name of a weight, from that by which packs know it."""
    name = key[0] if isinstance(key, tuple) else key
    return str(name).removeprefix("model.").removeprefix(NETWORK)
