"""A whole Stable Diffusion v1 checkpoint of about a megabyte, random but always the same, to run nodes with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.clip import TextModel
from models.config import ClipConfig, UNetConfig, VaeConfig
from models.unet import UNet
from models.vae import AutoencoderKL

Network = TypeVar("Network", bound=nn.Module)

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


def tiny_unet(seed: int = 0) -> UNet:
    """The U-Net alone."""
    return _random(lambda: UNet(UNET), seed)


def tiny_clip(seed: int = 0) -> TextModel:
    """The text encoder alone."""
    return _random(lambda: TextModel(CLIP), seed)


def tiny_vae(seed: int = 0) -> AutoencoderKL:
    """The autoencoder alone."""
    return _random(lambda: AutoencoderKL(VAE), seed)


def write_tiny_checkpoint(path: Path, seed: int = 0, dtype: torch.dtype = torch.float16) -> Path:
    """Write the three under the names that CompVis gave them. Another seed, another content of the same size."""
    tensors: dict[str, Tensor] = {}
    for prefix, network in (
        ("model.diffusion_model.", tiny_unet(seed)),
        ("cond_stage_model.transformer.", tiny_clip(seed)),
        ("first_stage_model.", tiny_vae(seed)),
    ):
        tensors |= {prefix + name: tensor.to(dtype) for name, tensor in network.state_dict().items()}
    tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    tensors["alphas_cumprod"] = torch.linspace(1, 0, 1000)  # one of the buffers that real files have besides
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"format": "pt"})
    return path


def _random(build: Callable[[], Network], seed: int) -> Network:
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
