"""Nodes that change a part of a picture, and those that show a picture to models that read one beside the latent."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from graph.sockets import Float, Int, Toggle
from graph.spec import Named, Tip, node
from models.family import SD1
from models.inpainting import Beside
from models.types import Conditioning, Image, Latent, Mask, Model, Vae
from nodes.latent import encoded
from nodes.mask_fit import told_of_mask
from nodes.services import Context

GREY = 0.5


@node("SetLatentNoiseMask", category="latent/inpaint", title="Set Latent Noise Mask")
def set_latent_noise_mask(
    ctx: Context,
    *,
    samples: Annotated[Latent, Tip("The latents of the picture to change.")],
    mask: Annotated[Mask, Tip("White where it may change.")],
) -> Annotated[Latent, Tip("The latents with their mask, for a sampler.")]:
    """Let sampling change a part of a picture only."""
    height, width = samples.samples.shape[-2:]
    told_of_mask(ctx, mask.values, height, width, SD1.latent.factor)
    return replace(samples, noise_mask=mask.values[:, None])


@node("VAEEncodeForInpaint", category="latent/inpaint", title="VAE Encode (for Inpainting)")
def vae_encode_for_inpaint(
    ctx: Context,
    *,
    pixels: Annotated[Image, Tip("The pictures to change.")],
    vae: Annotated[Vae, Tip("The autoencoder of the checkpoint that will use the latents.")],
    mask: Annotated[Mask, Tip("White where they are to change.")],
    grow_mask_by: Annotated[
        int, Int(0, 64, step=1, tooltip="How many pixels wider than the mask the part is that may change.")
    ] = 6,
) -> Annotated[Latent, Tip("The latents, grey under the mask, with the mask grown.")]:
    """Encode pictures with their masked part made grey, to be drawn anew whole: for a denoise of 1."""
    picture, where = _cropped(ctx, pixels, mask, vae)
    rounded = where.round()
    grown = rounded
    if grow_mask_by:
        grown = F.conv2d(
            rounded, torch.ones(1, 1, grow_mask_by, grow_mask_by), padding=math.ceil((grow_mask_by - 1) / 2)
        ).clamp(0, 1)
    latent = encoded(ctx, Image(_greyed(picture, rounded)), vae)
    return replace(latent, noise_mask=grown[..., : where.shape[-2], : where.shape[-1]].round())


class Inpainted(NamedTuple):
    """Prompts that hold the picture beside them, and its latents."""

    positive: Annotated[Conditioning, Tip("The positive prompt, with the picture.")]
    negative: Annotated[Conditioning, Tip("The negative prompt, with the picture.")]
    latent: Annotated[Latent, Named("latent"), Tip("The latents to start from.")]


@node("InpaintModelConditioning", category="conditioning/inpaint")
def inpaint_model_conditioning(
    ctx: Context,
    *,
    positive: Annotated[Conditioning, Tip("What the picture should show.")],
    negative: Annotated[Conditioning, Tip("What it should not show.")],
    vae: Annotated[Vae, Tip("The autoencoder of the checkpoint.")],
    pixels: Annotated[Image, Tip("The picture to change.")],
    mask: Annotated[Mask, Tip("White where it is to change.")],
    noise_mask: Annotated[bool, Toggle(tooltip="Keep what is outside of the mask exactly as it is.")] = True,
) -> Inpainted:
    """Show the picture and its mask to a model that was trained to inpaint, which has nine channels."""
    picture, where = _cropped(ctx, pixels, mask, vae)
    beside = Beside(encoded(ctx, Image(_greyed(picture, where.round())), vae).samples, where)
    latent = encoded(ctx, Image(picture), vae)
    latent = replace(latent, noise_mask=where) if noise_mask else latent
    return Inpainted(_seeing(positive, beside), _seeing(negative, beside), latent)


@node("InstructPixToPixConditioning", category="conditioning/instructpix2pix")
def instruct_pix_to_pix_conditioning(
    ctx: Context,
    *,
    positive: Annotated[Conditioning, Tip("What to do with the picture.")],
    negative: Annotated[Conditioning, Tip("What it should not show.")],
    vae: Annotated[Vae, Tip("The autoencoder of the checkpoint.")],
    pixels: Annotated[Image, Tip("The picture to edit.")],
) -> Inpainted:
    """Show a picture to a model that edits by instructions, which has eight channels."""
    latent = encoded(ctx, pixels, vae)
    beside = Beside(latent.samples)
    return Inpainted(_seeing(positive, beside), _seeing(negative, beside), Latent(torch.zeros_like(latent.samples)))


class Seeing(NamedTuple):
    """Prompts that hold a picture beside them."""

    positive: Annotated[Conditioning, Tip("The positive prompt, with the picture.")]
    negative: Annotated[Conditioning, Tip("The negative prompt, with the picture.")]


@node("DepthModelConditioning", category="conditioning", title="Depth Model Conditioning")
def depth_model_conditioning(
    ctx: Context,
    *,
    positive: Annotated[Conditioning, Tip("What the picture should show.")],
    negative: Annotated[Conditioning, Tip("What it should not show.")],
    depth: Annotated[Image, Tip("How far things are: the brighter, the nearer, as depth estimators draw it.")],
) -> Seeing:
    """Show how far things are to Stable Diffusion 2's depth model, which has five channels."""
    beside = Beside(depth=depth.pixels[..., :3].mean(dim=-1)[:, None])
    return Seeing(_seeing(positive, beside), _seeing(negative, beside))


@node("DifferentialDiffusion", category="_for_testing", title="Differential Diffusion")
def differential_diffusion(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net that removes the noise.")],
    strength: Annotated[
        float | None,
        Float(0.0, 1.0, step=0.01, tooltip="1 reads the mask as times; less mixes the mask itself in."),
    ] = 1.0,
) -> Annotated[Model, Tip("The model, which reads masks so.")]:
    """Read grey in a mask as how early its place may change: half grey, from half of the way on."""
    return replace(model, differential=1.0 if strength is None else strength)


def _seeing(conditioning: Conditioning, beside: Beside) -> Conditioning:
    return Conditioning(tuple(replace(cond, beside=beside) for cond in conditioning.conds))


def _cropped(ctx: Context, pixels: Image, mask: Mask, vae: Vae) -> tuple[Tensor, Tensor]:
    """Picture [B, H, W, 3] and mask [b, 1, H, W] in the picture's size, cut at the edges to whole latent cells."""
    height, width = pixels.pixels.shape[1:3]
    told_of_mask(ctx, mask.values, height, width)
    where = F.interpolate(mask.values[:, None], size=(height, width), mode="bilinear", align_corners=False)
    factor = vae.family.latent.factor
    top, left = height % factor // 2, width % factor // 2
    rows, columns = (slice(start, start + side // factor * factor) for start, side in ((top, height), (left, width)))
    return pixels.pixels[:, rows, columns, :3], where[..., rows, columns]


def _greyed(picture: Tensor, where: Tensor) -> Tensor:
    """The picture [B, H, W, 3], grey where the mask [b, 1, H, W] is 1."""
    keep = 1 - where.movedim(1, -1)
    return (picture - GREY) * keep + GREY
