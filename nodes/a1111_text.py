"""Nodes that read prompts as A1111 does, or weigh words by another rule, and that choose words and LoRA files by prompt."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Annotated, NamedTuple

import torch

from graph.a1111_prompt import embedded, without_loras
from graph.dynamic_prompt import DynamicPromptError, expanded
from graph.errors import InputError, listing
from graph.files import Folders
from graph.sockets import Choice, Int, Text
from graph.spec import Tip, node
from models.a1111_language import broken, by_steps, joined_by_and, pieces
from models.levels import NoiseLevels
from models.text import TextRecipe
from models.types import Clip, Cond, Conditioning, Model, Sigmas
from models.weighting import NORMALIZATIONS, WEIGHTINGS
from nodes.lora import opened_adapter
from nodes.sampling import SEED
from nodes.services import Context
from nodes.text_encoding import Prompt, embedding_files, encoded

PROMPT = Text(multiline=True, dynamic_prompts=False, tooltip="The prompt.")
GivenClip = Annotated[Clip, Tip("The text encoder of the checkpoint that will sample.")]
WEIGHTS = "A1111: vectors times their weights; comfy: from what they are in an empty prompt."
MORE_WEIGHTS = (
    f"{WEIGHTS} compel: so, and light words fade from the others too; down_weight: only that, none weighs more than 1."
)


@node(
    "CLIPTextEncodeA1111", category="conditioning", title="CLIP Text Encode (A1111)", freshness=embedding_files("text")
)
def clip_text_encode_a1111(
    ctx: Context,
    *,
    text: Annotated[str, PROMPT],
    clip: GivenClip,
    steps: Annotated[
        int, Int(1, 10_000, tooltip="How many steps will be taken: [a:b:0.5] and [a|b] count in them.")
    ] = 20,
    weighting: Annotated[str, Choice(("A1111", "comfy"), tooltip=WEIGHTS)],
    negative: Annotated[
        Conditioning | None, Tip("The negative prompt, which prompts joined by AND lead away from, each for itself.")
    ] = None,
    sigmas: Annotated[
        Sigmas | None, Tip("The noise levels of the steps; without, those of the schedule normal are assumed.")
    ] = None,
) -> Annotated[Conditioning, Tip("The prompt as the U-Net reads it, at each step.")]:
    """Encode a prompt in A1111's language: [a], [a:b:0.5], [a|b], AND, BREAK; weights multiply; embeddings by plain names."""
    borders = _borders(steps, sigmas)
    recipe = TextRecipe(pieces, WEIGHTINGS[weighting])
    names = [str(PurePosixPath(name).with_suffix("").name) for name in ctx.services.folders.list("embeddings")]
    known: dict[str, Cond] = {}

    def encode(said: str) -> Cond:
        if said not in known:
            parts = [encoded(ctx, clip, Prompt(embedded(part, names), "text"), recipe=recipe) for part in broken(said)]
            known[said] = replace(parts[0], tokens=torch.cat([part.tokens for part in parts], dim=1))
        return known[said]

    parts = joined_by_and(text)
    conds = [
        replace(encode(stretch.text), strength=part.weight, start=borders[stretch.first], end=borders[stretch.last + 1])
        for part in parts
        for stretch in by_steps(part.text, len(borders) - 1)
    ]
    rest = 1 - sum(part.weight for part in parts)
    if len(parts) > 1 or rest:
        if negative is None:
            ctx.warn(
                "AND is a mean here: connect the negative prompt, which each part is to lead away from", "negative"
            )
        else:  # the sum of what leads away from the negative prompt, written as a mean in which that counts the rest
            conds += [replace(cond, strength=rest * cond.strength) for cond in negative.conds]
    return Conditioning(tuple(conds))


def _borders(steps: int, sigmas: Sigmas | None) -> Sequence[float]:
    """Where each step begins, as a share of the way, and the end: half-way in time between levels."""
    levels = NoiseLevels()
    visited = (
        torch.linspace(*levels.times, steps) if sigmas is None else levels.timestep(sigmas.values[:-1].clamp(min=1e-6))
    )
    shares = [1 - time / (levels.steps - 1) for time in visited.tolist()]
    return [0.0, *((before + after) / 2 for before, after in pairwise(shares)), 1.0]


@node(
    "CLIPTextEncodeWeighted",
    category="conditioning",
    title="CLIP Text Encode (Weighting)",
    freshness=embedding_files("text"),
)
def clip_text_encode_weighted(
    ctx: Context,
    *,
    text: Annotated[str, PROMPT],
    clip: GivenClip,
    token_normalization: Annotated[
        str,
        Choice(
            NORMALIZATIONS, tooltip="length: long words weigh no more than short ones; mean: all weigh 1 on average."
        ),
    ],
    weight_interpretation: Annotated[str, Choice(WEIGHTINGS, tooltip=MORE_WEIGHTS)],
) -> Annotated[Conditioning, Tip("The prompt as the U-Net reads it.")]:
    """Encode a prompt whose weights mean something else than usual."""
    recipe = TextRecipe(weigh=WEIGHTINGS[weight_interpretation], normalize=NORMALIZATIONS[token_normalization])
    return Conditioning((encoded(ctx, clip, Prompt(text, "text"), recipe=recipe),))


class Styled(NamedTuple):
    """Networks that LoRA files have changed, and the prompt without their names."""

    model: Annotated[Model, Tip("The U-Net with the changes.")]
    clip: Annotated[Clip, Tip("The text encoder with the changes.")]
    text: Annotated[str, Tip("The prompt without the names of LoRA files.")]


def _named_files(node_id: str, inputs: Mapping[str, object], folders: Folders) -> object:
    text = inputs["text"]
    named = without_loras(text)[1] if isinstance(text, str) else None
    names = folders.list("loras") if named is None else [f for use in named if (f := _lora_file(folders, use.name))]
    return [[name, folders.identity(folders.resolve("loras", name))] for name in names]


@node("LoraFromPrompt", category="loaders", title="Load LoRA by Prompt", lane="io", freshness=_named_files)
def lora_from_prompt(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net to change.")],
    clip: Annotated[Clip, Tip("The text encoder to change.")],
    text: Annotated[str, Text(multiline=True, tooltip="A prompt with <lora:name:0.8>, as many as you like.")],
) -> Styled:
    """Load the LoRA files that a prompt names as <lora:name:0.8>; a second number is for the text encoder."""
    plain, uses, notes = without_loras(text)
    for note in notes:
        ctx.warn(note, "text")
    for use in uses:
        name = _lora_file(ctx.services.folders, use.name)
        if name is None:
            there = [PurePosixPath(file).stem for file in ctx.services.folders.list("loras")]
            ctx.warn(f"there is no LoRA {use.name!r}; there are {listing(there) or 'none'}", "text")
            continue
        try:
            adapter = opened_adapter(ctx, ctx.services.folders.find("loras", name), (model, *clip.towers))
        except InputError as error:  # blames an input that the node for one file has
            raise InputError("text", f"{name}: {error.message}") from error
        model = adapter.on(model, use.model)
        clip = clip.changed(lambda tower, adapter=adapter, use=use: adapter.on(tower, use.clip))  # type: ignore[misc]
    return Styled(model, clip, plain)


def _lora_file(folders: Folders, name: str) -> str | None:
    """The file of models/loras that a prompt means: by its name without ending, in any folder below."""
    listed = folders.list("loras")
    return next(
        (file for file in listed if name in (file, PurePosixPath(file).stem, str(PurePosixPath(file).with_suffix("")))),
        None,
    )


def _wildcards(node_id: str, inputs: Mapping[str, object], folders: Folders) -> object:
    root = folders.input_dir / "wildcards"
    return [[str(path.relative_to(root)), folders.identity(path)] for path in sorted(root.rglob("*.txt"))]


@node("DynamicPrompt", category="text", title="Dynamic Prompt", lane="io", freshness=_wildcards)
def dynamic_prompt(
    ctx: Context,
    *,
    text: Annotated[
        str,
        Text(
            multiline=True,
            tooltip="{red|blue} chooses one, {2$$a|b|c} two, {3::a|b} a three times as often; __name__ takes a line of input/wildcards/name.txt.",
        ),
    ],
    seed: Annotated[int, SEED] = 0,
) -> Annotated[str, Tip("The prompt with its choices made.")]:
    """Choose words by a seed: the same seed, the same words."""

    def lines(name: str) -> Sequence[str]:
        path = _wildcard(ctx.services.folders.input_dir / "wildcards", name)
        if path is None:
            raise DynamicPromptError(f"there is no input/wildcards/{name}.txt")
        found = [line.strip() for line in path.read_text("utf-8", errors="replace").splitlines()]
        return [line for line in found if line and not line.startswith("#")]

    try:
        return expanded(text, random.Random(seed), lines)
    except DynamicPromptError as error:
        raise InputError("text", str(error)) from error


def _wildcard(root: Path, name: str) -> Path | None:
    """The file of a wildcard: never outside of the folder, whatever the name."""
    if not re.fullmatch(r"[\w \-./]+", name) or ".." in name.split("/"):
        return None
    path = root / f"{name}.txt"
    return path if path.is_file() and path.resolve().is_relative_to(root.resolve()) else None
