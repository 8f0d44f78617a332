"""Nodes that change a checkpoint's weights by LoRA files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple, TypeVar

from torch import nn

from graph.errors import InputError
from graph.files import FileRef, Folders
from graph.sockets import File, Float, Text
from graph.spec import ALIKE, Tip, node
from models.adapter_settings import config_stamp
from models.adapters import Adapter, AdapterFile, read_adapter
from models.checkpoint import Part
from models.types import Clip, Model, ModelHandle
from models.weights import CheckpointError
from nodes.services import Context

BLOCKS = (
    "",
    *(f"input_blocks.{i}." for i in (1, 2, 4, 5, 7, 8)),
    "middle_block.",
    *(f"output_blocks.{i}." for i in range(3, 12)),
)
"""How the names of Stable Diffusion v1's layers begin, by the block that a number of `block_weights` is for."""

Handle = TypeVar("Handle", bound=ModelHandle[nn.Module])


def config_beside(node_id: str, inputs: Mapping[str, object], folders: Folders) -> object:
    """What tells whether PEFT's configuration beside the file of `lora_name` is still the same."""
    file = inputs["lora_name"]
    return config_stamp(file.path) if isinstance(file, FileRef) else None


GivenModel = Annotated[Model, Tip("The U-Net to change.")]
GivenClip = Annotated[Clip, Tip("The text encoder to change.")]
LoraFile = Annotated[FileRef, File("loras", tooltip="A file of models/loras.")]
OfUNet = Annotated[
    float, Float(-100, 100, step=0.01, tooltip="How much of the change the U-Net gets; negative turns it round.")
]
OfText = Annotated[float, Float(-100, 100, step=0.01, tooltip="How much of the change the text encoder gets.")]
OfIt = Annotated[float, Float(-100, 100, step=0.01, tooltip="How much of the change it gets; negative turns it round.")]


class Styled(NamedTuple):
    """The two networks that LoRA files change."""

    model: Annotated[Model, Tip("The U-Net with the changes.")]
    clip: Annotated[Clip, Tip("The text encoder with the changes.")]


@node(
    "LoraLoader",
    category="loaders",
    aliases=("lora", "add lora"),
    title="Load LoRA",
    lane="io",
    freshness=config_beside,
    items=ALIKE,
)
def lora_loader(
    ctx: Context,
    *,
    model: GivenModel,
    clip: GivenClip,
    lora_name: LoraFile,
    strength_model: OfUNet = 1.0,
    strength_clip: OfText = 1.0,
) -> Styled:
    """Add a style, person or thing that was trained apart to a checkpoint; several can follow each other."""
    if not strength_model and not strength_clip:
        return Styled(model, clip)
    adapter = opened_adapter(ctx, lora_name, (model, *clip.towers))
    return Styled(adapter.on(model, strength_model), clip.changed(lambda tower: adapter.on(tower, strength_clip)))


@node(
    "LoraLoaderModelOnly",
    category="loaders",
    title="LoraLoaderModelOnly",
    lane="io",
    freshness=config_beside,
    items=ALIKE,
)
def lora_loader_model_only(
    ctx: Context,
    *,
    model: GivenModel,
    lora_name: LoraFile,
    strength_model: OfIt = 1.0,
) -> Annotated[Model, Tip("The U-Net with the changes.")]:
    """Add what was trained apart to a U-Net, and leave the text encoder as it is."""
    if not strength_model:
        return model
    return opened_adapter(ctx, lora_name, (model,)).on(model, strength_model)


@node(
    "LoraLoaderBypass",
    category="loaders",
    title="Load LoRA (Bypass) (For debugging)",
    lane="io",
    freshness=config_beside,
    experimental=True,
)
def lora_loader_bypass(
    ctx: Context,
    *,
    model: GivenModel,
    clip: GivenClip,
    lora_name: LoraFile,
    strength_model: OfUNet = 1.0,
    strength_clip: OfText = 1.0,
) -> Styled:
    """The same as Load LoRA, which never changes the weights of others here; files of other programs name it so."""
    styled: Styled = lora_loader(
        ctx, model=model, clip=clip, lora_name=lora_name, strength_model=strength_model, strength_clip=strength_clip
    )
    return styled


@node(
    "LoraLoaderBypassModelOnly",
    category="loaders",
    title="Load LoRA (Bypass, Model Only) (for debugging)",
    lane="io",
    freshness=config_beside,
    experimental=True,
)
def lora_loader_bypass_model_only(
    ctx: Context,
    *,
    model: GivenModel,
    lora_name: LoraFile,
    strength_model: OfIt = 1.0,
) -> Annotated[Model, Tip("The U-Net with the changes.")]:
    """The same as LoraLoaderModelOnly, which never changes the weights of others here."""
    changed: Model = lora_loader_model_only(ctx, model=model, lora_name=lora_name, strength_model=strength_model)
    return changed


@node(
    "LoraLoaderBlockWeights", category="loaders", title="Load LoRA (Block Weights)", lane="io", freshness=config_beside
)
def lora_loader_block_weights(
    ctx: Context,
    *,
    model: GivenModel,
    lora_name: LoraFile,
    strength_model: OfIt = 1.0,
    block_weights: Annotated[
        str,
        Text(tooltip="A number for each of: the rest, input blocks 1 2 4 5 7 8, the middle, output blocks 3 to 11."),
    ] = "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1",
) -> Annotated[Model, Tip("The U-Net with the changes.")]:
    """Add what was trained apart to a U-Net, to each of its blocks with attention by a number of its own."""
    try:
        weights = [float(number) for number in block_weights.split(",")]
    except ValueError:
        weights = []
    if len(weights) != len(BLOCKS) or not all(map(math.isfinite, weights)):
        raise InputError(
            "block_weights", f"got {block_weights[:80]!r}, expected {len(BLOCKS)} numbers with commas between"
        )
    if not strength_model:
        return model
    blocks = tuple(zip(BLOCKS, weights, strict=True))
    return opened_adapter(ctx, lora_name, (model,)).on(model, strength_model, blocks)


@dataclass(frozen=True)
class Opened:
    """An adapter file that was opened for some networks. parts: those that it changes."""

    file: AdapterFile
    identity: str
    parts: frozenset[Part]

    def on(self, handle: Handle, strength: float, blocks: tuple[tuple[str, float], ...] = ()) -> Handle:
        """The network with the changes; as it is where there are none, so that it is not loaded once more."""
        if not strength or handle.part not in self.parts:
            return handle
        return replace(handle, patches=(*handle.patches, Adapter(self.file, self.identity, strength, blocks)))


def opened_adapter(ctx: Context, lora: FileRef, handles: Sequence[ModelHandle[nn.Module]]) -> Opened:
    """Open an adapter file for some networks; what of it they cannot use is told. Raises InputError if it changes none."""
    models = " and ".join(dict.fromkeys(handle.weights.path.name for handle in handles))
    try:
        file = read_adapter(lora.path)
        used = {
            handle.part: file.used_by(handle.weights.shapes(handle.part), handle.part)
            for handle in handles
            if handle.part in handle.weights.parts()
        }
    except CheckpointError as error:
        raise InputError("lora_name", f"{error} (the model is {models})") from error
    unused = file.unused(*used.values(), model_only=len(handles) == 1)
    shown = ", ".join(unused[:3]) + (", …" if len(unused) > 3 else "")
    if not any(one.weights for one in used.values()):
        raise InputError(
            "lora_name",
            f"{lora.path.name} changes nothing in {models}: none of its names is known ({shown or 'no tensors'})",
        )
    if unused:
        told = f"{len(unused)} of the {len(file.file.tensors)} tensors of {lora.path.name} are not used: {shown}"
        ctx.warn(told, "lora_name")
    for note in file.notes():
        ctx.warn(f"{lora.path.name}: {note}", "lora_name")
    identity = ctx.services.folders.identity(lora.path)
    return Opened(file, identity, frozenset(part for part, one in used.items() if one.weights))
