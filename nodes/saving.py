"""Nodes that save networks as files which other programs load."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from torch import nn

from graph.errors import InputError
from graph.result import Outputs
from graph.sockets import Choice, Int, Text, Toggle
from graph.spec import Tip, node
from models.checkpoint import CheckpointError
from models.embeddings import KEYS
from models.saving import Entry, difference_as_lora, single_network, whole_checkpoint, write_safetensors
from models.types import Clip, Model, ModelHandle, TinyVae, Vae
from nodes.image import EMBEDDED
from nodes.labels import workflow_texts
from nodes.output_files import expand, write_numbered
from nodes.services import Context

PREFIX = Text(tooltip="How the name begins, in the output directory. May hold folders.")


@node("CheckpointSave", category="advanced/model_merging", title="Save Checkpoint", terminal=True, hidden=EMBEDDED)
def checkpoint_save(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net, with all that was changed of it.")],
    clip: Annotated[Clip, Tip("The text encoder, with all that was changed of it.")],
    vae: Annotated[Vae, Tip("The autoencoder.")],
    filename_prefix: Annotated[str, PREFIX] = "checkpoints/ComfyUI",
) -> Outputs:
    """Save three networks as one checkpoint in the output directory, as Stable Diffusion was published."""
    _refuse_tiny(vae)
    try:
        entries = whole_checkpoint(model, clip, vae)
    except CheckpointError as error:
        raise InputError("model", str(error)) from error
    for blamed, handles in (("model", [model]), ("clip", clip.towers), ("vae", [vae])):
        _tell_of_precision(ctx, handles, blamed)
    if "clip_vision" in model.weights.parts():
        ctx.warn(
            f"the vision tower of {model.weights.path.name} is not in what is saved; CLIPVisionLoader takes it from that "
            "file, by a link in models/clip_vision",
            "model",
        )
    return _saved(ctx, entries, filename_prefix)


@node("ModelSave", category="advanced/model_merging", terminal=True, hidden=EMBEDDED)
def model_save(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net, with all that was changed of it.")],
    filename_prefix: Annotated[str, PREFIX] = "diffusion_models/ComfyUI",
) -> Outputs:
    """Save a U-Net alone, for Load Diffusion Model."""
    return _saved(ctx, _alone(ctx, model, "model"), filename_prefix)


@node("CLIPSave", category="advanced/model_merging", terminal=True, hidden=EMBEDDED)
def clip_save(
    ctx: Context,
    *,
    clip: Annotated[Clip, Tip("The text encoder, with all that was changed of it.")],
    filename_prefix: Annotated[str, PREFIX] = "clip/ComfyUI",
) -> Outputs:
    """Save a text encoder alone, for Load CLIP; of SDXL's two towers each as a file of its own, for DualCLIPLoader."""
    for tower in clip.towers:
        which = f"_{KEYS[tower.tower]}" if len(clip.towers) > 1 else ""
        _saved(ctx, _alone(ctx, tower, "clip"), filename_prefix + which)
    return Outputs()


@node("VAESave", category="advanced/model_merging", terminal=True, hidden=EMBEDDED)
def vae_save(
    ctx: Context,
    *,
    vae: Annotated[Vae, Tip("The autoencoder.")],
    filename_prefix: Annotated[str, PREFIX] = "vae/ComfyUI_vae",
) -> Outputs:
    """Save an autoencoder alone, for Load VAE."""
    _refuse_tiny(vae)
    return _saved(ctx, _alone(ctx, vae, "vae"), filename_prefix)


def _refuse_tiny(vae: Vae) -> None:
    if isinstance(vae, TinyVae):
        raise InputError(
            "vae", f"{vae.weights.path.name} is a half of TAESD, which other programs load from its own files"
        )


@node(
    "LoraSave",
    category="_for_testing",
    title="Extract and Save Lora",
    terminal=True,
    hidden=EMBEDDED,
    experimental=True,
)
def lora_save(
    ctx: Context,
    *,
    filename_prefix: Annotated[str, PREFIX] = "loras/ComfyUI_extracted_lora",
    rank: Annotated[
        int, Int(1, 4096, step=1, tooltip="Of the factors: larger ones keep more, and make larger files.")
    ] = 8,
    lora_type: Annotated[
        str, Choice(("standard", "full_diff"), typed=True, tooltip="Two factors a layer, or the whole difference.")
    ],
    bias_diff: Annotated[bool, Toggle(tooltip="Whether to keep the differences of biases too.")] = True,
    model_diff: Annotated[
        Model | None, Tip("A U-Net that is the difference of two, as ModelMergeSubtract makes it.")
    ] = None,
    text_encoder_diff: Annotated[
        Clip | None, Tip("A text encoder that is the difference of two, as CLIPMergeSubtract makes it.")
    ] = None,
) -> Outputs:
    """Save the difference of two models as a LoRA."""
    towers = text_encoder_diff.towers if text_encoder_diff else ()
    given: list[tuple[str, str, ModelHandle[nn.Module]]] = []
    if model_diff:
        given.append(("model_diff", "lora_unet_", model_diff))
    for i, tower in enumerate(towers):
        given.append(("text_encoder_diff", "lora_te_" if len(towers) == 1 else f"lora_te{i + 1}_", tower))
    entries: dict[str, Entry] = {}
    for name, prefix, handle in given:
        try:
            entries |= difference_as_lora(
                handle, prefix, None if lora_type == "full_diff" else rank, bias_diff, ctx.check
            )
        except CheckpointError as error:
            raise InputError(name, str(error)) from error
    if not entries:
        raise InputError("model_diff", "there is no difference to save: connect one that ModelMergeSubtract made")
    return _saved(ctx, entries, filename_prefix)


def _alone(ctx: Context, handle: ModelHandle[nn.Module], blamed: str) -> dict[str, Entry]:
    _tell_of_precision(ctx, [handle], blamed)
    try:
        return single_network(handle)
    except CheckpointError as error:
        raise InputError(blamed, str(error)) from error


def _tell_of_precision(ctx: Context, handles: Iterable[ModelHandle[nn.Module]], blamed: str) -> None:
    """Warn of quantised weights, which are saved as what they are expanded to."""
    for handle in handles:
        names = handle.weights.names(handle.part).values()
        if any(handle.weights.tensors[name].block for name in names):
            ctx.warn(f"the weights of {handle.weights.path.name} are quantised; they are saved as float16", blamed)


def _saved(ctx: Context, entries: Mapping[str, Entry], prefix: str) -> Outputs:
    """Write the file, with the workflow that made it; weights are made as they are written."""
    texts = dict(workflow_texts(ctx)) if ctx.services.labels.asked(ctx.run.extra).workflow else {}
    place = expand(prefix, ctx.services.folders.output_dir, {})
    try:
        write_numbered(place, ".safetensors", lambda path: write_safetensors(path, entries, texts, ctx.progress))
    except CheckpointError as error:
        raise InputError("filename_prefix", f"could not be saved: {error}") from error
    return Outputs()
