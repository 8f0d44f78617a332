"""The latents of the training scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.denoiser import LATENT_SCALE
from models.training.drawing import pictures
from models.training.examples import Tensors, in_chunks
from models.training.loop import mixed_precision, place_of
from models.training.vae import halved, to_tensor
from models.vae import AutoencoderKL


def encode_scenes(vae: AutoencoderKL, count: int, seed: int, size: int, folder: Path) -> Tensors:
    """Scenes 0 to `count`, half precision, of unit deviation. "whole": [N, 4, size / 8, size / 8]; "half": the same of
    the pictures at half the size.
    """

    def encoded(first: int, count: int) -> Tensors:
        drawn = pictures(seed, first, count, size=size)
        return {"whole": _encoded(vae, drawn), "half": _encoded(vae, halved(drawn))}

    return in_chunks("latents", count, folder, encoded)


@torch.no_grad()
def _encoded(vae: AutoencoderKL, drawn: NDArray[np.uint8]) -> Tensor:
    x = to_tensor(drawn).to(place_of(vae))
    with mixed_precision(x.device):
        moments = vae.encode(x).float().cpu()
    return (LATENT_SCALE * moments[:, : vae.config.embed_dim]).half().contiguous()
