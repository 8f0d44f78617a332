"""A latent as a small picture, at the price of one product of matrices."""

from __future__ import annotations

import PIL.Image
import torch
from torch import Tensor

# https://discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204, fitted to SD v1's autoencoder:
# what each of the four channels adds to red, green and blue, of -1..1
LATENT_RGB = (
    (0.298, 0.207, 0.208),
    (0.187, 0.286, 0.173),
    (-0.158, 0.189, 0.264),
    (-0.184, -0.271, -0.473),
)


def latent_preview(x: Tensor) -> PIL.Image.Image:
    """The first latent of a batch, a pixel for each of its places. x: [B, 4, H, W] as samplers see it."""
    with torch.inference_mode():
        channels = x[0].movedim(0, -1).float().cpu()
        rgb = channels @ torch.tensor(LATENT_RGB)
        pixels = ((rgb + 1) * 127.5).clamp(0, 255).nan_to_num(0.0).byte()
    return PIL.Image.fromarray(pixels.numpy())
