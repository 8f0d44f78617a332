"""Training the autoencoder, and folding the latent scale into it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.config import VaeConfig
from models.denoiser import LATENT_SCALE
from models.training.loop import SHARDS, Loss, Pace, Schedule, Training, stream
from models.training.scenes import Split, pictures
from models.training.sheets import save_sheet
from models.vae import AutoencoderKL

KL_WEIGHT = 1e-6  # of the divergence summed over a latent
COARSE = 8  # pixels a side of the averages whose error is counted again: hue lives there


def train_vae(config: VaeConfig, schedule: Schedule, pace: Pace, seed: int, folder: Path) -> Training:
    """Train, or go on training, an autoencoder on drawn scenes."""
    torch.manual_seed(seed)
    vae = AutoencoderKL(config)
    training = Training(vae, schedule, folder / "vae.pt")
    training.resume()
    held_out = to_tensor(pictures(seed, 0, 64, Split.HELD_OUT))

    def review() -> None:
        rebuilt = reconstruct(vae, held_out)
        print(f"vae {training.step}/{schedule.iterations}: {psnr(rebuilt, held_out):.2f} dB held out", flush=True)
        pairs = torch.stack([held_out, rebuilt], 1)[:32].flatten(0, 1)
        save_sheet(folder / "vae.png", to_pixels(pairs), columns=16)

    training.run(vae_loss(vae, schedule.batch, seed), pace, review)
    return training


def vae_loss(vae: AutoencoderKL, batch: int, seed: int) -> Loss:
    """Squared and absolute error, absolute error of 8×8 averages, and the divergence from a unit normal."""

    count = batch // SHARDS

    def loss(step: int, shard: int) -> Tensor:
        x = to_tensor(pictures(seed, step * batch + shard * count, count))
        with torch.autocast("cpu", torch.bfloat16):
            mean, logvar = vae.encode(x).float().chunk(2, dim=1)
            logvar = logvar.clamp(-20, 10)
            noise = torch.randn(mean.shape, generator=stream(seed, step, shard))
            y = vae.decode(mean + (0.5 * logvar).exp() * noise).float()
        divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum((1, 2, 3)).mean()
        coarse = F.l1_loss(F.avg_pool2d(y, COARSE), F.avg_pool2d(x, COARSE))
        return F.mse_loss(y, x) + 0.3 * F.l1_loss(y, x) + 0.3 * coarse + KL_WEIGHT * divergence

    return loss


@torch.no_grad()
def fold_scale(vae: AutoencoderKL, x: Tensor) -> float:
    """Rescale the latents of `vae` in place so that LATENT_SCALE × the mean has unit deviation on x; returns the factor.

    Decoding an encoding gives what it gave before: the factor goes into the last layer of the encoder and comes
    out of the first of the decoder.
    """
    mean = vae.encode(x)[:, : vae.config.embed_dim]
    factor = 1 / (LATENT_SCALE * float(mean.std()))
    rows = slice(0, vae.config.embed_dim)
    vae.quant_conv.weight[rows] *= factor
    vae.quant_conv.bias[rows] *= factor  # type: ignore[index]
    vae.quant_conv.bias[vae.config.embed_dim :] += 2 * np.log(factor)  # type: ignore[index]
    vae.post_quant_conv.weight /= factor
    return factor


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, x: Tensor) -> Tensor:
    """Decode the mean encoding. [B, 3, H, W] in -1..1, both."""
    return vae.decode(vae.encode(x)[:, : vae.config.embed_dim]).clamp(-1, 1)


def psnr(rebuilt: Tensor, x: Tensor) -> float:
    """Peak signal to noise ratio of pictures in -1..1, in dB."""
    return float(-10 * torch.log10(F.mse_loss(rebuilt, x) / 4))


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """[B, H, W, 3] 0..255 -> [B, 3, H, W] in -1..1."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1


def to_pixels(x: Tensor) -> NDArray[np.uint8]:
    """[B, 3, H, W] in -1..1 -> [B, H, W, 3] 0..255."""
    y: NDArray[np.uint8] = ((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return y
