"""A latent as a small picture, at the price of one product of matrices."""

from __future__ import annotations

import json
from collections.abc import Mapping

import PIL.Image
import torch
from torch import Tensor

METADATA = "latent_rgb"
"""Under this name a checkpoint may carry the matrix of its own autoencoder: JSON, five rows of three numbers."""

# https://discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204, fitted to SD v1's autoencoder:
# what each of the four channels adds to red, green and blue, of -1..1; the last row is the constant
SD_V1 = torch.tensor(
    (
        (0.298, 0.207, 0.208),
        (0.187, 0.286, 0.173),
        (-0.158, 0.189, 0.264),
        (-0.184, -0.271, -0.473),
        (0.0, 0.0, 0.0),
    )
)


def latent_rgb(metadata: Mapping[str, str]) -> Tensor:
    """The matrix for a checkpoint with this metadata, [5, 3]: its own, or SD v1's if it has none that can be read."""
    try:
        own = torch.tensor(json.loads(metadata[METADATA]), dtype=torch.float32)
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError):
        return SD_V1
    return own if own.shape == SD_V1.shape and bool(own.isfinite().all()) else SD_V1


def fit_latent_rgb(latents: Tensor, pictures: Tensor) -> Tensor:
    """The matrix that fits an autoencoder best, by least squares over its places. Gives [5, 3].

    latents: [N, 4, H, W] as samplers see them. pictures: [N, 3, H * f, W * f] of -1..1, what they stand for.
    """
    small = torch.nn.functional.adaptive_avg_pool2d(pictures, (latents.shape[2], latents.shape[3]))
    places = latents.movedim(1, -1).reshape(-1, latents.shape[1]).double()
    wanted = small.movedim(1, -1).reshape(-1, 3).double()
    known = torch.cat([places, places.new_ones(len(places), 1)], dim=1)
    return torch.linalg.lstsq(known, wanted).solution.float()


def latent_preview(x: Tensor, rgb: Tensor = SD_V1) -> PIL.Image.Image:
    """The first latent of a batch, a pixel for each of its places. x: [B, 4, H, W] as samplers see it; rgb: [5, 3]."""
    with torch.inference_mode():
        channels = x[0].movedim(0, -1).float().cpu()
        pixels = ((channels @ rgb[:-1] + rgb[-1] + 1) * 127.5).clamp(0, 255).nan_to_num(0.0).byte()
    return PIL.Image.fromarray(pixels.numpy())
