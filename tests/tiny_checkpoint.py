"""A whole Stable Diffusion v1 checkpoint of about a megabyte, random but always the same, to run nodes with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.checkpoint import Part
from models.clip import TextModel
from models.config import ClipConfig, UNetConfig, VaeConfig
from models.tiny_decoder import TinyDecoder
from models.unet import UNet
from models.vae import AutoencoderKL

Network = TypeVar("Network", bound=nn.Module)
Format = Literal["safetensors", "zip", "legacy"]

WIDTH = 8  # of the text vectors; SD v1 has 768
UNET = UNetConfig(
    model_channels=16,
    channel_mult=(1, 2),
    num_res_blocks=1,
    transformer_depth=(1, 0),
    middle_depth=1,
    context_dim=WIDTH,
)
VAE = VaeConfig(ch=8, ch_mult=(1, 1, 1, 1), num_res_blocks=1)
CLIP = ClipConfig(width=WIDTH, layers=1, intermediate=16)

PREFIXES: Mapping[Part, str] = {
    "model": "model.diffusion_model.",
    "clip": "cond_stage_model.transformer.",
    "vae": "first_stage_model.",
}


def tiny_unet(seed: int = 0) -> UNet:
    """The U-Net alone."""
    return randomly(lambda: UNet(UNET), seed)


def tiny_clip(seed: int = 0, layers: int = CLIP.layers) -> TextModel:
    """The text encoder alone."""
    return randomly(lambda: TextModel(replace(CLIP, layers=layers)), seed)


def tiny_vae(seed: int = 0) -> AutoencoderKL:
    """The autoencoder alone."""
    return randomly(lambda: AutoencoderKL(VAE), seed)


def tiny_networks(seed: int = 0) -> dict[Part, nn.Module]:
    """The three of one checkpoint."""
    return {"model": tiny_unet(seed), "clip": tiny_clip(seed), "vae": tiny_vae(seed)}


def tiny_state(networks: Mapping[Part, nn.Module], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The state dict of a checkpoint of `networks`, named and filled up as in the published file."""
    state = {"alphas_cumprod": torch.linspace(1, 0, 1000)}  # one of the buffers that real files have besides
    for part, network in networks.items():
        state |= {PREFIXES[part] + name: tensor.to(dtype) for name, tensor in network.state_dict().items()}
    state["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(CLIP.positions)[None]
    return state


def save(state: Mapping[str, Tensor], path: Path, file_format: Format = "safetensors") -> Path:
    """Write `state` as a program of that format would."""
    if file_format == "safetensors":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path, metadata={"format": "pt"})
    else:
        content = {"state_dict": dict(state), "global_step": 470000}
        torch.save(content, path, _use_new_zipfile_serialization=file_format == "zip")
    return path


def write_tiny_checkpoint(path: Path, seed: int = 0, dtype: torch.dtype = torch.float16) -> Path:
    """Write the whole file. Another seed, another content of the same size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(tiny_state(tiny_networks(seed), dtype), path)


def write_tiny_decoder(path: Path) -> Path:
    """Write a decoder of TAESD, an eighth as wide, in the format that the file's ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = randomly(lambda: TinyDecoder(4, 8), seed=9).state_dict()
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def randomly(build: Callable[[], Network], seed: int) -> Network:
    """Weights of a size that keeps activations near 1, so that every part of the network shows in the result."""
    with torch.device("meta"):
        network = build()
    network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        spread = 0.02 if name.endswith("bias") else 0.5 if weight.ndim == 1 else weight[0].numel() ** -0.5
        around = 1.0 if weight.ndim == 1 and not name.endswith("bias") else 0.0
        with torch.no_grad():
            weight.copy_((torch.randn(weight.shape, generator=generator) * spread + around).half())
    return network.eval().requires_grad_(False)
