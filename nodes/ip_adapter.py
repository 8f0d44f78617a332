"""Nodes that take a picture as a prompt: IP-Adapter, with the names that its users' workflows have."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor

from graph.errors import InputError
from graph.files import FileRef
from graph.sockets import Choice, File, Float
from graph.spec import Tip, node
from models.config import unet_config
from models.image_prompt import ImagePrompt, text_sites
from models.types import ClipVision, Image, IPAdapterModel, Mask, Model
from models.vision import vision_input
from nodes.services import Context
from nodes.weights import opened

START = Float(0.0, 1.0, step=0.001, tooltip="From which part of the way from noise to picture on it counts.")
END = Float(0.0, 1.0, step=0.001, tooltip="Up to which part of the way it counts.")


@node("IPAdapterModelLoader", category="ipadapter/loaders", title="IPAdapter Model Loader", lane="io")
def ip_adapter_model_loader(
    ctx: Context,
    *,
    ipadapter_file: Annotated[
        FileRef, File("ipadapter", tooltip="A file of models/ipadapter: plain, plus, plus-face or full-face.")
    ],
) -> Annotated[IPAdapterModel, Tip("What makes a prompt of a picture.")]:
    """Open an IP-Adapter. Those that ask a face recognition network (FaceID) are not supported."""
    return IPAdapterModel(*opened(ctx, ipadapter_file, "ipadapter_file", "ip_adapter", "holds no IP-Adapter"))


@node("IPAdapterAdvanced", category="ipadapter", title="IPAdapter Advanced")
def ip_adapter_advanced(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net that removes the noise.")],
    ipadapter: Annotated[IPAdapterModel, Tip("What makes a prompt of a picture.")],
    image: Annotated[Image, Tip("The picture, or several.")],
    weight: Annotated[float, Float(-1.0, 5.0, step=0.05, tooltip="How much the picture counts beside the text.")] = 1.0,
    weight_type: Annotated[str, Choice(("linear",), tooltip="linear: as much in all layers.")],
    combine_embeds: Annotated[
        str,
        Choice(("concat", "average"), tooltip="concat: all pictures count; average: what they have in common."),
    ],
    start_at: Annotated[float, START] = 0.0,
    end_at: Annotated[float, END] = 1.0,
    embeds_scaling: Annotated[
        str,
        Choice(("V only", "K+V"), tooltip="What the weight multiplies: what is seen, or also how it is looked for."),
    ],
    image_negative: Annotated[Image | None, Tip("A picture of what it should not look like.")] = None,
    attn_mask: Annotated[Mask | None, Tip("White where the picture counts; everywhere, if there is none.")] = None,
    clip_vision: Annotated[ClipVision | None, Tip("The vision tower that the adapter was trained with.")] = None,
) -> Annotated[Model, Tip("The model, which looks at the picture, too.")]:
    """Take a picture as a prompt beside the text: its subject, its style, or a face that was cut out of it."""
    if clip_vision is None:
        raise InputError("clip_vision", "is missing: an IP-Adapter asks the vision tower it was trained with; load one")
    if weight == 0:
        return model
    negative = None if image_negative is None else image_negative.pixels
    pairs = _pairs(ctx, model, ipadapter, clip_vision, image.pixels, negative, combine_embeds)
    if embeds_scaling == "K+V":
        pairs = [(torch.stack([keys[0], keys[1] * weight]), values) for keys, values in pairs]
    where = None if attn_mask is None else attn_mask.values
    prompt = ImagePrompt(tuple(pairs), weight, start_at, end_at, where)
    return replace(model, steering=(*model.steering, prompt))


def _pairs(
    ctx: Context,
    model: Model,
    ipadapter: IPAdapterModel,
    clip_vision: ClipVision,
    pixels: Tensor,
    negative: Tensor | None,
    combine: str,
) -> list[tuple[Tensor, Tensor]]:
    """Keys and values for every cross-attention of the model, of no picture and of the pictures: [2, T, C] each."""
    with ctx.services.use(ipadapter, "ipadapter") as adapter:
        _check(model, ipadapter, adapter.config.width, [channels for _, channels in adapter.config.sites])
        with ctx.services.use(clip_vision, "clip_vision") as tower:
            weight = next(tower.parameters())
            size = tower.config.image_size
            pictures = vision_input(pixels, size, crop=True).to(weight)
            vector = adapter.config.kind == "vector"

            def seen(x: Tensor) -> Tensor:
                said = tower(x, ctx.check)
                return said.vector if vector else said.before

            found = seen(pictures)
            if negative is not None:
                none = seen(vision_input(negative, size, crop=True).to(weight))
            else:
                none = torch.zeros_like(found[:1]) if vector else seen(torch.zeros_like(pictures[:1]))
        if found.shape[-1] != adapter.config.seen:
            raise InputError(
                "clip_vision",
                f"{clip_vision.weights.path.name} sees vectors of width {found.shape[-1]}, but "
                f"{ipadapter.weights.path.name} was trained with those of width {adapter.config.seen}",
            )
        like = next(adapter.parameters())
        tokens = [_joined(adapter.tokens(part.to(like)), combine) for part in (none, found)]
        length = math.lcm(*(part.shape[1] for part in tokens))
        # Attention's softmax does not change when its keys are repeated as a whole.
        both = torch.cat([part.repeat(1, length // part.shape[1], 1) for part in tokens])
        return [(keys.float().cpu(), values.float().cpu()) for keys, values in adapter.pairs(both)]


def _joined(tokens: Tensor, combine: str) -> Tensor:
    """The tokens of several pictures [B, T, D] as those of one: [1, B T, D], or their mean [1, T, D]."""
    return tokens.flatten(0, 1)[None] if combine == "concat" else tokens.mean(0, keepdim=True)


def _check(model: Model, ipadapter: IPAdapterModel, width: int, channels: list[int]) -> None:
    """Blame an adapter that was made for another kind of model."""
    config = unet_config(model.weights.shapes("model"))
    if config.context_dim != width or len(text_sites(config)) != len(channels):
        raise InputError(
            "ipadapter",
            f"{ipadapter.weights.path.name} was made for another kind of model: it has {len(channels)} layers for text "
            f"vectors of width {width}, where {model.weights.path.name} has {len(text_sites(config))} of width "
            f"{config.context_dim}",
        )
