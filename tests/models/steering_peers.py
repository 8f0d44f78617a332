"""Networks that steer a U-Net, by diffusers, given the weights of narrow ones of ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.config import UNetConfig
from models.controlnet import ControlNet
from tests.models.oracles import SINUSOIDS, randomized, same_groups

HINT_WIDTHS = (3, 16, 16, 32, 32, 96, 96, 256)  # and then the U-Net's width


def narrow_controlnet(config: UNetConfig, seed: int = 0) -> ControlNet:
    """A ControlNet with random weights, its ways out, too."""
    with torch.device("meta"):
        network: nn.Module = ControlNet(config, (*HINT_WIDTHS, config.model_channels))
    return randomized(network, seed)  # type: ignore[return-value]


def diffusers_controlnet(state: dict[str, Tensor], config: UNetConfig, pooled: bool = False) -> Any:
    """diffusers' ControlNetModel. state: by the published names."""
    from diffusers import ControlNetModel
    from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint

    with torch.device("meta"):
        theirs = ControlNetModel(
            block_out_channels=tuple(config.model_channels * mult for mult in config.channel_mult),
            down_block_types=tuple(
                "CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in config.transformer_depth
            ),
            layers_per_block=config.num_res_blocks,
            cross_attention_dim=config.context_dim,
            norm_num_groups=min(32, config.model_channels // 4),
            attention_head_dim=tuple(config.heads(config.model_channels * mult) for mult in config.channel_mult),
            transformer_layers_per_block=tuple(depth or config.middle_depth for depth in config.transformer_depth),
            use_linear_projection=config.linear,
            addition_embed_type="text_time" if config.vector_dim else None,
            addition_time_embed_dim=SINUSOIDS if config.vector_dim else None,
            projection_class_embeddings_input_dim=config.vector_dim or None,
            global_pool_conditions=pooled,
        )
    converted = convert_controlnet_checkpoint(dict(state), theirs.config)
    for ours, number in (("label_emb.0.0", 1), ("label_emb.0.2", 2)):
        for end in ("weight", "bias") if config.vector_dim else ():
            converted[f"add_embedding.linear_{number}.{end}"] = state[f"{ours}.{end}"]
    theirs.load_state_dict(converted, assign=True)
    return same_groups(theirs).eval()
