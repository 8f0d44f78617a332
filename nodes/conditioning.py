"""Nodes that make and combine conditioning."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from graph.errors import InputError
from graph.sockets import Float, Int, Text
from graph.spec import ALIKE, Tip, node
from models.areas import Area, Share
from models.types import Clip, Cond, Conditioning
from nodes.services import Context
from nodes.text_encoding import Prompt, embedding_files, encoded


@node(
    "CLIPTextEncode",
    category="conditioning",
    aliases=("prompt", "positive prompt", "negative prompt", "text"),
    title="CLIP Text Encode (Prompt)",
    freshness=embedding_files("text"),
    items=ALIKE,
)
def clip_text_encode(
    ctx: Context,
    *,
    text: Annotated[
        str,
        Text(
            multiline=True,
            dynamic_prompts=True,
            tooltip="The prompt. (word:1.2) weighs a word, embedding:name adds one.",
        ),
    ],
    clip: Annotated[Clip, Tip("The text encoder of the checkpoint that will sample.")],
) -> Annotated[Conditioning, Tip("The prompt as the U-Net reads it.")]:
    """Encode a prompt with a CLIP text encoder, for a sampler to steer by."""
    return Conditioning((encoded(ctx, clip, Prompt(text, "text")),))


@node(
    "CLIPTextEncodeControlnet",
    category="_for_testing/conditioning",
    experimental=True,
    freshness=embedding_files("text"),
)
def clip_text_encode_controlnet(
    ctx: Context,
    *,
    clip: Annotated[Clip, Tip("The text encoder of the checkpoint that will sample.")],
    conditioning: Annotated[Conditioning, Tip("The prompt that the U-Net reads.")],
    text: Annotated[str, Text(multiline=True, dynamic_prompts=True, tooltip="What ControlNets read instead.")],
) -> Annotated[Conditioning, Tip("The prompt, with the other text for ControlNets.")]:
    """Give ControlNets a prompt of their own: what the picture's lines mean, whatever the whole is to look like."""
    words = encoded(ctx, clip, Prompt(text, "text"))
    for cond in conditioning.conds:
        _fitting(words.tokens, cond, "clip")
    return Conditioning(tuple(replace(cond, for_controls=words.tokens) for cond in conditioning.conds))


@node("CLIPSetLastLayer", category="conditioning", title="CLIP Set Last Layer", items=ALIKE)
def clip_set_last_layer(
    ctx: Context,
    *,
    clip: Annotated[Clip, Tip("The text encoder.")],
    stop_at_clip_layer: Annotated[
        int, Int(-24, -1, step=1, tooltip="The layer whose vectors are taken, counted from the end: -1 is the last.")
    ] = -1,
) -> Annotated[Clip, Tip("The text encoder that stops there.")]:
    """Leave out the last layers of a text encoder ("clip skip"), as models want it that were trained so.

    SDXL's are read at -2 without this.
    """
    return replace(clip, layer=stop_at_clip_layer)


@node("ConditioningCombine", category="conditioning", title="Conditioning (Combine)", items=ALIKE)
def conditioning_combine(
    ctx: Context,
    *,
    conditioning_1: Annotated[Conditioning, Tip("One prompt.")],
    conditioning_2: Annotated[Conditioning, Tip("Another prompt.")],
) -> Annotated[
    Conditioning, Tip("Both: a sampler takes the mean of what they ask for, each at the price of a prompt.")
]:
    """Steer by two prompts at once, each encoded for itself."""
    return Conditioning(conditioning_1.conds + conditioning_2.conds)


@node("ConditioningConcat", category="conditioning", title="Conditioning (Concat)", items=ALIKE)
def conditioning_concat(
    ctx: Context,
    *,
    conditioning_to: Annotated[Conditioning, Tip("What the other is appended to.")],
    conditioning_from: Annotated[Conditioning, Tip("What is appended.")],
) -> Annotated[Conditioning, Tip("One longer text.")]:
    """Append one encoded prompt to another, as if both were one text."""
    appended = conditioning_from.conds[0]
    return Conditioning(
        tuple(
            replace(cond, tokens=torch.cat([cond.tokens, _fitting(appended.tokens, cond, "conditioning_from")], dim=1))
            for cond in conditioning_to.conds
        )
    )


@node("ConditioningAverage", category="conditioning", items=ALIKE)
def conditioning_average(
    ctx: Context,
    *,
    conditioning_to: Annotated[Conditioning, Tip("One prompt.")],
    conditioning_from: Annotated[Conditioning, Tip("The other prompt.")],
    conditioning_to_strength: Annotated[
        float, Float(0.0, 1.0, step=0.01, tooltip="The share of the first: 1 is the first alone, 0 the other.")
    ] = 1.0,
) -> Annotated[Conditioning, Tip("Between the two.")]:
    """Mix two encoded prompts, number by number."""
    other, share = conditioning_from.conds[0], conditioning_to_strength

    def mixed(cond: Cond) -> Cond:
        missing = cond.tokens.shape[1] - other.tokens.shape[1]
        tokens = F.pad(_fitting(other.tokens, cond, "conditioning_from"), (0, 0, 0, missing))  # cut where negative
        pooled = cond.pooled * share + other.pooled * (1 - share)
        return replace(cond, tokens=cond.tokens * share + tokens * (1 - share), pooled=pooled)

    return Conditioning(tuple(mixed(cond) for cond in conditioning_to.conds))


STRENGTH = Float(0.0, 10.0, step=0.01, tooltip="How much it counts where several texts do.")


@node("ConditioningSetArea", category="conditioning", title="Conditioning (Set Area)", items=ALIKE)
def conditioning_set_area(
    ctx: Context,
    *,
    conditioning: Annotated[Conditioning, Tip("The prompt.")],
    width: Annotated[int, Int(64, 16384, step=8, tooltip="Width of the area in pixels.")] = 64,
    height: Annotated[int, Int(64, 16384, step=8, tooltip="Height of the area in pixels.")] = 64,
    x: Annotated[int, Int(0, 16384, step=8, tooltip="Pixels between the left edges of picture and area.")] = 0,
    y: Annotated[int, Int(0, 16384, step=8, tooltip="Pixels between the upper edges of picture and area.")] = 0,
    strength: Annotated[float, STRENGTH] = 1.0,
) -> Annotated[Conditioning, Tip("The prompt, for that area.")]:
    """Have a prompt count in a part of the picture only. Combine it with one for the whole."""
    area = Area(height // 8, width // 8, y // 8, x // 8)
    return Conditioning(tuple(replace(cond, area=area, strength=strength) for cond in conditioning.conds))


@node(
    "ConditioningSetAreaPercentage",
    category="conditioning",
    title="Conditioning (Set Area with Percentage)",
    items=ALIKE,
)
def conditioning_set_area_percentage(
    ctx: Context,
    *,
    conditioning: Annotated[Conditioning, Tip("The prompt.")],
    width: Annotated[float, Float(0, 1.0, step=0.01, tooltip="Width of the area as a share of the picture's.")] = 1.0,
    height: Annotated[float, Float(0, 1.0, step=0.01, tooltip="Height of the area as a share of the picture's.")] = 1.0,
    x: Annotated[float, Float(0, 1.0, step=0.01, tooltip="Where it begins, as a share of the picture's width.")] = 0,
    y: Annotated[float, Float(0, 1.0, step=0.01, tooltip="Where it begins, as a share of the picture's height.")] = 0,
    strength: Annotated[float, STRENGTH] = 1.0,
) -> Annotated[Conditioning, Tip("The prompt, for that area.")]:
    """Have a prompt count in a part of the picture only, whatever the picture's size."""
    area = Share(height, width, y, x)
    return Conditioning(tuple(replace(cond, area=area, strength=strength) for cond in conditioning.conds))


@node("ConditioningSetAreaStrength", category="conditioning", items=ALIKE)
def conditioning_set_area_strength(
    ctx: Context,
    *,
    conditioning: Annotated[Conditioning, Tip("The prompt.")],
    strength: Annotated[float, STRENGTH] = 1.0,
) -> Annotated[Conditioning, Tip("The prompt, counting so much.")]:
    """Say how much a prompt counts beside others."""
    return Conditioning(tuple(replace(cond, strength=strength) for cond in conditioning.conds))


@node("ConditioningMultiply", category="conditioning", title="Conditioning (Multiply)")
def conditioning_multiply(
    ctx: Context,
    *,
    conditioning: Annotated[Conditioning, Tip("The prompt.")],
    multiplier: Annotated[float, Float(-100.0, 100.0, step=0.01, tooltip="What its numbers are multiplied by.")] = 1.0,
) -> Annotated[Conditioning, Tip("The prompt, stronger or weaker.")]:
    """Multiply all numbers of an encoded prompt."""
    return Conditioning(
        tuple(
            replace(cond, tokens=cond.tokens * multiplier, pooled=cond.pooled * multiplier)
            for cond in conditioning.conds
        )
    )


def _fitting(tokens: Tensor, cond: Cond, blamed: str) -> Tensor:
    """`tokens`, if they are of the text encoder that `cond` is of."""
    if tokens.shape[-1] != cond.tokens.shape[-1]:
        raise InputError(blamed, f"text vectors of width {tokens.shape[-1]}, the other has {cond.tokens.shape[-1]}")
    return tokens
