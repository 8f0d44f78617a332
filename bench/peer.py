"""diffusers with the same weights: what our networks are measured against."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from models.checkpoint import load_part, read_header
from models.config import UNetConfig, VaeConfig, clip_config
from models.tokenizer import merges, vocabulary
from tests.random_checkpoint import CACHE

TEXT = "cond_stage_model.transformer."


def diffusers_folder(checkpoint: Path) -> Path:
    """The same weights in diffusers' own layout, as its users have them: a folder of fp16 safetensors, made once."""
    folder = CACHE / checkpoint.stem
    if not (folder / "tokenizer").exists():  # which is made last
        _convert(checkpoint, folder)
    return folder


def load_unet(folder: Path) -> Any:
    """diffusers' U-Net in fp32."""
    from diffusers import UNet2DConditionModel

    return _grouped(UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32).eval())


def load_vae(folder: Path) -> Any:
    """diffusers' autoencoder in fp32."""
    from diffusers import AutoencoderKL

    return _grouped(AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval())


def load_text(folder: Path) -> Any:
    """transformers' text encoder in fp32."""
    from transformers import CLIPTextModel

    return CLIPTextModel.from_pretrained(folder / "text", dtype=torch.float32).eval()


def draw(folder: Path, prompts: tuple[str, str], side: int, steps: int, cfg: float, picture: Path) -> None:
    """Text to picture with dpmpp_2m and Karras' sigmas: the pipeline's components, called in the pipeline's order.

    prompts: positive, negative. side: of the picture, in pixels.
    """
    from diffusers import DPMSolverMultistepScheduler
    from PIL import Image
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    text, unet, vae = load_text(folder), load_unet(folder), load_vae(folder)
    scheduler = DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", use_karras_sigmas=True
    )
    with torch.inference_mode():
        tokens = tokenizer(list(prompts[::-1]), padding="max_length", max_length=77, return_tensors="pt").input_ids
        context = text(tokens).last_hidden_state
        scheduler.set_timesteps(steps)
        x = torch.randn(1, 4, side // 8, side // 8) * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            both = scheduler.scale_model_input(torch.cat([x, x]), t)
            negative, positive = unet(both, t, encoder_hidden_states=context).sample.chunk(2)
            x = scheduler.step(negative + cfg * (positive - negative), t, x).prev_sample
        pixels = vae.decode(x / 0.18215).sample[0].add(1).mul(127.5).clamp(0, 255).byte()
    Image.fromarray(pixels.movedim(0, -1).numpy()).save(picture)


def _convert(checkpoint: Path, folder: Path) -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    state, weights = load_file(checkpoint), read_header(checkpoint)
    ours: dict[str, Any] = {
        part: load_part(weights, part, dtype=None, device=torch.device("cpu")) for part in ("model", "vae")
    }
    for name, cls, config, convert in (
        ("unet", UNet2DConditionModel, unet_config(ours["model"].config), convert_ldm_unet_checkpoint),
        ("vae", AutoencoderKL, _vae(ours["vae"].config), convert_ldm_vae_checkpoint),
    ):
        with torch.device("meta"):
            network = cls(**config)
        network.load_state_dict(convert(dict(state), dict(network.config)), assign=True)
        network.half().save_pretrained(folder / name)
    tensors = {k.removeprefix(TEXT): v for k, v in state.items() if k.startswith(TEXT)}
    own = clip_config({k: tuple(v.shape) for k, v in tensors.items()})
    config = CLIPTextConfig(
        hidden_size=own.width,
        intermediate_size=own.intermediate,
        num_hidden_layers=own.layers,
        num_attention_heads=own.heads,
        hidden_act="quick_gelu",
    )
    with torch.device("meta"):
        wanted = CLIPTextModel(config).state_dict().keys()
    tensors = {k if k in wanted else k.removeprefix("text_model."): v for k, v in tensors.items()}
    (folder / "text").mkdir(parents=True, exist_ok=True)
    save_file({k: v for k, v in tensors.items() if k in wanted}, folder / "text/model.safetensors", {"format": "pt"})
    (folder / "text/config.json").write_text(json.dumps(config.to_dict(), default=str))
    CLIPTokenizer(vocab=vocabulary(), merges=merges()).save_pretrained(folder / "tokenizer")


def unet_config(own: UNetConfig) -> dict[str, Any]:
    """A U-Net of ours in the words of diffusers."""
    more: dict[str, Any] = {}
    if own.vector_dim:
        heads = [own.heads(mult * own.model_channels) for mult in own.channel_mult]
        depths = [depth or 1 for depth in own.transformer_depth]
        more = {
            "attention_head_dim": heads,
            "use_linear_projection": own.linear,
            "transformer_layers_per_block": depths,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": own.vector_dim,
        }
    return more | {
        "sample_size": 64,
        "cross_attention_dim": own.context_dim,
        "block_out_channels": [mult * own.model_channels for mult in own.channel_mult],
        "layers_per_block": own.num_res_blocks,
        "down_block_types": ["CrossAttnDownBlock2D" if d else "DownBlock2D" for d in own.transformer_depth],
        "up_block_types": ["CrossAttnUpBlock2D" if d else "UpBlock2D" for d in reversed(own.transformer_depth)],
        "norm_num_groups": min(32, own.model_channels // 4),
    }


def _vae(own: VaeConfig) -> dict[str, object]:
    levels = len(own.ch_mult)
    return {
        "block_out_channels": [mult * own.ch for mult in own.ch_mult],
        "layers_per_block": own.num_res_blocks,
        "latent_channels": own.z_channels,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "norm_num_groups": min(32, own.ch // 4),
    }


def _grouped(network: Any) -> Any:
    """Norms as ours: diffusers has one number of groups for all widths, the embedded model one for each."""
    for module in network.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.num_groups = min(32, module.num_channels // 4)
    return network
