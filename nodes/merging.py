"""Nodes that merge models of one shape. Nothing is computed before the merged model is used or saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, TypeVar

from torch import nn

from graph.errors import InputError
from graph.sockets import Float, Int
from graph.spec import Tip, Together, node
from models.checkpoint import CheckpointError
from models.family import TOWERS
from models.merging import Arc, Average, Dare, Difference, Merge, Rule, Sum, Ties
from models.types import Clip, Model, ModelHandle
from nodes.services import Context

Handle = TypeVar("Handle", bound=ModelHandle[nn.Module])

RATIO = Float(0.0, 1.0, step=0.01, tooltip="The share of the first; 1 leaves it as it is.")
BLOCK_RATIO = Float(0.0, 1.0, step=0.01, tooltip="The share of the first in this block; 1 leaves it as it is.")
TIMES = Float(-10.0, 10.0, step=0.01, tooltip="What the difference is multiplied by.")
DENSITY = Float(
    0.01, 1.0, step=0.01, tooltip="The share of numbers of each model's difference from the base that is kept."
)
SHARE = Float(-10.0, 10.0, step=0.01, tooltip="How much of this model's difference from the base is added.")
_LEVELS = ("time_embed.", "label_emb.")
BLOCKS = (
    *_LEVELS,
    *(f"input_blocks.{i}." for i in range(12)),
    *(f"middle_block.{i}." for i in range(3)),
    *(f"output_blocks.{i}." for i in range(12)),
    "out.",
)
"""How the names of layers begin, by the blocks of Stable Diffusion 1 and 2."""
BLOCKS_XL = (
    *_LEVELS,
    *(f"input_blocks.{i}" for i in range(9)),
    *(f"middle_block.{i}" for i in range(3)),
    *(f"output_blocks.{i}" for i in range(9)),
    "out.",
)
"""Those of SDXL, where workflows have them without the last dot."""
FIRST, SECOND = Tip("The first model."), Tip("The second model.")
FIRST_CLIP, SECOND_CLIP = Tip("The first text encoder."), Tip("The second text encoder.")
MERGED, MERGED_CLIP = Tip("The merged model."), Tip("The merged text encoder.")


@node("ModelMergeSimple", category="advanced/model_merging")
def model_merge_simple(
    ctx: Context,
    *,
    model1: Annotated[Model, FIRST],
    model2: Annotated[Model, SECOND],
    ratio: Annotated[float, RATIO] = 1.0,
) -> Annotated[Model, MERGED]:
    """The average of two models."""
    return _merged(model1, (model2,), Average((("", ratio),)), "model2")


@node("ModelMergeBlocks", category="advanced/model_merging")
def model_merge_blocks(
    ctx: Context,
    *,
    model1: Annotated[Model, FIRST],
    model2: Annotated[Model, SECOND],
    input: Annotated[  # noqa: A002
        float, Float(0.0, 1.0, step=0.01, tooltip="The share of the first in the way down, and in what is in no block.")
    ] = 1.0,
    middle: Annotated[float, Float(0.0, 1.0, step=0.01, tooltip="The share of the first in the middle block.")] = 1.0,
    out: Annotated[float, Float(0.0, 1.0, step=0.01, tooltip="The share of the first in the way up.")] = 1.0,
) -> Annotated[Model, MERGED]:
    """The average of two models, with shares of their own for the way down, the middle and the way up."""
    ratios = (("", input), ("input", input), ("middle", middle), ("out", out))
    return _merged(model1, (model2,), Average(ratios), "model2")


@node("ModelMergeSD1", category="advanced/model_merging/model_specific")
def model_merge_sd1(
    ctx: Context,
    *,
    model1: Annotated[Model, FIRST],
    model2: Annotated[Model, SECOND],
    ratios: Annotated[Mapping[str, float], Together(BLOCKS, 1.0), BLOCK_RATIO],
) -> Annotated[Model, MERGED]:
    """The average of two models of Stable Diffusion 1, with a share of its own for each block."""
    return _merged_by_blocks(model1, model2, ratios)


@node("ModelMergeSD2", category="advanced/model_merging/model_specific")
def model_merge_sd2(
    ctx: Context,
    *,
    model1: Annotated[Model, FIRST],
    model2: Annotated[Model, SECOND],
    ratios: Annotated[Mapping[str, float], Together(BLOCKS, 1.0), BLOCK_RATIO],
) -> Annotated[Model, MERGED]:
    """The average of two models of Stable Diffusion 2, with a share of its own for each block."""
    return _merged_by_blocks(model1, model2, ratios)


@node("ModelMergeSDXL", category="advanced/model_merging/model_specific")
def model_merge_sdxl(
    ctx: Context,
    *,
    model1: Annotated[Model, FIRST],
    model2: Annotated[Model, SECOND],
    ratios: Annotated[Mapping[str, float], Together(BLOCKS_XL, 1.0), BLOCK_RATIO],
) -> Annotated[Model, MERGED]:
    """The average of two SDXL models, with a share of its own for each block."""
    return _merged_by_blocks(model1, model2, ratios)


@node("ModelMergeAdd", category="advanced/model_merging")
def model_merge_add(
    ctx: Context, *, model1: Annotated[Model, FIRST], model2: Annotated[Model, SECOND]
) -> Annotated[Model, MERGED]:
    """The sum of two models, of which one is a difference."""
    return _merged(model1, (model2,), Sum(), "model2")


@node("ModelMergeSubtract", category="advanced/model_merging")
def model_merge_subtract(
    ctx: Context,
    *,
    model1: Annotated[Model, FIRST],
    model2: Annotated[Model, SECOND],
    multiplier: Annotated[float, TIMES] = 1.0,
) -> Annotated[Model, MERGED]:
    """What the first model has that the second has not, to be added to a third or saved as a LoRA."""
    return _merged(model1, (model2,), Difference(multiplier), "model2")


@node("ModelMergeCosine", category="advanced/model_merging")
def model_merge_cosine(
    ctx: Context,
    *,
    model1: Annotated[Model, FIRST],
    model2: Annotated[Model, SECOND],
    ratio: Annotated[float, RATIO] = 1.0,
) -> Annotated[Model, MERGED]:
    """Between two models along the arc whose cosine each pair of weights has, which keeps their lengths."""
    return _merged(model1, (model2,), Arc(ratio), "model2")


@node("ModelMergeTIES", category="advanced/model_merging")
def model_merge_ties(
    ctx: Context,
    *,
    base: Annotated[Model, Tip("What both models were trained from.")],
    model1: Annotated[Model, FIRST],
    model2: Annotated[Model, SECOND],
    weight1: Annotated[float, SHARE] = 1.0,
    weight2: Annotated[float, SHARE] = 1.0,
    density: Annotated[float, DENSITY] = 0.2,
) -> Annotated[Model, MERGED]:
    """Add to a base what two models learned, where they do not contradict each other (TIES)."""
    return _merged(base, (model1, model2), Ties((weight1, weight2), density), "model1")


@node("ModelMergeDARE", category="advanced/model_merging")
def model_merge_dare(
    ctx: Context,
    *,
    base: Annotated[Model, Tip("What both models were trained from.")],
    model1: Annotated[Model, FIRST],
    model2: Annotated[Model, SECOND],
    weight1: Annotated[float, SHARE] = 0.5,
    weight2: Annotated[float, SHARE] = 0.5,
    density: Annotated[float, DENSITY] = 0.5,
    seed: Annotated[int, Int(0, 2**63 - 1, tooltip="Decides which numbers are kept.")] = 0,
) -> Annotated[Model, MERGED]:
    """Add to a base what two models learned, each thinned out by chance so that they are in each other's way less (DARE)."""
    return _merged(base, (model1, model2), Dare((weight1, weight2), density, seed), "model1")


@node("CLIPMergeSimple", category="advanced/model_merging")
def clip_merge_simple(
    ctx: Context,
    *,
    clip1: Annotated[Clip, FIRST_CLIP],
    clip2: Annotated[Clip, SECOND_CLIP],
    ratio: Annotated[float, RATIO] = 1.0,
) -> Annotated[Clip, MERGED_CLIP]:
    """The average of two text encoders."""
    return _merged_text(clip1, clip2, Average((("", ratio),)))


@node("CLIPMergeAdd", category="advanced/model_merging")
def clip_merge_add(
    ctx: Context, *, clip1: Annotated[Clip, FIRST_CLIP], clip2: Annotated[Clip, SECOND_CLIP]
) -> Annotated[Clip, MERGED_CLIP]:
    """The sum of two text encoders, of which one is a difference."""
    return _merged_text(clip1, clip2, Sum())


@node("CLIPMergeSubtract", category="advanced/model_merging")
def clip_merge_subtract(
    ctx: Context,
    *,
    clip1: Annotated[Clip, FIRST_CLIP],
    clip2: Annotated[Clip, SECOND_CLIP],
    multiplier: Annotated[float, TIMES] = 1.0,
) -> Annotated[Clip, MERGED_CLIP]:
    """What the first text encoder has that the second has not."""
    return _merged_text(clip1, clip2, Difference(multiplier))


def _merged_by_blocks(first: Model, second: Model, ratios: Mapping[str, float]) -> Model:
    """Of layers that are in none of the blocks, the first block's share counts."""
    return _merged(first, (second,), Average((("", next(iter(ratios.values()))), *ratios.items())), "model2")


def _merged_text(first: Clip, second: Clip, rule: Rule) -> Clip:
    """Text encoders merged tower by tower."""
    if [tower.tower for tower in first.towers] != [tower.tower for tower in second.towers]:
        raise InputError("clip2", f"{_towers(second)}; the other, {_towers(first)}: they are of different families")
    others = {tower.tower: tower for tower in second.towers}
    return first.changed(lambda tower: _merged(tower, (others[tower.tower],), rule, "clip2"))


def _towers(clip: Clip) -> str:
    """Such as "x.safetensors, has ViT-L and ViT-bigG"."""
    files = " and ".join(dict.fromkeys(tower.weights.path.name for tower in clip.towers))
    return f"{files}, has {' and '.join(TOWERS[tower.tower] for tower in clip.towers)}"


def _merged(first: Handle, others: tuple[ModelHandle[nn.Module], ...], rule: Rule, blamed: str) -> Handle:
    merge = Merge(others, rule)
    try:
        merge.check(first.weights.shapes(first.part))
    except CheckpointError as error:
        raise InputError(blamed, str(error)) from error
    return replace(first, patches=(*first.patches, merge))
