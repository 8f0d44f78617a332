"""Nodes that look at pictures with CLIP, and make words of what it sees."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor

from graph.errors import InputError
from graph.files import FileRef
from graph.sockets import Choice, File, Float
from graph.spec import Tip, node
from models.types import ClipVision, ClipVisionOutput, Conditioning, Image, StyleModel
from models.vision import Seen, vision_input
from nodes.services import Context
from nodes.weights import header, opened


@node("CLIPVisionLoader", category="loaders", title="Load CLIP Vision", lane="io")
def clip_vision_loader(
    ctx: Context,
    *,
    clip_name: Annotated[
        FileRef,
        File("clip_vision", tooltip="A file of models/clip_vision, in the layout of transformers or of OpenCLIP."),
    ],
) -> Annotated[ClipVision, Tip("The vision tower of a CLIP.")]:
    """Open the network by which CLIP sees pictures, alone or beside its text tower."""
    weights = header(clip_name, "clip_name")
    if "clip_vision" in weights.parts():
        return ClipVision(*opened(ctx, clip_name, "clip_name", "clip_vision", "holds no vision tower"))
    if "clip_model" not in weights.parts():
        raise InputError("clip_name", f"{clip_name.name} holds no vision tower of a CLIP with its projection")
    identity = ctx.services.folders.identity(clip_name.path)
    return ClipVision(weights.seen_as("clip_vision", "clip_model"), identity)


@node("CLIPVisionEncode", category="conditioning", title="CLIP Vision Encode")
def clip_vision_encode(
    ctx: Context,
    *,
    clip_vision: Annotated[ClipVision, Tip("The vision tower of a CLIP.")],
    image: Annotated[Image, Tip("The pictures.")],
    crop: Annotated[
        str,
        Choice(("center", "none"), tooltip="center: the middle is looked at; none: all of it, squeezed to a square."),
    ],
) -> Annotated[ClipVisionOutput, Tip("What it sees in them.")]:
    """Have CLIP look at pictures."""
    return looked_at(ctx, clip_vision, image.pixels, crop == "center", "clip_vision")


def looked_at(ctx: Context, clip_vision: ClipVision, pixels: Tensor, crop: bool, blamed: str) -> ClipVisionOutput:
    """What a vision tower says of pictures [B, H, W, C]; blamed: the input that brought it."""
    with ctx.services.use(clip_vision, blamed) as tower:
        weight = next(tower.parameters())
        seen = tower(vision_input(pixels, tower.config.image_size, crop).to(weight), ctx.check)
    return ClipVisionOutput(Seen(*(part.float().cpu() for part in seen)), clip_vision.weights.path.name)


@node("StyleModelLoader", category="loaders", title="Load Style Model", lane="io")
def style_model_loader(
    ctx: Context,
    *,
    style_model_name: Annotated[
        FileRef, File("style_models", tooltip="A file of models/style_models: T2I-Adapter's style model.")
    ],
) -> Annotated[StyleModel, Tip("What makes words of what CLIP sees.")]:
    """Open a network that makes words of what CLIP sees in a picture."""
    return StyleModel(*opened(ctx, style_model_name, "style_model_name", "style_adapter", "holds no style model"))


@node("StyleModelApply", category="conditioning/style_model", title="Apply Style Model")
def style_model_apply(
    ctx: Context,
    *,
    conditioning: Annotated[Conditioning, Tip("The prompt.")],
    style_model: Annotated[StyleModel, Tip("What makes words of what CLIP sees.")],
    clip_vision_output: Annotated[ClipVisionOutput, Tip("What CLIP's ViT-L sees in a picture of that style.")],
    strength: Annotated[float, Float(0.0, 10.0, step=0.001, tooltip="What the words are multiplied by.")] = 1.0,
    strength_type: Annotated[
        str,
        Choice(
            ("multiply", "attn_bias"),
            tooltip="attn_bias is for models of other families: here at a strength of 1 alone.",
        ),
    ],
) -> Annotated[Conditioning, Tip("The prompt, with the style at its end.")]:
    """Append the style of a picture to a prompt, as words that no text has."""
    if strength_type == "attn_bias" and strength != 1:
        raise InputError(
            "strength_type", "attn_bias serves models of other families; take multiply, or a strength of 1"
        )
    seen = clip_vision_output.seen.last
    with ctx.services.use(style_model, "style_model") as network:
        if seen.shape[-1] != network.config.width:
            raise InputError(
                "clip_vision_output",
                f"{clip_vision_output.tower} sees vectors of width {seen.shape[-1]}, but "
                f"{style_model.weights.path.name} reads those of width {network.config.width}",
            )
        words = network(seen.to(network.proj)).flatten(0, 1)[None].float().cpu() * strength
    for cond in conditioning.conds:
        if cond.tokens.shape[-1] != words.shape[-1]:
            raise InputError(
                "conditioning",
                f"text vectors of width {cond.tokens.shape[-1]}, but {style_model.weights.path.name} makes words of width "
                f"{words.shape[-1]}",
            )
    return Conditioning(
        tuple(replace(cond, tokens=torch.cat([cond.tokens, words], dim=1)) for cond in conditioning.conds)
    )
