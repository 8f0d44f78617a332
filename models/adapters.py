"""Adapter files (LoRA and its relatives): what they change of a network's weights, and by how much.

`adapter_names.py` says which tensor is for which layer, `adapter_kinds.py` what the tensors of a layer make of its weight,
`adapter_settings.py` what their writer says besides.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from models.adapter_kinds import Kind, Said, kinds_of
from models.adapter_names import dotted, grouped, is_for_text, names_for, taken_apart
from models.adapter_settings import Settings, read_settings
from models.checkpoint import Change, Part
from models.config import Shapes
from models.weights import CheckpointError, TensorFile, read_table, read_tensors

_META, _CPU = torch.device("meta"), torch.device("cpu")


@dataclass(frozen=True)
class AdapterFile:
    """An adapter file's header. settings: by network, what its writer says beside the tensors. Picklable."""

    file: TensorFile
    settings: Mapping[str, Settings] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """What a user should know of the file, as sentences."""
        return [note for settings in self.settings.values() for note in settings.notes]

    def used_by(self, shapes: Shapes, part: Part) -> Used:
        """What the file changes of the network `part` with `shapes`. Raises CheckpointError for what does not fit its
        weight."""
        weights: set[str] = set()
        names: set[str] = set()
        for piece in self.parts(shapes, part):
            piece.check(self.file, shapes)
            weights.add(piece.target)
            names.update(piece.names.values())
        return Used(frozenset(weights), frozenset(names))

    def unused(self, *used: Used, model_only: bool = False) -> list[str]:
        """The names of tensors that nothing uses. model_only: those for text encoders are left out on purpose."""
        known = frozenset().union(*(one.names for one in used))
        return [name for name in self.file.tensors if name not in known and not (model_only and is_for_text(name))]

    def parts(self, shapes: Shapes, part: Part) -> Iterator[_Part]:
        """The changes to the network `part` with `shapes`. Raises CheckpointError for half a change."""
        network = {"model": "unet", "clip_g": "text_encoder_2"}.get(part, "text_encoder")
        settings = self.settings.get(network) or self.settings.get("") or Settings()
        for layer, names in grouped(names_for(part, self.file.tensors), shapes).items():
            for half, other in (("up", "down"), ("down", "up")):
                if half in names and other not in names:
                    raise CheckpointError(
                        f"{self.file.path.name} lacks {_other_half(names[half])}, the other half of {names[half]}"
                    )
            said = settings.of(dotted(taken_apart(next(iter(names.values())))[0]))
            for kind in kinds_of(names):
                if (target := f"{layer}.{kind.of}") in shapes:
                    needed = {field: names[field] for field in (*kind.needs, *kind.also) if field in names}
                    yield _Part(target, kind, needed, said)


@dataclass(frozen=True)
class Used:
    """What a file changes of one network. weights: by the network's names; names: of the file's tensors."""

    weights: frozenset[str]
    names: frozenset[str]


@dataclass(frozen=True)
class Adapter:
    """An adapter file, and how strongly it is applied. Picklable; its numbers are read when it is.

    identity: names the file's content, so a replaced file is another one. blocks: factors for the layers whose names
    begin so; the longest counts.
    """

    opened: AdapterFile
    identity: str
    strength: float
    blocks: tuple[tuple[str, float], ...] = ()

    @property
    def key(self) -> Hashable:
        """Equal for adapters that do the same."""
        said = tuple(sorted((part, settings.source) for part, settings in self.opened.settings.items()))
        return self.identity, said, self.strength, self.blocks

    @property
    def sources(self) -> tuple[tuple[Path, str], ...]:
        """The file that it is read from, and its identity."""
        return ((self.opened.file.path, self.identity),)

    def changes(self, shapes: Shapes, part: Part) -> dict[str, Change]:
        """What it does to the weights of the network `part` with `shapes`, by their names. Raises CheckpointError."""
        by_weight: dict[str, list[_Part]] = {}
        for piece in self.opened.parts(shapes, part):
            if self._strength(piece.target):
                by_weight.setdefault(piece.target, []).append(piece)
        names = {name for pieces in by_weight.values() for piece in pieces for name in piece.names.values()}
        tensors = dict(read_tensors(self.opened.file, names, dtype=torch.float32, device=_CPU, mapped=False))
        return {weight: _change(pieces, tensors, self._strength(weight)) for weight, pieces in by_weight.items()}

    def _strength(self, weight: str) -> float:
        found = [(len(start), factor) for start, factor in self.blocks if weight.startswith(start)]
        return self.strength * (max(found)[1] if found else 1.0)


@dataclass(frozen=True)
class _Part:
    """What one kind of adapter does to one weight. names: field -> the file's name of the tensor."""

    target: str
    kind: Kind
    names: Mapping[str, str]
    said: Said

    def makes(self, weight: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """The changed weight. tensors: by the file's names."""
        said = Said(tensors[self.names["alpha"]].item()) if "alpha" in self.names and not weight.is_meta else self.said
        return self.kind.makes(weight, {field: tensors[name] for field, name in self.names.items()}, said)

    def check(self, file: TensorFile, shapes: Shapes) -> None:
        """Raise CheckpointError unless the tensors make something of the weight's shape."""
        if (alpha := self.names.get("alpha")) and math.prod(file.tensors[alpha].shape) != 1:
            raise CheckpointError(f"{file.path.name}: {alpha} is not one number")
        shape = shapes[self.target]
        tensors = {name: torch.empty(file.tensors[name].shape, device=_META) for name in self.names.values()}
        try:
            made = self.makes(torch.empty(shape, device=_META), tensors)
            fault = "" if made.shape == shape else f"a tensor of {list(made.shape)}"
        except (ValueError, RuntimeError, IndexError) as error:
            fault = str(error) if isinstance(error, ValueError) else "nothing that fits"
        if fault:
            needed = " and ".join(self.names[field] for field in self.kind.needs)
            raise CheckpointError(
                f"{file.path.name}: {needed} make {fault}, but the weight {self.target} has the shape {list(shape)}; "
                "was it made for another kind of model?"
            )


def read_adapter(path: Path) -> AdapterFile:
    """Read an adapter file's header, and the configuration beside it. Raises CheckpointError."""
    file = read_table(path)
    return AdapterFile(file, read_settings(file))


def _change(parts: list[_Part], tensors: Mapping[str, Tensor], strength: float) -> Change:
    """A weight -> weight + strength * what the parts together do to it."""

    def change(weight: Tensor) -> Tensor:
        changed = weight
        for part in parts:
            changed = part.makes(changed, tensors)
        return changed if strength == 1 else weight + strength * (changed - weight)

    return change


def _other_half(name: str) -> str:
    """The name of the other factor of a LoRA."""
    pairs = (("lora_up", "lora_down"), ("lora_B", "lora_A"), (".up.", ".down."))
    for one, other in (*pairs, *((other, one) for one, other in pairs)):
        if one in name:
            return name.replace(one, other)
    return f"the other factor of {name}"
