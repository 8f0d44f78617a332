"""Nodes that make and combine conditioning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from graph.errors import InputError
from graph.files import Folders
from graph.sockets import Float, Int, Text
from graph.spec import Tip, node
from models.areas import Area, Share
from models.embeddings import load_embedding
from models.prompt import embedding_names
from models.text import encode_text
from models.types import Clip, Cond, Conditioning
from models.weights import CheckpointError
from nodes.services import Context


def _embedding_files(node_id: str, inputs: Mapping[str, object], folders: Folders) -> list[list[str]]:
    """The contents of the embeddings that a prompt names, which count for what it is encoded to.

    Of a prompt that arrives over a link nothing is known yet, so that all there are count.
    """
    text = inputs["text"]
    if isinstance(text, str):
        names = embedding_names(text, _EmbeddingFiles(folders))
        found = {name: _find_embedding(folders, name) for name in names}
        paths = {name: path for name, path in found.items() if path is not None}
    else:
        paths = {name: folders.resolve("embeddings", name) for name in folders.list("embeddings")}
    return [[name, folders.identity(path)] for name, path in paths.items()]


@node(
    "CLIPTextEncode",
    category="conditioning",
    aliases=("prompt", "positive prompt", "negative prompt", "text"),
    title="CLIP Text Encode (Prompt)",
    freshness=_embedding_files,
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
    with ctx.services.use(clip, "clip") as encoder:
        embeddings = _EmbeddingFiles(ctx.services.folders, encoder.config.width)
        for name in dict.fromkeys(embedding_names(text, embeddings)):
            if name not in embeddings:
                ctx.warn(
                    f"embedding:{name} is not among the files of models/embeddings; the prompt goes on without it",
                    "text",
                )
        cond = encode_text(encoder, ctx.services.tokenizer, text, embeddings, ctx.check, clip.layer)
    return Conditioning((cond,))


@node("CLIPSetLastLayer", category="conditioning", title="CLIP Set Last Layer")
def clip_set_last_layer(
    ctx: Context,
    *,
    clip: Annotated[Clip, Tip("The text encoder.")],
    stop_at_clip_layer: Annotated[
        int, Int(-24, -1, step=1, tooltip="The layer whose vectors are taken, counted from the end: -1 is the last.")
    ] = -1,
) -> Annotated[Clip, Tip("The text encoder that stops there.")]:
    """Leave out the last layers of a text encoder ("clip skip"), as models want it that were trained so."""
    return replace(clip, layer=stop_at_clip_layer)


@node("ConditioningCombine", category="conditioning", title="Conditioning (Combine)")
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


@node("ConditioningConcat", category="conditioning", title="Conditioning (Concat)")
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


@node("ConditioningAverage", category="conditioning")
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


@node("ConditioningSetArea", category="conditioning", title="Conditioning (Set Area)")
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


@node("ConditioningSetAreaPercentage", category="conditioning", title="Conditioning (Set Area with Percentage)")
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


@node("ConditioningSetAreaStrength", category="conditioning")
def conditioning_set_area_strength(
    ctx: Context,
    *,
    conditioning: Annotated[Conditioning, Tip("The prompt.")],
    strength: Annotated[float, STRENGTH] = 1.0,
) -> Annotated[Conditioning, Tip("The prompt, counting so much.")]:
    """Say how much a prompt counts beside others."""
    return Conditioning(tuple(replace(cond, strength=strength) for cond in conditioning.conds))


def _fitting(tokens: Tensor, cond: Cond, blamed: str) -> Tensor:
    """`tokens`, if they are of the text encoder that `cond` is of."""
    if tokens.shape[-1] != cond.tokens.shape[-1]:
        raise InputError(blamed, f"text vectors of width {tokens.shape[-1]}, the other has {cond.tokens.shape[-1]}")
    return tokens


@dataclass(frozen=True)
class _EmbeddingFiles:
    """The files of models/embeddings as prompts name them. width: channels of the text encoder that reads them."""

    folders: Folders
    width: int = 0

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _find_embedding(self.folders, name) is not None

    def __getitem__(self, name: str) -> Iterable[Tensor]:
        path = _find_embedding(self.folders, name)
        if path is None:
            raise KeyError(name)
        try:
            return torch.unbind(load_embedding(path, self.width))
        except CheckpointError as error:
            raise InputError("text", f"embedding:{name}: {error}") from error


def _find_embedding(folders: Folders, name: str) -> Path | None:
    """The file that `embedding:name` means: with or without its ending, and in any folder below, the nearest first."""
    listed = folders.list("embeddings")
    for wanted in (name, *(name + suffix for suffix in (".safetensors", ".pt", ".bin"))):
        found = [file for file in listed if file == wanted or file.endswith(f"/{wanted}")]
        if found:
            return folders.resolve("embeddings", min(found, key=lambda file: file.count("/")))
    return None
