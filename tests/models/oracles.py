"""The same networks by transformers and diffusers, given our weights (shared, not copied)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from models.clip import TextModel
from models.unet import UNet
from models.vae import AutoencoderKL


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """‖a - b‖ / ‖b‖."""
    assert ours.shape == theirs.shape
    a, b = ours.double(), theirs.double()
    return float((a - b).norm() / b.norm())


def randomized(module: nn.Module, seed: int = 0) -> nn.Module:
    """`module`, built on the meta device, with random weights of plausible sizes. Norms and biases too."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        x = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim > 1:
            x *= 1 / math.sqrt(tensor[0].numel())
        elif name.endswith("weight"):  # of a norm
            x = 1 + 0.1 * x
        else:
            x *= 0.1
        state[name] = x
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def transformers_text(ours: TextModel) -> Any:
    """transformers' CLIPTextModel."""
    from transformers import CLIPTextConfig, CLIPTextModel

    c = ours.config
    config = CLIPTextConfig(
        vocab_size=c.vocab,
        hidden_size=c.width,
        intermediate_size=c.intermediate,
        num_hidden_layers=c.layers,
        num_attention_heads=c.heads,
        max_position_embeddings=c.positions,
        hidden_act="quick_gelu",
        bos_token_id=c.vocab - 2,
        eos_token_id=c.vocab - 1,
    )
    with torch.device("meta"):
        theirs = CLIPTextModel(config)
    top = "text_model." if any(name.startswith("text_model.") for name in theirs.state_dict()) else ""
    state = {top + name.removeprefix("text_model."): tensor for name, tensor in ours.state_dict().items()}
    theirs.load_state_dict(state, assign=True)
    for module in theirs.modules():
        if hasattr(module, "position_ids"):  # computed, not loaded
            module.position_ids = torch.arange(c.positions)[None]
    return theirs.eval()


SINUSOIDS = 256
"""Channels of the sinusoids in which SDXL's vector has each number of a picture's size."""


def diffusers_unet(ours: UNet, pooled: int = 0) -> Any:
    """diffusers' UNet2DConditionModel. pooled: how much of the vector is the text's; the rest are sinusoids of numbers, or
    nothing, as of unCLIP's, whose vector is a class to diffusers."""
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    c = ours.config
    with_vector: dict[str, Any] = {}
    if c.vector_dim:
        numbers = (c.vector_dim - pooled) // SINUSOIDS
        assert pooled + numbers * SINUSOIDS == c.vector_dim
        kind: dict[str, Any] = {"addition_embed_type": "text_time", "addition_time_embed_dim": SINUSOIDS}
        with_vector = kind if numbers else {"class_embed_type": "projection"}
        with_vector["projection_class_embeddings_input_dim"] = c.vector_dim
    with torch.device("meta"):
        theirs = UNet2DConditionModel(
            in_channels=c.in_channels,
            out_channels=c.out_channels,
            block_out_channels=tuple(c.model_channels * mult for mult in c.channel_mult),
            down_block_types=tuple("CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in c.transformer_depth),
            up_block_types=tuple("CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in c.transformer_depth[::-1]),
            layers_per_block=c.num_res_blocks,
            cross_attention_dim=c.context_dim,
            norm_num_groups=min(32, c.model_channels // 4),
            attention_head_dim=tuple(c.heads(c.model_channels * mult) for mult in c.channel_mult),  # their number
            transformer_layers_per_block=tuple(depth or c.middle_depth for depth in c.transformer_depth),
            use_linear_projection=c.linear,
            **with_vector,
        )
    state = {f"model.diffusion_model.{name}": tensor for name, tensor in ours.state_dict().items()}
    theirs.load_state_dict(convert_ldm_unet_checkpoint(state, theirs.config), assign=True)
    return same_groups(theirs).eval()


def diffusers_vae(ours: AutoencoderKL) -> Any:
    """diffusers' AutoencoderKL."""
    from diffusers import AutoencoderKL as DiffusersVae
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    c = ours.config
    levels = len(c.ch_mult)
    with torch.device("meta"):
        theirs = DiffusersVae(
            in_channels=c.in_channels,
            out_channels=c.in_channels,
            block_out_channels=tuple(c.ch * mult for mult in c.ch_mult),
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            layers_per_block=c.num_res_blocks,
            latent_channels=c.z_channels,
            norm_num_groups=min(32, c.ch // 4),
        )
    state = {f"first_stage_model.{name}": tensor for name, tensor in ours.state_dict().items()}
    theirs.load_state_dict(convert_ldm_vae_checkpoint(state, theirs.config), assign=True)
    return same_groups(theirs).eval()


def same_groups(theirs: nn.Module) -> nn.Module:
    """diffusers has one number of groups for all widths; ours are the same from 128 channels on."""
    for module in theirs.modules():
        if isinstance(module, nn.GroupNorm):
            module.num_groups = min(32, module.num_channels // 4)
    return theirs
