"""A whole Stable Diffusion v1 checkpoint, so narrow that it is made in a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.checkpoint import Part
from models.clip import TextModel
from models.config import ClipConfig, UNetConfig, VaeConfig
from models.unet import UNet
from models.vae import AutoencoderKL

Format = Literal["safetensors", "zip", "legacy"]

PREFIXES: dict[Part, str] = {
    "model": "model.diffusion_model.",
    "clip": "cond_stage_model.transformer.",
    "vae": "first_stage_model.",
}


def tiny_networks() -> dict[Part, nn.Module]:
    """U-Net, text encoder and autoencoder with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {
            "model": UNet(UNetConfig(4, 4, 16, (1, 2), 1, (1, 0), 1, 64)),
            "clip": TextModel(ClipConfig(width=64, layers=2, intermediate=96, vocab=99, positions=7)),
            "vae": AutoencoderKL(VaeConfig(ch=8, ch_mult=(1, 2), num_res_blocks=1)),
        }


def tiny_state(networks: dict[Part, nn.Module], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The state dict of a checkpoint of `networks`, named and filled up as in the published file."""
    state = {"betas": torch.linspace(0.00085, 0.012, 1000)}
    for part, network in networks.items():
        state |= {PREFIXES[part] + name: tensor.to(dtype) for name, tensor in network.state_dict().items()}
    state["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(7)[None]
    return state


def save(state: dict[str, Tensor], path: Path, file_format: Format) -> Path:
    """Write `state` to `path`."""
    if file_format == "safetensors":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path, metadata={"format": "pt"})
    else:
        content = {"state_dict": state, "global_step": 470000}
        torch.save(content, path, _use_new_zipfile_serialization=file_format == "zip")
    return path
