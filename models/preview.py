"""A latent as a small picture, at the price of one product of matrices."""

from __future__ import annotations

import json
from collections.abc import Mapping

import PIL.Image
import torch
from torch import Tensor

from models.family import LatentSpace

METADATA = "latent_rgb"
"""Under this name a checkpoint may carry the matrix of its own autoencoder: JSON, five rows of three numbers."""


def latent_rgb(metadata: Mapping[str, str], space: LatentSpace) -> Tensor:
    """The matrix for a checkpoint with this metadata, [5, 3]: its own, or its family's if it has none that can be read."""
    usual = torch.tensor(space.rgb)
    try:
        own = torch.tensor(json.loads(metadata[METADATA]), dtype=torch.float32)
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError):
        return usual
    return own if own.shape == usual.shape and bool(own.isfinite().all()) else usual


def fit_latent_rgb(latents: Tensor, pictures: Tensor) -> Tensor:
    """The matrix that fits an autoencoder best, by least squares over its places. Gives [5, 3].

    latents: [N, 4, H, W] as samplers see them. pictures: [N, 3, H * f, W * f] of -1..1, what they stand for.
    """
    small = torch.nn.functional.adaptive_avg_pool2d(pictures, (latents.shape[2], latents.shape[3]))
    places = latents.movedim(1, -1).reshape(-1, latents.shape[1]).double()
    wanted = small.movedim(1, -1).reshape(-1, 3).double()
    known = torch.cat([places, places.new_ones(len(places), 1)], dim=1)
    return torch.linalg.lstsq(known, wanted).solution.float()


def latent_preview(x: Tensor, rgb: Tensor) -> PIL.Image.Image:
    """The first latent of a batch, a pixel for each of its places. x: [B, 4, H, W] as samplers see it; rgb: [5, 3]."""
    with torch.inference_mode():
        channels = x[0].movedim(0, -1).float().cpu()
        pixels = ((channels @ rgb[:-1] + rgb[-1] + 1) * 127.5).clamp(0, 255).nan_to_num(0.0).byte()
    return PIL.Image.fromarray(pixels.numpy())
