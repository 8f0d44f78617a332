"""Nodes that change a checkpoint's weights by LoRA files."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, NamedTuple, TypeVar

from torch import nn

from graph.errors import InputError
from graph.files import FileRef
from graph.sockets import File, Float
from graph.spec import Tip, node
from models.lora import Lora, changed_weights
from models.types import Clip, Model, ModelHandle
from models.weights import CheckpointError, TensorFile, read_table
from nodes.services import Context

Handle = TypeVar("Handle", bound=ModelHandle[nn.Module])


class Styled(NamedTuple):
    """The two networks that LoRA files change."""

    model: Annotated[Model, Tip("The U-Net with the changes.")]
    clip: Annotated[Clip, Tip("The text encoder with the changes.")]


@node("LoraLoader", category="loaders", title="Load LoRA", lane="io")
def lora_loader(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net to change.")],
    clip: Annotated[Clip, Tip("The text encoder to change.")],
    lora_name: Annotated[FileRef, File("loras", tooltip="A file of models/loras.")],
    strength_model: Annotated[
        float, Float(-100, 100, step=0.01, tooltip="How much of the change the U-Net gets; negative turns it round.")
    ] = 1.0,
    strength_clip: Annotated[
        float, Float(-100, 100, step=0.01, tooltip="How much of the change the text encoder gets.")
    ] = 1.0,
) -> Styled:
    """Add a style, person or thing that was trained apart to a checkpoint; several can follow each other."""
    if not strength_model and not strength_clip:
        return Styled(model, clip)
    file = _table(lora_name)
    if not _weights(file, model) | _weights(file, clip):
        raise InputError("lora_name", _nothing(file))
    identity = ctx.services.folders.identity(lora_name.path)
    return Styled(_patched(model, file, identity, strength_model), _patched(clip, file, identity, strength_clip))


@node("LoraLoaderModelOnly", category="loaders", title="LoraLoaderModelOnly", lane="io")
def lora_loader_model_only(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net to change.")],
    lora_name: Annotated[FileRef, File("loras", tooltip="A file of models/loras.")],
    strength_model: Annotated[
        float, Float(-100, 100, step=0.01, tooltip="How much of the change it gets; negative turns it round.")
    ] = 1.0,
) -> Annotated[Model, Tip("The U-Net with the changes.")]:
    """Add what was trained apart to a U-Net, and leave the text encoder as it is."""
    if not strength_model:
        return model
    file = _table(lora_name)
    if not _weights(file, model):
        raise InputError("lora_name", _nothing(file))
    return _patched(model, file, ctx.services.folders.identity(lora_name.path), strength_model)


def _table(lora: FileRef) -> TensorFile:
    try:
        return read_table(lora.path)
    except CheckpointError as error:
        raise InputError("lora_name", str(error)) from error


def _weights(file: TensorFile, handle: ModelHandle[nn.Module]) -> frozenset[str]:
    try:
        return changed_weights(file, handle.weights.shapes(handle.part))
    except CheckpointError as error:
        raise InputError("lora_name", str(error)) from error


def _patched(handle: Handle, file: TensorFile, identity: str, strength: float) -> Handle:
    """The same handle where nothing changes, so that its network is not loaded once more."""
    if not strength or not _weights(file, handle):
        return handle
    return replace(handle, patches=(*handle.patches, Lora(file, identity, strength)))


def _nothing(file: TensorFile) -> str:
    example = next(iter(file.tensors), "no tensors")
    return f"{file.path.name} changes nothing in this model: none of its names is known ({example}, …)"
