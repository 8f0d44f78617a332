"""How often a checkpoint draws what a prompt that it never saw asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.clip import TextModel
from models.denoiser import LATENT_SCALE, Denoiser
from models.noise import Noise
from models.samplers import SAMPLERS
from models.schedules import SCHEDULES, NoiseLevels
from models.training.detector import detect
from models.training.scenes import SIZE, UNSEEN_PAIRS, Scene, Split, scene
from models.training.vae import to_pixels
from models.unet import UNet
from models.vae import AutoencoderKL

PROMPTS = 64
PROMPT_SEED = 64  # of the world that the prompts are taken from
UNSEEN_SHARE = 8  # one prompt in so many may ask for a pair of colour and shape that training never showed


@dataclass(frozen=True)
class Drawer:
    """The three networks of a checkpoint."""

    unet: UNet
    text: TextModel
    vae: AutoencoderKL


@dataclass(frozen=True)
class Sampling:
    """How pictures are sampled: KSampler's settings. The defaults are what the embedded model does best at."""

    cfg: float = 4.0
    steps: int = 20
    sampler: str = "dpmpp_2m"
    schedule: str = "karras"


class Score(NamedTuple):
    """Shares, 0..1, of prompts (nan of none). `things`: colour and shape of all are right, and nothing else is there."""

    things: float
    two: float  # as `things`, of the prompts for two
    backgrounds: float  # those right, of the prompts that tell one
    unseen: float  # as `things`, of the prompts with a pair that training never showed


def held_out_scenes(count: int = PROMPTS) -> list[Scene]:
    """The scenes whose captions are the fixed test prompts, all different."""
    chosen: dict[str, Scene] = {}
    unseen = 0
    index = 0
    while len(chosen) < count:
        candidate = scene(PROMPT_SEED, index, Split.HELD_OUT)
        index += 1
        if has_unseen_pair(candidate):
            if unseen >= count // UNSEEN_SHARE:
                continue
            unseen += candidate.caption not in chosen
        chosen.setdefault(candidate.caption, candidate)
    return list(chosen.values())


def has_unseen_pair(candidate: Scene) -> bool:
    """Whether a scene shows a colour and shape that no training scene joins."""
    return any((thing.colour, thing.shape) in UNSEEN_PAIRS for thing in candidate.things)


@torch.inference_mode()
def paint(drawer: Drawer, tokens: Tensor, empty: Tensor, sampling: Sampling, seed: int = 0) -> NDArray[np.uint8]:
    """One picture a prompt, [B, 64, 64, 3]. tokens: [B, 77]; empty: [77], of the empty prompt.

    Picture i is what the seed `seed + i` draws in a batch of its own.
    """
    context = torch.cat([drawer.text(empty[None]).expand(len(tokens), -1, -1), drawer.text(tokens)])
    levels = NoiseLevels()
    denoiser = Denoiser(drawer.unet, levels, lambda: None)
    sigmas = SCHEDULES[sampling.schedule](levels, sampling.steps)
    cell = SIZE // drawer.vae.config.factor
    start = torch.cat([Noise(seed + i).initial((1, 4, cell, cell)) for i in range(len(tokens))])

    def guided(x: Tensor, sigma: Tensor) -> Tensor:
        without, with_text = denoiser(x.repeat(2, 1, 1, 1), sigma, context).chunk(2)
        return without + sampling.cfg * (with_text - without)

    x = start * (1 + sigmas[0] ** 2).sqrt()
    for step in SAMPLERS[sampling.sampler](guided, x, sigmas, Noise(seed).stream()):
        x = step.x
    return to_pixels(drawer.vae.decode(x / LATENT_SCALE))


def score(pictures: NDArray[np.uint8], scenes: Sequence[Scene]) -> Score:
    """Compare what the pictures show with what the scenes' captions ask for."""
    right = np.array([hit(picture, wanted) for picture, wanted in zip(pictures, scenes, strict=True)])
    told = [i for i, wanted in enumerate(scenes) if "background" in wanted.caption]
    grounds = [detect(pictures[i]).background == scenes[i].background.colour for i in told]
    unseen = np.array([has_unseen_pair(wanted) for wanted in scenes])
    two = np.array([len(wanted.things) == 2 for wanted in scenes])
    return Score(*(_share(part) for part in (right, right[two], np.array(grounds), right[unseen])))


def _share(right: NDArray[np.bool_]) -> float:
    return float(right.mean()) if len(right) else math.nan


def hit(picture: NDArray[np.uint8], wanted: Scene) -> bool:
    """Whether a picture shows exactly the things of a scene, by colour and shape."""
    return detect(picture).things == tuple(sorted((thing.colour, thing.shape) for thing in wanted.things))
