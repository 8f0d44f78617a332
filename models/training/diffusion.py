"""Training the U-Net together with the text encoder, on latents made once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from models.clip import TextModel
from models.config import ClipConfig, UNetConfig
from models.family import SD1
from models.reading import Reading
from models.training.loop import SHARDS, Lesson, Pace, Schedule, Training, normal, place_of
from models.training.replay import Drawn
from models.training.words import END, LENGTH, START, UNKNOWN
from models.unet import UNet

NO_CAPTION = 0.1  # share of captions dropped, which is what guidance needs
STRANGE_WORD = 0.15  # share of captions given one word that means nothing, as people's prompts have
ANCHOR = 3.0  # the constant beside what is passed by all blocks, which holds the norm of a group
CERTAIN = 5.0  # the sigma up to which the loss is the velocity's; above, what cannot be known would drown the rest
THINGS = 8.0  # how many times as much a latent cell counts where a thing is, which is what captions tell of


class TextToNoise(nn.Module):
    """The U-Net and the text encoder that it reads."""

    def __init__(self, unet: UNetConfig, text: ClipConfig) -> None:
        super().__init__()
        self.unet = UNet(unet)
        self.text = TextModel(text)
        nn.init.normal_(self.text.text_model.embeddings.token_embedding.weight, std=0.3)
        nn.init.normal_(self.text.text_model.embeddings.position_embedding.weight, std=0.1)
        for layer in _last_of_branches(self.unet):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(_bias(layer))
        _pass_noise(self.unet)

    def forward(self, x: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        """x: [B, 4, h, w], t: [B], rows: [B, 77] of the compact vocabulary -> the noise in x, [B, 4, h, w]."""
        eps: Tensor = self.unet(x, t, Reading(self.text(rows)))
        return eps


def _last_of_branches(unet: UNet) -> Iterator[nn.Conv2d]:
    """The convolutions that end a residual branch, and the last of all: from zero, each block begins as identity."""
    for name, layer in unet.named_modules():
        if isinstance(layer, nn.Conv2d) and (name.endswith(("out_layers.3", "proj_out")) or name == "out.2"):
            yield layer


@torch.no_grad()
def _pass_noise(unet: UNet) -> None:
    """Begin with eps = x, passed by all blocks, so that what is learned is how the noise differs from it.

    In the first steps of a picture an error of the noise is multiplied by a sigma of up to 14.6, and a network that
    first has to learn to pass its input on stays too coarse for that. Each latent has a group of four channels in the
    first convolution: x, -x, and ANCHOR and -ANCHOR, which keep the group's norm from following x's deviation. The last block's skip
    connection hands them on, and the last convolution uses that silu(a) - silu(-a) = a.
    """
    last_block = unet.get_submodule(f"output_blocks.{len(unet.output_blocks) - 1}.0")
    first, last, out = (
        cast(nn.Conv2d, layer)
        for layer in (unet.get_submodule("input_blocks.0.0"), last_block.skip_connection, unet.get_submodule("out.2"))
    )
    latents, channels = first.weight.shape[1], 4 * first.weight.shape[1]
    for layer in (first, last):
        layer.weight[:channels] = 0
        _bias(layer)[:channels] = 0
    skipped = last.weight.shape[1] - first.weight.shape[0]  # behind the block's own channels
    last.weight[:channels, skipped : skipped + channels, 0, 0] = torch.eye(channels)
    gain = math.sqrt((1 + ANCHOR**2) / 2)  # the group's norm, where x has unit variance
    for latent in range(latents):
        plus, minus, anchor, negative = range(4 * latent, 4 * latent + 4)
        first.weight[plus, latent, 1, 1], first.weight[minus, latent, 1, 1] = 1, -1
        _bias(first)[anchor], _bias(first)[negative] = ANCHOR, -ANCHOR
        out.weight[latent, plus, 1, 1], out.weight[latent, minus, 1, 1] = gain, -gain


def at_the_ends(network: TextToNoise) -> tuple[str, str, str]:
    """Where the names of the layers begin that all noise passes: a small change of them is a large error of it."""
    return "unet.input_blocks.0.", f"unet.output_blocks.{len(network.unet.output_blocks) - 1}.", "unet.out."


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def train_unet(
    network: TextToNoise, latents: Tensor, things: Tensor, rows: Tensor, schedule: Schedule, pace: Pace, seed: int,
    file: Path, review: Callable[[Training], None] = lambda training: None,
) -> Training:  # fmt: skip
    """Train, or go on training, the U-Net and the text encoder; `review` is called after each save.

    latents, things, rows: as `noise_lesson` wants them.
    """
    network.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    training = Training(network, schedule, file, careful=at_the_ends(network))
    training.resume()
    lesson = noise_lesson(network, latents, things, rows, schedule.batch, seed)
    training.run(lesson, pace, lambda: review(training))
    return training


def noise_lesson(network: nn.Module, latents: Tensor, things: Tensor, rows: Tensor, batch: int, seed: int) -> Lesson:
    """The squared error of the predicted noise (Ho et al. 2020, equation 14), weighed by min(sigma, CERTAIN)² + 1.

    Up to CERTAIN that is the error of the velocity (Salimans & Ho 2022, arXiv:2202.00512, appendix D). Without the weight an
    error too small for the loss to see is, times the sigma of the first steps, larger than the latents.

    latents: [N, 4, h, w] of unit deviation, rows: [N, captions, 77] of the compact token table, things: [N, h, w] bool,
    the cells that count THINGS times as much; the mean cell counts 1.
    """
    place = place_of(network)
    latents, things, rows = (data.to(place) for data in (latents, things, rows))
    mean_count = 1 + (THINGS - 1) * things.float().mean()
    sigmas = SD1.diffusion.levels.sigmas.to(place)

    def loss(picked: Tensor, number: Tensor, t: Tensor, noise: Tensor, chances: Tensor) -> Tensor:
        captions = disturbed(rows[picked, number].long(), chances)
        sigma = sigmas[t][:, None, None, None]
        x = (latents[picked].float() + sigma * noise) / (sigma.square() + 1).sqrt()
        eps = network(x.contiguous(memory_format=torch.channels_last), t, captions)
        weight = (sigma.clamp(max=CERTAIN).square() + 1).flatten()
        counts = (1 + (THINGS - 1) * things[picked]) / mean_count
        return (weight * ((eps - noise).square().mean(1) * counts).mean((1, 2))).mean()

    return Lesson(partial(_noisy, seed, batch, tuple(latents.shape), rows.shape[1], len(sigmas)), loss)


def _noisy(seed: int, batch: int, shape: tuple[int, ...], captions: int, levels: int, step: int, shard: int) -> Drawn:
    """Which latents of all, which of their captions, the time steps, the noise, and the chances of `disturbed`."""
    scenes, count = shape[0], batch // SHARDS
    rng = np.random.default_rng([seed, step, shard])
    picked = (step * batch + shard * count + np.arange(count)) % scenes
    # One time step from each of `count` equal intervals: the batch's loss varies less than with free draws.
    t = rng.permutation(((np.arange(count) + rng.random(count)) / count * levels).astype(np.int64))
    number = rng.integers(captions, size=count)
    return picked, number, t.clip(max=levels - 1), normal(rng, count, *shape[1:]), rng.random((3, count), np.float32)


def disturbed(rows: Tensor, chances: Tensor) -> Tensor:
    """Captions with some dropped and a meaningless word put into others. rows: [B, 77], chances: [3, B] in 0..1 -> [B, 77]"""
    where, strange, dropped = chances[..., None]
    place = torch.arange(LENGTH, device=rows.device)
    words = (rows > UNKNOWN).sum(1, keepdim=True)
    at = 1 + (where * (words + 1)).long()
    longer = rows.gather(1, place - (place > at).long())
    longer = torch.where(place == at, UNKNOWN, longer)
    empty = torch.where(place == 0, START, END)
    return torch.where(dropped < NO_CAPTION, empty, torch.where(strange < STRANGE_WORD, longer, rows))
