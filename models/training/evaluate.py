"""How often a checkpoint draws what a prompt that it never saw asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.clip import TextModel
from models.denoiser import Denoiser, Predicted
from models.family import SD1
from models.guidance import NEGATIVE, POSITIVE
from models.levels import NoiseLevels
from models.noise import Noise
from models.reading import Reading
from models.samplers import SAMPLERS
from models.schedules import SCHEDULES
from models.steering import Ground, Steer, Steering, all_of, unsteered
from models.steps import Pair
from models.training.detector import Detector, detect
from models.training.loop import place_of
from models.training.prompts import Prompt, right
from models.training.vae import to_pixels
from models.unet import UNet
from models.vae import AutoencoderKL

BATCH = 16


@dataclass(frozen=True)
class Drawer:
    """The three networks of a checkpoint."""

    unet: UNet
    text: TextModel
    vae: AutoencoderKL


@dataclass(frozen=True)
class Sampling:
    """How pictures are sampled: KSampler's settings, the side of the picture in pixels, and what steers the network besides."""

    size: int
    cfg: float = 4.0
    steps: int = 20
    sampler: str = "dpmpp_2m"
    schedule: str = "karras"
    steering: Sequence[Steering] = ()


@torch.inference_mode()
def paint(drawer: Drawer, tokens: Tensor, empty: Tensor, sampling: Sampling, seed: int = 0) -> NDArray[np.uint8]:
    """One picture a prompt, [B, size, size, 3]. tokens: [B, 77]; empty: [77], of the empty prompt.

    Picture i is what the seed `seed + i` draws in a batch of its own.
    """
    firsts = range(0, len(tokens), BATCH)
    return np.concatenate([_paint(drawer, tokens[i : i + BATCH], empty, sampling, seed + i) for i in firsts])


def _paint(drawer: Drawer, tokens: Tensor, empty: Tensor, sampling: Sampling, seed: int) -> NDArray[np.uint8]:
    device = place_of(drawer.unet)
    tokens, empty = tokens.to(device), empty.to(device)
    context = torch.cat([drawer.text(empty[None]).expand(len(tokens), -1, -1), drawer.text(tokens)])
    sigmas = SCHEDULES[sampling.schedule](SD1.diffusion.levels, sampling.steps)
    ground = Ground(drawer.unet.config, SD1.diffusion.levels, sigmas=sigmas)
    begun = [one.begin(ground) for one in sampling.steering]
    arounds = [one.around for one in begun if one.around]
    steer = all_of([one.steer for one in begun])
    denoiser = Denoiser(drawer.unet, SD1.diffusion, lambda: None, steer, arounds=arounds)
    cell = sampling.size // drawer.vae.config.factor
    start = torch.cat([Noise(seed + i).initial((1, 4, cell, cell)) for i in range(len(tokens))]).to(device)

    x = start * (1 + sigmas[0] ** 2).sqrt()
    guided = Predicted(_Guided(denoiser, context, sampling.cfg), [one.predict for one in begun if one.predict])
    for step in SAMPLERS[sampling.sampler](guided, x, sigmas, Noise(seed)):
        x = step.x
    return to_pixels(drawer.vae.decode(x.to(place_of(drawer.vae)) / SD1.latent.scale).cpu())


@dataclass(frozen=True)
class _Guided:
    """Guidance of a batch of pictures, each by a text of its own. context: [2 B, T, D], the empty texts first."""

    denoiser: Denoiser
    context: Tensor
    cfg: float

    @property
    def levels(self) -> NoiseLevels:
        return self.denoiser.levels

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        if self.cfg == 1:
            return self.denoiser(x, sigma, Reading(self.context[len(x) :]))
        return self.pair(x, sigma).denoised

    def pair(self, x: Tensor, sigma: Tensor) -> Pair:
        away, towards = self._both(x, sigma, unsteered)
        return Pair(away + self.cfg * (towards - away), away)

    def estimates(self, x: Tensor, sigma: Tensor, needed: frozenset[int], also: Steer = unsteered) -> dict[int, Tensor]:
        both = dict(zip((NEGATIVE, POSITIVE), self._both(x, sigma, also), strict=True))
        return {number: both[number] for number in needed}

    def _both(self, x: Tensor, sigma: Tensor, also: Steer) -> tuple[Tensor, ...]:
        return self.denoiser(x.repeat(2, 1, 1, 1), sigma, Reading(self.context), also=also).chunk(2)


def shares(pictures: NDArray[np.uint8], prompts: Sequence[Prompt], detector: Detector) -> dict[str, float]:
    """For each set of attributes asked for together, the share of prompts, 0..1, whose picture has them all."""
    hits: dict[str, list[bool]] = {}
    for found, prompt in zip(detect(detector, pictures), prompts, strict=True):
        hits.setdefault(" + ".join(prompt.asked), []).append(right(found, prompt))
    return {name: sum(found) / len(found) for name, found in hits.items()}
