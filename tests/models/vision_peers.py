"""CLIP's vision tower by transformers, given our weights."""

from __future__ import annotations

from typing import Any

import torch

from models.vision import VisionModel


def transformers_vision(ours: VisionModel) -> Any:
    """transformers' CLIPVisionModelWithProjection."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    c = ours.config
    config = CLIPVisionConfig(
        hidden_size=c.width, intermediate_size=c.intermediate, projection_dim=c.projection, num_hidden_layers=c.layers,
        num_attention_heads=c.heads, image_size=c.image_size, patch_size=c.patch, hidden_act=c.activation,
    )  # fmt: skip
    with torch.device("meta"):
        theirs = CLIPVisionModelWithProjection(config)
    theirs.load_state_dict(ours.state_dict(), assign=True)
    for module in theirs.modules():
        if hasattr(module, "position_ids"):  # computed, not loaded
            module.position_ids = torch.arange(c.grid**2 + 1)[None]
    return theirs.eval()
