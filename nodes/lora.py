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
    file, (to_model, to_clip) = _changed(lora_name, model, clip)
    identity = ctx.services.folders.identity(lora_name.path)
    return Styled(
        _patched(model, Lora(file, identity, strength_model)) if to_model else model,
        _patched(clip, Lora(file, identity, strength_clip)) if to_clip else clip,
    )


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
    file, _ = _changed(lora_name, model)
    return _patched(model, Lora(file, ctx.services.folders.identity(lora_name.path), strength_model))


def _changed(lora: FileRef, *handles: ModelHandle[nn.Module]) -> tuple[TensorFile, list[bool]]:
    """A LoRA file, and which of the networks it changes. Raises InputError if none, or if the file cannot be used."""
    try:
        file = read_table(lora.path)
        changed = [
            handle.part in handle.weights.parts() and bool(changed_weights(file, handle.weights.shapes(handle.part)))
            for handle in handles
        ]
    except CheckpointError as error:
        raise InputError("lora_name", str(error)) from error
    if not any(changed):
        example = next(iter(file.tensors), "no tensors")
        raise InputError(
            "lora_name", f"{lora.path.name} changes nothing in this model: none of its names is known ({example}, …)"
        )
    return file, changed


def _patched(handle: Handle, lora: Lora) -> Handle:
    """The same handle where the strength is 0, so that its network is not loaded once more."""
    return replace(handle, patches=(*handle.patches, lora)) if lora.strength else handle
