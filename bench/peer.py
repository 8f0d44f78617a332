"""diffusers with the same weights: what our networks are measured against."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

CONFIGS: dict[str, dict[str, object]] = {
    "unet": {"sample_size": 64, "cross_attention_dim": 768},
    "vae": {
        "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2,
        "latent_channels": 4,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
    },
}


def diffusers_folder(checkpoint: Path) -> Path:
    """The same weights in diffusers' own layout, as its users have them: a folder of fp16 safetensors, made once."""
    folder = checkpoint.with_suffix("")
    if not (folder / "complete").exists():
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
        from transformers import CLIPTextConfig, CLIPTextModel

        state = load_file(checkpoint)
        for name, cls, convert in (
            ("unet", UNet2DConditionModel, convert_ldm_unet_checkpoint),
            ("vae", AutoencoderKL, convert_ldm_vae_checkpoint),
        ):
            with torch.device("meta"):
                network = cls(**CONFIGS[name])
            network.load_state_dict(convert(dict(state), dict(network.config)), assign=True)
            network.half().save_pretrained(folder / name)
        with torch.device("meta"):
            text = CLIPTextModel(_clip_config(CLIPTextConfig))
        prefix = "cond_stage_model.transformer."
        weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        wanted = text.state_dict().keys()
        own = {k if k in wanted else k.removeprefix("text_model."): v for k, v in weights.items()}
        (folder / "text").mkdir(parents=True, exist_ok=True)
        save_file(
            {k: v for k, v in own.items() if k in wanted}, folder / "text" / "model.safetensors", {"format": "pt"}
        )
        (folder / "text" / "config.json").write_text(json.dumps(text.config.to_dict(), default=str))
        (folder / "complete").touch()
    return folder


def load_unet(folder: Path) -> Any:
    """diffusers' U-Net in fp32."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32).eval()


def load_vae(folder: Path) -> Any:
    """diffusers' autoencoder in fp32."""
    from diffusers import AutoencoderKL

    return AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()


def load_text(folder: Path) -> Any:
    """transformers' text encoder in fp32."""
    from transformers import CLIPTextModel

    return CLIPTextModel.from_pretrained(folder / "text", dtype=torch.float32).eval()


def _clip_config(cls: Any) -> Any:
    return cls(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, hidden_act="quick_gelu"
    )
