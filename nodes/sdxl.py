"""Nodes that encode prompts for SDXL and its refiner, with what is said of the picture besides, and pictures to draw."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from graph.sockets import Float, Int, Text
from graph.spec import ALIKE, Tip, node
from models.micro_conditioning import MicroConditioning
from models.revision import PictureVector
from models.types import Clip, ClipVisionOutput, Conditioning
from nodes.services import Context
from nodes.text_encoding import Prompt, embedding_files, encoded

CLIP = Tip("The text encoder of the checkpoint that will sample.")
ENCODED = Tip("The prompt as the U-Net reads it.")
LARGEST = 16384


@node(
    "CLIPTextEncodeSDXL", category="advanced/conditioning", freshness=embedding_files("text_g", "text_l"), items=ALIKE
)
def clip_text_encode_sdxl(
    ctx: Context,
    *,
    clip: Annotated[Clip, CLIP],
    width: Annotated[
        int, Int(0, LARGEST, tooltip="Width of the picture that a training picture of this kind was made of.")
    ] = 1024,
    height: Annotated[
        int, Int(0, LARGEST, tooltip="Height of the picture that a training picture of this kind was made of.")
    ] = 1024,
    crop_w: Annotated[int, Int(0, LARGEST, tooltip="Pixels that were cut off at its left; 0 keeps things whole.")] = 0,
    crop_h: Annotated[int, Int(0, LARGEST, tooltip="Pixels that were cut off at its top; 0 keeps things whole.")] = 0,
    target_width: Annotated[
        int, Int(0, LARGEST, tooltip="The width that it was scaled to: that of the picture.")
    ] = 1024,
    target_height: Annotated[
        int, Int(0, LARGEST, tooltip="The height that it was scaled to: that of the picture.")
    ] = 1024,
    text_g: Annotated[
        str, Text(multiline=True, dynamic_prompts=True, tooltip="What the larger tower, ViT-bigG, reads.")
    ],
    text_l: Annotated[str, Text(multiline=True, dynamic_prompts=True, tooltip="What the smaller tower, ViT-L, reads.")],
) -> Annotated[Conditioning, ENCODED]:
    """Encode a prompt for SDXL: a text for each tower, and the sizes that the network was told while it learned."""
    cond = encoded(ctx, clip, Prompt(text_g, "text_g"), {"clip": Prompt(text_l, "text_l")})
    said = MicroConditioning(width, height, crop_w, crop_h, target_width, target_height)
    return Conditioning((replace(cond, said=said),))


@node("CLIPTextEncodeSDXLRefiner", category="advanced/conditioning", freshness=embedding_files("text"))
def clip_text_encode_sdxl_refiner(
    ctx: Context,
    *,
    ascore: Annotated[
        float, Float(0.0, 1000.0, step=0.01, tooltip="How beautiful the picture should be: 6 to draw, 2.5 to avoid.")
    ] = 6.0,
    width: Annotated[int, Int(0, LARGEST, tooltip="Width of the picture.")] = 1024,
    height: Annotated[int, Int(0, LARGEST, tooltip="Height of the picture.")] = 1024,
    text: Annotated[str, Text(multiline=True, dynamic_prompts=True, tooltip="The prompt.")],
    clip: Annotated[Clip, CLIP],
) -> Annotated[Conditioning, ENCODED]:
    """Encode a prompt for SDXL's refiner, which finishes the last steps, with the score that it is to aim at."""
    cond = encoded(ctx, clip, Prompt(text, "text"))
    return Conditioning((replace(cond, said=MicroConditioning(width, height, score=ascore)),))


@node("unCLIPConditioning", category="conditioning")
def unclip_conditioning(
    ctx: Context,
    *,
    conditioning: Annotated[Conditioning, Tip("The prompt.")],
    clip_vision_output: Annotated[
        ClipVisionOutput, Tip("What CLIP sees in a picture: the ViT-bigG of SDXL, or an unCLIP file's own.")
    ],
    strength: Annotated[float, Float(-10.0, 10.0, step=0.01, tooltip="How much the picture counts.")] = 1.0,
    noise_augmentation: Annotated[
        float,
        Float(0.0, 1.0, step=0.01, tooltip="How far the picture is lost in noise, which frees the drawing from it."),
    ] = 0.0,
) -> Annotated[Conditioning, Tip("The prompt, with the picture.")]:
    """Have a model draw what a picture shows, beside a prompt: SDXL ("revision") or Stable Diffusion 2.1 unCLIP.

    Several pictures can follow each other.
    """
    if not strength:
        return conditioning
    picture = PictureVector(clip_vision_output.seen.vector, strength, noise_augmentation)
    return Conditioning(tuple(replace(cond, pictures=(*cond.pictures, picture)) for cond in conditioning.conds))
