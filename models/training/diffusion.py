"""Training the U-Net together with the text encoder, on latents made once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from models.clip import TextModel
from models.config import ClipConfig, UNetConfig
from models.schedules import NoiseLevels
from models.training.loop import SHARDS, Loss, Pace, Schedule, Training, mixed_precision, place_of, stream
from models.training.scenes import scene
from models.training.words import END, LENGTH, START, UNKNOWN
from models.training.world import SIZE
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
        eps: Tensor = self.unet(x, t, self.text(rows))
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
    network: TextToNoise, latents: Tensor, rows: Tensor, schedule: Schedule, pace: Pace, seed: int, file: Path,
    review: Callable[[Training], None] = lambda training: None,
) -> Training:  # fmt: skip
    """Train, or go on training, the U-Net and the text encoder; `review` is called after each save."""
    network.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    training = Training(network, schedule, file, careful=at_the_ends(network))
    training.resume()
    things = where_things_are(seed, len(latents), latents.shape[-1])
    training.run(noise_loss(network, latents, rows, things, schedule.batch, seed), pace, lambda: review(training))
    return training


def where_things_are(seed: int, scenes: int, cells: int) -> Tensor:
    """Where things are in each scene's latent. -> [scenes, cells, cells] bool"""
    middles = (np.arange(cells) + 0.5) * SIZE / cells
    there = np.zeros((scenes, cells, cells), np.bool_)
    for index in range(scenes):
        for thing in scene(seed, index).things:
            reach = 1.3 * thing.radius + SIZE / cells / 2
            rows, columns = (np.abs(middles - at) < reach for at in (thing.y, thing.x))
            there[index][np.ix_(rows, columns)] = True
    return torch.from_numpy(there)


def noise_loss(network: nn.Module, latents: Tensor, rows: Tensor, things: Tensor, batch: int, seed: int) -> Loss:
    """The squared error of the predicted noise (Ho et al. 2020, equation 14), weighed by min(sigma, CERTAIN)² + 1.

    Up to CERTAIN that is the error of the velocity (Salimans & Ho 2022, arXiv:2202.00512, appendix D). Without the weight an
    error too small for the loss to see is, times the sigma of the first steps, larger than the latents.

    latents: [N, 4, h, w] of unit deviation, rows: [N, captions, 77] of the compact token table, things: [N, h, w] bool,
    the cells that count THINGS times as much; the mean cell counts 1.
    """
    mean_count = 1 + (THINGS - 1) * things.float().mean()
    sigmas = NoiseLevels().sigmas
    count = batch // SHARDS

    def loss(step: int, shard: int) -> Tensor:
        generator = stream(seed, step, shard)
        picked = (step * batch + shard * count + torch.arange(count)) % len(latents)
        number = torch.randint(rows.shape[1], (count,), generator=generator)
        z = latents[picked].float()
        captions = disturbed(rows[picked, number].long(), generator)
        # One time step from each of `count` equal intervals: the batch's loss varies less than with free draws.
        t = ((torch.arange(count) + torch.rand(count, generator=generator)) / count * len(sigmas)).long()
        t = t.clamp(max=len(sigmas) - 1)[torch.randperm(count, generator=generator)]
        sigma = sigmas[t][:, None, None, None]
        noise = torch.randn(z.shape, generator=generator)
        x = ((z + sigma * noise) / (sigma.square() + 1).sqrt()).contiguous(memory_format=torch.channels_last)
        device = place_of(network)
        with mixed_precision(device):
            eps = network(x.to(device), t.to(device), captions.to(device)).float().cpu()
        weight = (sigma.clamp(max=CERTAIN).square() + 1).flatten()
        counts = (1 + (THINGS - 1) * things[picked]) / mean_count
        return (weight * ((eps - noise).square().mean(1) * counts).mean((1, 2))).mean()

    return loss


def disturbed(rows: Tensor, generator: torch.Generator) -> Tensor:
    """Captions with some dropped and a meaningless word put into others. rows: [B, 77] -> [B, 77]."""
    count = len(rows)
    place = torch.arange(LENGTH)
    words = (rows > UNKNOWN).sum(1)
    at = 1 + (torch.rand(count, generator=generator) * (words + 1)).long()[:, None]
    longer = rows.gather(1, place - (place > at).long())
    longer = torch.where(place == at, UNKNOWN, longer)
    empty = torch.full((LENGTH,), END)
    empty[0] = START
    strange = torch.rand(count, 1, generator=generator) < STRANGE_WORD
    dropped = torch.rand(count, 1, generator=generator) < NO_CAPTION
    return torch.where(dropped, empty, torch.where(strange, longer, rows))
