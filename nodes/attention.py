"""Nodes that change how a model looks at its picture: guidance by attention, stronger features, smaller maps."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from graph.sockets import Choice, Float, Int, Toggle
from graph.spec import Tip, node
from models.config import unet_config
from models.deep_shrink import DeepShrink
from models.freeu import FreeU
from models.multiplied import CLIP_LAYERS, UNET_LAYERS, Multiplied
from models.normalized_attention import NormalizedAttention
from models.perturbed_attention import PerturbedAttention
from models.self_attention_guidance import SelfAttentionGuidance
from models.steering import Steering
from models.types import Clip, Model
from nodes.services import Context

UNET = Tip("The U-Net that removes the noise.")
B = "How much stronger the U-Net's own features are"
S = "What is left of the low frequencies of what it hands across"
FACTOR = Float(0.0, 10.0, step=0.01, tooltip="What they are multiplied by.")


@node("PerturbedAttentionGuidance", category="model_patches/unet")
def perturbed_attention_guidance(
    ctx: Context,
    *,
    model: Annotated[Model, UNET],
    scale: Annotated[float, Float(0.0, 100.0, step=0.01, round=0.01, tooltip="How strongly it is guided so.")] = 3.0,
) -> Annotated[Model, Tip("The model, guided so.")]:
    """Guide away from what the model draws when it does not look at its picture as a whole. One more evaluation a step."""
    return steered(model, PerturbedAttention(scale))


@node("SelfAttentionGuidance", category="_for_testing", title="Self-Attention Guidance")
def self_attention_guidance(
    ctx: Context,
    *,
    model: Annotated[Model, UNET],
    scale: Annotated[float, Float(-2.0, 5.0, step=0.01, tooltip="How strongly it is guided so.")] = 0.5,
    blur_sigma: Annotated[
        float, Float(0.0, 10.0, step=0.1, tooltip="How wide the blur is, in cells of the latent.")
    ] = 2.0,
) -> Annotated[Model, Tip("The model, guided so.")]:
    """Guide away from a picture that is blurred where the model looks. One more evaluation a step."""
    return steered(model, SelfAttentionGuidance(scale, blur_sigma))


@node("NAGuidance", category="advanced/guidance", title="Normalized Attention Guidance", experimental=True)
def na_guidance(
    ctx: Context,
    *,
    model: Annotated[Model, UNET],
    nag_scale: Annotated[
        float, Float(0.0, 50.0, step=0.1, tooltip="How far it goes away from the negative prompt; 1: not at all.")
    ] = 5.0,
    nag_alpha: Annotated[
        float, Float(0.0, 1.0, step=0.01, tooltip="The share of it: 0 changes nothing, 1 takes it wholly.")
    ] = 0.5,
    nag_tau: Annotated[
        float, Float(1.0, 10.0, step=0.01, tooltip="How many times as strong it may make what a place sees.")
    ] = 1.5,
) -> Annotated[Model, Tip("The model, guided so.")]:
    """Avoid the negative prompt while the model looks at the text: also at a cfg of 1, as models of few steps need it."""
    return steered(model, NormalizedAttention(nag_scale, nag_tau, nag_alpha))


@node("FreeU", category="model_patches/unet")
def freeu(
    ctx: Context,
    *,
    model: Annotated[Model, UNET],
    b1: Annotated[float, Float(0.0, 10.0, step=0.01, tooltip=f"{B}, in its deep blocks.")] = 1.1,
    b2: Annotated[float, Float(0.0, 10.0, step=0.01, tooltip=f"{B}, in the blocks above them.")] = 1.2,
    s1: Annotated[float, Float(0.0, 10.0, step=0.01, tooltip=f"{S}, in its deep blocks.")] = 0.9,
    s2: Annotated[float, Float(0.0, 10.0, step=0.01, tooltip=f"{S}, in the blocks above them.")] = 0.2,
) -> Annotated[Model, Tip("The model with other weights between its parts.")]:
    """Let a U-Net trust its own features more, for pictures with more form. Costs almost nothing."""
    return steered(model, FreeU(b1, b2, s1, s2, by_structure=False))


@node("FreeU_V2", category="model_patches/unet", title="FreeU_V2")
def freeu_v2(
    ctx: Context,
    *,
    model: Annotated[Model, UNET],
    b1: Annotated[float, Float(0.0, 10.0, step=0.01, tooltip=f"{B}, in its deep blocks.")] = 1.3,
    b2: Annotated[float, Float(0.0, 10.0, step=0.01, tooltip=f"{B}, in the blocks above them.")] = 1.4,
    s1: Annotated[float, Float(0.0, 10.0, step=0.01, tooltip=f"{S}, in its deep blocks.")] = 0.9,
    s2: Annotated[float, Float(0.0, 10.0, step=0.01, tooltip=f"{S}, in the blocks above them.")] = 0.2,
) -> Annotated[Model, Tip("The model with other weights between its parts.")]:
    """Let a U-Net trust its own features more where they say something, for pictures with more form."""
    return steered(model, FreeU(b1, b2, s1, s2, by_structure=True))


RESIZES = ("bicubic", "nearest-exact", "bilinear", "area", "bislerp")


@node("PatchModelAddDownscale", category="model_patches/unet", title="PatchModelAddDownscale (Kohya Deep Shrink)")
def patch_model_add_downscale(
    ctx: Context,
    *,
    model: Annotated[Model, UNET],
    block_number: Annotated[
        int,
        Int(1, 32, step=1, tooltip="After which of the U-Net's input blocks; a larger number leaves more as it is."),
    ] = 3,
    downscale_factor: Annotated[
        float, Float(0.1, 9.0, step=0.001, tooltip="How many times smaller each side becomes.")
    ] = 2.0,
    start_percent: Annotated[
        float, Float(0.0, 1.0, step=0.001, tooltip="From which part of the way from noise to picture on it is done.")
    ] = 0.0,
    end_percent: Annotated[float, Float(0.0, 1.0, step=0.001, tooltip="Up to which part of the way.")] = 0.35,
    downscale_after_skip: Annotated[
        bool, Toggle(tooltip="Whether what the block hands across to the way up stays large.")
    ] = True,
    downscale_method: Annotated[str, Choice(RESIZES, typed=True, tooltip="How it is made smaller.")],
    upscale_method: Annotated[str, Choice(RESIZES, typed=True, tooltip="How it is made larger again.")],
) -> Annotated[Model, Tip("The model, which sees less of large pictures at first.")]:
    """Draw pictures larger than a model was trained for without everything coming twice."""
    config = unet_config(model.weights.shapes("model"))
    blocks = len(config.channel_mult) * (config.num_res_blocks + 1)
    if block_number >= blocks:
        ctx.warn(f"changes nothing: this U-Net's last input block is number {blocks - 1}", "block_number")
    shrink = DeepShrink(
        block_number,
        downscale_factor,
        start_percent,
        end_percent,
        downscale_after_skip,
        downscale_method,
        upscale_method,
    )
    return steered(model, shrink)


@node("UNetSelfAttentionMultiply", category="_for_testing/attention_experiments")
def unet_self_attention_multiply(
    ctx: Context,
    *,
    model: Annotated[Model, UNET],
    q: Annotated[float, FACTOR] = 1.0,
    k: Annotated[float, FACTOR] = 1.0,
    v: Annotated[float, FACTOR] = 1.0,
    out: Annotated[float, FACTOR] = 1.0,
) -> Annotated[Model, Tip("The model with those weights.")]:
    """Multiply the queries, keys, values and results of how a U-Net's picture looks at itself."""
    return _multiplied(model, (q, k, v, out), ".attn1.")


@node("UNetCrossAttentionMultiply", category="_for_testing/attention_experiments")
def unet_cross_attention_multiply(
    ctx: Context,
    *,
    model: Annotated[Model, UNET],
    q: Annotated[float, FACTOR] = 1.0,
    k: Annotated[float, FACTOR] = 1.0,
    v: Annotated[float, FACTOR] = 1.0,
    out: Annotated[float, FACTOR] = 1.0,
) -> Annotated[Model, Tip("The model with those weights.")]:
    """Multiply the queries, keys, values and results of how a U-Net's picture looks at the text."""
    return _multiplied(model, (q, k, v, out), ".attn2.")


@node("CLIPAttentionMultiply", category="_for_testing/attention_experiments")
def clip_attention_multiply(
    ctx: Context,
    *,
    clip: Annotated[Clip, Tip("The text encoder.")],
    q: Annotated[float, FACTOR] = 1.0,
    k: Annotated[float, FACTOR] = 1.0,
    v: Annotated[float, FACTOR] = 1.0,
    out: Annotated[float, FACTOR] = 1.0,
) -> Annotated[Clip, Tip("The text encoder with those weights.")]:
    """Multiply the queries, keys, values and results of how a text's words look at one another."""
    factors = (q, k, v, out)
    if all(factor == 1 for factor in factors):
        return clip
    patch = Multiplied(CLIP_LAYERS, factors)
    return clip.changed(lambda tower: replace(tower, patches=(*tower.patches, patch)))


def _multiplied(model: Model, factors: tuple[float, ...], within: str) -> Model:
    if all(factor == 1 for factor in factors):
        return model
    return replace(model, patches=(*model.patches, Multiplied(UNET_LAYERS, factors, within)))


def steered(model: Model, steering: Steering) -> Model:
    """The model, steered so as well."""
    return replace(model, steering=(*model.steering, steering))
