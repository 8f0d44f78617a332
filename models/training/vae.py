"""Training the autoencoder, folding the latent scale into it, and finishing its decoder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models import comparison
from models.config import VaeConfig
from models.family import SD1
from models.training.drawing import pictures
from models.training.loop import SHARDS, Lesson, Pace, Schedule, Training, mixed_precision, normal, place_of, type_of
from models.training.replay import Drawn
from models.training.scenes import Split
from models.training.sheets import save_sheet
from models.training.world import SIZE
from models.vae import AutoencoderKL

KL_WEIGHT = 1e-6  # of the divergence summed over a latent
COARSE = 8  # pixels a side of the averages whose error is counted again: hue lives there
SCALED_ON = 64  # training scenes that a latent scale is measured on
QUIET = -6.0  # log variance of the first latents
HOLD = (1.0, 0.02)  # weight of holding latents to colours, in the beginning and at last
HOLD_STEPS = 1000  # over which it falls
ON_THE_WAY = ("conv_in", "nin_shortcut", "downsample.conv", "upsample.conv", "conv1")  # to a normalization
FINISHED_ON = 1_000_000  # the first scene that the decoder is finished on, behind those of the stages before
JITTER = 0.01  # deviation of the noise on latents that it is finished with; their own is 1
AT_ONCE = 8  # pictures that are rebuilt together
VIEW = 64  # pixels a side of a small view


def train_vae(vae: AutoencoderKL, schedule: Schedule, pace: Pace, seed: int, size: int, folder: Path) -> Training:
    """Train, or go on training, an autoencoder on drawn scenes."""
    prepare(vae)
    training = Training(vae, schedule, folder / "vae.pt")
    training.resume()
    review = _reviewer("vae", training, vae, seed, size)
    training.run(vae_lesson(vae, schedule.batch, seed, size), pace, review)
    return training


def finish_decoder(vae: AutoencoderKL, schedule: Schedule, pace: Pace, seed: int, size: int, folder: Path) -> Training:
    """Train, or go on training, the decoder alone: latents stay what they are, and pictures come closer."""
    vae.requires_grad_(False)
    for part in (vae.post_quant_conv, vae.decoder):
        part.requires_grad_(True)
    training = Training(vae, schedule, folder / "decoder.pt")
    training.resume()
    review = _reviewer("decoder", training, vae, seed, size)
    training.run(decoder_lesson(vae, schedule.batch, seed, size), pace, review)
    return training


def _reviewer(name: str, training: Training, vae: AutoencoderKL, seed: int, size: int) -> Callable[[], None]:
    held_out = to_tensor(pictures(seed, 0, 32, Split.HELD_OUT, size))

    def review() -> None:
        rebuilt = reconstruct(vae, held_out)
        print(
            f"{name} {training.step}/{training.schedule.iterations}: {mean_psnr(rebuilt, held_out):.2f} dB held out",
            flush=True,
        )
        pairs = torch.stack([held_out, rebuilt], 1)[:24].flatten(0, 1)
        save_sheet(training.file.with_suffix(".png"), to_pixels(pairs), columns=8, zoom=1)

    return review


@torch.no_grad()
def prepare(vae: AutoencoderKL) -> None:
    """Begin with constants of both signs in each group of channels, blocks that add nothing, and hardly any noise.

    A group of four channels is normalized by its own mean and deviation, which takes the level and the contrast out
    of evenly coloured pictures. Beside constants as large as the signal it does not, and colours are learned early.
    """
    for name, layer in vae.named_modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            if name.endswith("conv2"):
                layer.weight.zero_()
                layer.bias.zero_()
            elif name.endswith(ON_THE_WAY):
                layer.bias += torch.tensor([1.0, -1.0]).repeat(layer.out_channels // 2)
    uncertain = slice(vae.config.embed_dim, None)
    vae.quant_conv.weight[uncertain] = 0
    vae.quant_conv.bias[uncertain] = QUIET  # type: ignore[index]


def vae_lesson(vae: AutoencoderKL, batch: int, seed: int, size: int = SIZE) -> Lesson:
    """Squared and absolute error, absolute error of 8×8 averages, and the divergence from a unit normal.

    Three of the latents are held to the average colours of their cells, firmly at first: where to put colour is else
    found only after long.
    """

    def loss(pixels: Tensor, noise: Tensor, firmness: Tensor) -> Tensor:
        x = to_tensor(pixels)
        with mixed_precision(vae):
            mean, logvar = vae.encode(x.to(type_of(vae))).float().chunk(2, dim=1)
            logvar = logvar.clamp(-20, 10)
            z = mean + (0.5 * logvar).exp() * noise
            y = vae.decode(z.to(type_of(vae))).float()
        divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum((1, 2, 3)).mean()
        averages = F.avg_pool2d(x, COARSE)
        coarse = F.l1_loss(F.avg_pool2d(y, COARSE), averages)
        value = F.mse_loss(y, x) + 0.3 * F.l1_loss(y, x) + 0.3 * coarse + KL_WEIGHT * divergence
        return value + firmness * F.mse_loss(mean[:, :3], F.avg_pool2d(x, vae.config.factor))

    return Lesson(partial(_held_scenes, seed, 0, batch, size, vae.config), loss)


def decoder_lesson(vae: AutoencoderKL, batch: int, seed: int, size: int = SIZE) -> Lesson:
    """The logarithm of each picture's squared error: its mean is, but for the unit, the mean PSNR of the pictures."""

    def loss(pixels: Tensor, noise: Tensor) -> Tensor:
        x = to_tensor(pixels)
        with mixed_precision(vae):
            with torch.no_grad():
                z = vae.encode(x.to(type_of(vae))).float()[:, : vae.config.embed_dim]
            y = vae.decode((z + JITTER / SD1.latent.scale * noise).to(type_of(vae))).float()
        return (y - x).square().mean((1, 2, 3)).log().mean()

    return Lesson(partial(_scenes, seed, FINISHED_ON, batch, size, vae.config), loss)


def _scenes(seed: int, first: int, batch: int, size: int, config: VaeConfig, step: int, shard: int) -> Drawn:
    """A shard's pictures, and noise for their latents."""
    count, cells = batch // SHARDS, size // config.factor
    drawn = pictures(seed, first + step * batch + shard * count, count, size=size)
    return drawn, normal(np.random.default_rng([seed, step, shard]), count, config.embed_dim, cells, cells)


def _held_scenes(seed: int, first: int, batch: int, size: int, config: VaeConfig, step: int, shard: int) -> Drawn:
    """The same, and how firmly latents are held to colours."""
    firmness = max(HOLD[0] * (1 - step / HOLD_STEPS), HOLD[1])
    return *_scenes(seed, first, batch, size, config, step, shard), np.array(firmness, np.float32)


def shrunk(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Halved until they have the size of a small view. [..., S, S, 3] -> [..., 64, 64, 3]"""
    while pictures.shape[-2] > VIEW:
        pictures = halved(pictures)
    return pictures


def halved(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each two by two pixels averaged. [..., H, W, 3] -> [..., H / 2, W / 2, 3]"""
    *batch, height, width, _ = picture.shape
    means = picture.reshape(*batch, height // 2, 2, width // 2, 2, 3).mean((-4, -2))
    smaller: NDArray[np.uint8] = np.rint(means).astype(np.uint8)
    return smaller


@torch.no_grad()
def fold_scale(vae: AutoencoderKL, x: Tensor) -> float:
    """Rescale the latents of `vae` in place so that the mean deviates by 1 / scale on x; returns the factor.

    Decoding an encoding gives what it gave before: the factor goes into the last layer of the encoder and comes
    out of the first of the decoder.
    """
    factor = 1 / SD1.latent.scale / float(mean_encodings(vae, x).std())
    rows = slice(0, vae.config.embed_dim)
    vae.quant_conv.weight[rows] *= factor
    vae.quant_conv.bias[rows] *= factor  # type: ignore[index]
    vae.quant_conv.bias[vae.config.embed_dim :] += 2 * np.log(factor)  # type: ignore[index]
    vae.post_quant_conv.weight /= factor
    return factor


@torch.no_grad()
def mean_encodings(vae: AutoencoderKL, x: Tensor) -> Tensor:
    """Encode without noise, a few at a time. [B, 3, H, W] in -1..1 -> [B, 4, H / 8, W / 8], on the autoencoder's device"""
    parts = x.split(AT_ONCE)
    return torch.cat([vae.encode(part.to(place_of(vae)))[:, : vae.config.embed_dim] for part in parts])


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, x: Tensor) -> Tensor:
    """Decode the mean encodings, a few at a time. [B, 3, H, W] in -1..1, both."""
    parts = mean_encodings(vae, x).split(AT_ONCE)
    return torch.cat([vae.decode(part).clamp(-1, 1).cpu() for part in parts])


def psnr(rebuilt: Tensor, x: Tensor) -> float:
    """Peak signal to noise ratio of pictures in -1..1, in dB."""
    return comparison.psnr(rebuilt / 2, x / 2)


def mean_psnr(rebuilt: Tensor, x: Tensor) -> float:
    """The mean of each picture's own, as it is commonly told."""
    return float(np.mean([psnr(one, other) for one, other in zip(rebuilt, x, strict=True)]))


def to_tensor(pixels: NDArray[np.uint8] | Tensor) -> Tensor:
    """[B, H, W, 3] 0..255 -> [B, 3, H, W] in -1..1."""
    return torch.as_tensor(pixels).permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1


def to_pixels(x: Tensor) -> NDArray[np.uint8]:
    """[B, 3, H, W] in -1..1 -> [B, H, W, 3] 0..255."""
    y: NDArray[np.uint8] = ((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return y
