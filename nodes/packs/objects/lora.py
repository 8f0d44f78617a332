"""LoRA files as packs read and apply them in steps: `comfy.lora.load_lora`, then `add_patches`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from graph.files import FileRef
from models.types import Clip, Model
from nodes.lora import opened_adapter
from nodes.services import Context


class FileTensors(dict[str, Tensor]):
    """The tensors of a weight file by their names, and which file it is."""

    def __init__(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        super().__init__(tensors)
        self.path = path


class LoadedLora(dict[str, str]):
    """A LoRA file that was read: what it changes by its own names, and which file it is."""

    def __init__(self, path: Path, changed: Mapping[str, str]) -> None:
        super().__init__(changed)
        self.file = FileRef("loras", path.name, path)


def on_model(ctx: Context, lora: LoadedLora, model: Model, strength: float) -> Model:
    """The U-Net with the changes. Raises InputError if the file changes nothing of it."""
    return opened_adapter(ctx, lora.file, (model,)).on(model, strength) if strength else model


def on_clip(ctx: Context, lora: LoadedLora, clip: Clip, strength: float) -> Clip:
    """The text encoder with the changes. Raises InputError if the file changes nothing of it."""
    if not strength:
        return clip
    adapter = opened_adapter(ctx, lora.file, clip.towers)
    return clip.changed(lambda tower: adapter.on(tower, strength))
