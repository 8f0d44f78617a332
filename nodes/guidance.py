"""Nodes that say how a model is guided."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated

from graph.errors import InputError
from graph.sockets import Choice, Float, Int
from graph.spec import ALIKE, Extra, Named, Tip, node
from models.guidance import After, Before, Cfg, Combine, DualCfg, Override, rescaled
from models.guidance_kinds import (
    PerpNeg,
    Projected,
    damped,
    frequencies_scaled,
    normed,
    scaled_noise,
    zero_star,
)
from models.types import Conditioning, EmptyText, Guider, Model
from nodes.prompt_ranges import conditioning_zero_out
from nodes.sampling import CFG
from nodes.services import Context

DISPLAY = Extra({"display": "number"})
GivenModel = Annotated[Model, Tip("The U-Net that removes the noise.")]
GuidedModel = Annotated[Model, Tip("The model, guided so.")]
PatchedModel = Annotated[Model, Named("patched_model"), Tip("The model, guided so.")]


@node("RescaleCFG", category="advanced/model")
def rescale_cfg(
    ctx: Context,
    *,
    model: GivenModel,
    multiplier: Annotated[
        float, Float(0.0, 1.0, step=0.01, tooltip="How much of the rescaled estimate to take.")
    ] = 0.7,
) -> GuidedModel:
    """Keep strong guidance from burning a picture: its contrast stays that of the prompt alone."""
    return _combining(model, partial(rescaled, multiplier=multiplier))


@node("APG", category="sampling/custom_sampling", title="Adaptive Projected Guidance")
def apg(
    ctx: Context,
    *,
    model: GivenModel,
    eta: Annotated[
        float,
        Float(-10.0, 10.0, step=0.01, tooltip="How much guidance may strengthen colours: 1 as usual, 0 not at all."),
    ] = 1.0,
    norm_threshold: Annotated[
        float, Float(0.0, 50.0, step=0.1, tooltip="The longest that guidance of one step may be; 0 for any length.")
    ] = 5.0,
    momentum: Annotated[
        float,
        Float(-5.0, 1.0, step=0.01, tooltip="How much of earlier steps goes in; below 0 it pushes off from them."),
    ] = 0.0,
) -> GuidedModel:
    """Strong guidance without burnt colours: what of it only strengthens them is held back."""
    return _combining(model, Projected(eta, norm_threshold, momentum))


@node("CFGZeroStar", category="advanced/guidance")
def cfg_zero_star(ctx: Context, *, model: GivenModel) -> PatchedModel:
    """Guide from the negative prompt's estimate at the strength that is nearest to the positive one's."""
    return _combining(model, zero_star)


@node("TCFG", category="advanced/guidance", title="Tangential Damping CFG")
def tangential_damping_cfg(ctx: Context, *, model: GivenModel) -> PatchedModel:
    """Guide from what the negative prompt's estimate shares with the positive one's."""
    return _before(model, damped)


@node("CFGNorm", category="advanced/guidance", experimental=True)
def cfg_norm(
    ctx: Context,
    *,
    model: GivenModel,
    strength: Annotated[
        float, Float(0.0, 100.0, step=0.01, tooltip="How much of it: 0 changes nothing, 1 keeps it wholly.")
    ] = 1.0,
) -> PatchedModel:
    """Keep guidance from going beyond the positive prompt's estimate, place by place."""
    return _after(model, partial(normed, strength=strength))


@node("FreSca", category="_for_testing", experimental=True)
def fresca(
    ctx: Context,
    *,
    model: GivenModel,
    scale_low: Annotated[float, Float(0, 10, step=0.01, tooltip="How much guidance counts for large shapes.")] = 1.0,
    scale_high: Annotated[float, Float(0, 10, step=0.01, tooltip="How much it counts for detail.")] = 1.25,
    freq_cutoff: Annotated[int, Int(1, 10_000, step=1, tooltip="Up to which frequency a shape counts as large.")] = 20,
) -> GuidedModel:
    """Guide large shapes and detail at strengths of their own."""
    return _before(model, partial(frequencies_scaled, low=scale_low, high=scale_high, cutoff=freq_cutoff))


@node("Epsilon Scaling", category="model_patches/unet")
def epsilon_scaling(
    ctx: Context,
    *,
    model: GivenModel,
    scaling_factor: Annotated[
        float, Float(0.5, 1.5, step=0.001, tooltip="What the noise is divided by; a little above 1."), DISPLAY
    ] = 1.005,
) -> GuidedModel:
    """Take a little less noise away than the model says, since it was trained on exact latents (exposure bias)."""
    return _after(model, partial(scaled_noise, factor=scaling_factor))


@node("CFGOverride", category="advanced/guidance", title="CFG Override")
def cfg_override(
    ctx: Context,
    *,
    model: GivenModel,
    cfg: Annotated[
        float, Float(0.0, 100.0, step=0.1, tooltip="The cfg there, whatever the sampler says; 1 halves the work.")
    ] = 1.0,
    start_percent: Annotated[
        float, Float(0.0, 1.0, step=0.001, tooltip="From which part of the way from noise to picture on it holds.")
    ] = 0.0,
    end_percent: Annotated[float, Float(0.0, 1.0, step=0.001, tooltip="Up to which part of the way it holds.")] = 1.0,
) -> GuidedModel:
    """Guide at another strength for a part of the way. Where several say one, the one nearest to the sampler counts."""
    override = Override(cfg, start_percent, end_percent)
    return replace(model, guiding=replace(model.guiding, overrides=(*model.guiding.overrides, override)))


@node(
    "PerpNeg",
    category="_for_testing",
    title="Perp-Neg (DEPRECATED by PerpNegGuider)",
    deprecated=True,
    experimental=True,
)
def perp_neg(
    ctx: Context,
    *,
    model: GivenModel,
    empty_conditioning: Annotated[Conditioning, Tip("An empty prompt, from which both lead.")],
    neg_scale: Annotated[
        float, Float(0.0, 100.0, step=0.01, tooltip="How strongly to avoid the negative prompt.")
    ] = 1.0,
) -> GuidedModel:
    """Avoid the negative prompt only in what it does not share with the positive one, with any sampler that takes both."""
    return replace(model, leading_from=EmptyText(empty_conditioning, neg_scale))


@node("PerpNegGuider", category="_for_testing", experimental=True)
def perp_neg_guider(
    ctx: Context,
    *,
    model: GivenModel,
    positive: Annotated[Conditioning, Tip("What the picture should show.")],
    negative: Annotated[Conditioning, Tip("What it should not show.")],
    empty_conditioning: Annotated[Conditioning, Tip("An empty prompt, from which both lead.")],
    cfg: Annotated[float, CFG] = 8.0,
    neg_scale: Annotated[
        float, Float(0.0, 100.0, step=0.01, tooltip="How strongly to avoid the negative prompt.")
    ] = 1.0,
) -> Annotated[Guider, Tip("The model, steered by the prompts.")]:
    """Avoid the negative prompt only in what it does not share with the positive one."""
    names = ("positive", "negative", "empty_conditioning")
    return Guider(model, (positive, negative, empty_conditioning), PerpNeg(cfg, neg_scale), names)


@node("DualCFGGuider", category="sampling/custom_sampling/guiders")
def dual_cfg_guider(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net that removes the noise.")],
    cond1: Annotated[Conditioning, Tip("What the picture should show.")],
    cond2: Annotated[Conditioning, Tip("What stands between that and the negative prompt.")],
    negative: Annotated[Conditioning, Tip("What it should not show.")],
    cfg_conds: Annotated[float, CFG] = 8.0,
    cfg_cond2_negative: Annotated[float, CFG] = 8.0,
    style: Annotated[
        str,
        Choice(("regular", "nested"), tooltip="nested: the second guides away from the negative what the first made."),
    ],
) -> Annotated[Guider, Tip("The model, steered by three prompts.")]:
    """Steer by two prompts with a strength each, such as an instruction and the picture it is about."""
    guidance = DualCfg(cfg_conds, cfg_cond2_negative, nested=style == "nested")
    return Guider(model, (cond1, negative, cond2), guidance, names=("cond1", "negative", "cond2"))


@node("DualModelGuider", category="sampling/custom_sampling/guiders", title="Dual Model CFG Guider", items=ALIKE)
def dual_model_guider(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net that is led by the positive prompt.")],
    positive: Annotated[Conditioning, Tip("What the picture should show.")],
    model_negative: Annotated[
        Model | None, Tip("The U-Net to go away from, such as a weaker one; without it, the same.")
    ] = None,
    negative: Annotated[Conditioning | None, Tip("What that one is told; without it, zeros for a prompt.")] = None,
    cfg: Annotated[float, Float(0.0, 100.0, step=0.1, tooltip="How strongly to go away from the negative.")] = 4.0,
) -> Annotated[Guider, Tip("The models, steered by the prompts.")]:
    """Steer a model towards a prompt, and away from what another model makes of the negative one."""
    ours, theirs = model.family, (model_negative or model).family
    if (ours.latent, ours.text) != (theirs.latent, theirs.text):
        raise InputError(
            "model_negative", f"a model of {theirs.name}, but {ours.name} draws: they do not fit each other"
        )
    away = negative or conditioning_zero_out(ctx, conditioning=positive)
    return Guider(model, (positive, away), Cfg(cfg), negative_model=model_negative)


def _combining(model: Model, combine: Combine) -> Model:
    """The model with another way to combine two estimates; the last one said counts."""
    return replace(model, guiding=replace(model.guiding, combine=combine))


def _before(model: Model, change: Before) -> Model:
    """The model with one more change before two estimates are combined."""
    return replace(model, guiding=replace(model.guiding, before=(*model.guiding.before, change)))


def _after(model: Model, finish: After) -> Model:
    """The model with one more change of the guided estimate."""
    return replace(model, guiding=replace(model.guiding, after=(*model.guiding.after, finish)))
