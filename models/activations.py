"""How much memory networks need besides their weights, by the size of what they work on.

Upper bounds in bytes, fitted to what torch's allocator was asked for on the CPU (tests/models/test_activations.py
holds them to it). Attention is counted as computed piece by piece, which torch does everywhere but in rare cases.
"""

from __future__ import annotations

import torch

from models.config import UNetConfig, VaeConfig

UNET_MAPS = 28  # feature maps of `model_channels` at full size, skips included: measured 26.2
CONTROL_MAPS = 10  # what a control network sees of its picture, and says: measured 9.2, and 1.0 for each more
DECODE_MAPS = 7.5  # of `ch` at full size: measured 7.0, with packed weights 5.0
ENCODE_MAPS = 5.5  # measured 5.2, with packed weights 3.0


def unet_bytes(config: UNetConfig, batch: int, height: int, width: int, dtype: torch.dtype, controls: int = 0) -> int:
    """For one call with `batch` latents of height x width cells, cond and uncond counted each, and some controls."""
    return int((UNET_MAPS + CONTROL_MAPS * controls) * batch * height * width * config.model_channels * dtype.itemsize)


def decode_bytes(config: VaeConfig, height: int, width: int, dtype: torch.dtype) -> int:
    """For decoding one latent of height x width cells."""
    return int(DECODE_MAPS * height * width * config.factor**2 * config.ch * dtype.itemsize)


def encode_bytes(config: VaeConfig, height: int, width: int, dtype: torch.dtype) -> int:
    """For encoding one picture of height x width pixels."""
    return int(ENCODE_MAPS * height * width * config.ch * dtype.itemsize)
