"""Distilling a trained U-Net into one that draws in a few steps (latent consistency, Luo et al. 2023, arXiv:2310.04378)."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.family import SD1
from models.reading import Reading
from models.training.diffusion import TextToNoise, at_the_ends
from models.training.loop import SHARDS, Lesson, Pace, Schedule, Training, normal, place_of
from models.training.replay import Drawn
from models.training.words import END, LENGTH, START

JUMPS = 50  # of equal length in time steps, between which the student is to agree with itself
GUIDANCE = (2.5, 5.0)  # the scales that the teacher is guided by; the student learns their mean and needs none


def distill(
    teacher: TextToNoise, latents: Tensor, rows: Tensor, schedule: Schedule, pace: Pace, seed: int, file: Path
) -> Training:
    """Train, or go on training, a copy of the teacher; `averaged()` of what is returned are the student's weights."""
    student = copy.deepcopy(teacher).requires_grad_(True)
    teacher = copy.deepcopy(teacher).requires_grad_(False).eval()
    student.text.requires_grad_(False)
    training = Training(student, schedule, file, careful=at_the_ends(student))
    training.resume()
    teacher.to(place_of(student))
    training.run(consistency_lesson(student, teacher, latents, rows, schedule.batch, seed), pace)
    return training


def consistency_lesson(
    student: TextToNoise, teacher: TextToNoise, latents: Tensor, rows: Tensor, batch: int, seed: int
) -> Lesson:
    """How far the student's estimate of the clean latent moves over one guided step of the teacher down the noise.

    The estimate at the lower level is taken without gradient. At level 0 it is the latent itself, which is what all
    levels above come to agree on. Estimates are compared by the pseudo-Huber metric (arXiv:2310.14189, section 3.3). All is
    float32 (on a GPU with TF32): what bfloat16 rounds of the noise, times sigma, is as large as what is to agree.
    """
    place = place_of(student)
    latents, rows = latents.to(place), rows.to(place)
    sigmas = SD1.diffusion.levels.sigmas.to(place)
    stride = len(sigmas) // JUMPS
    empty = torch.tensor([[START, *[END] * (LENGTH - 1)]], device=place)

    def noise_in(network: TextToNoise, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """The noise in x = z + sigma * noise, as a network sees it."""
        scaled = x / (sigmas[t][:, None, None, None].square() + 1).sqrt()
        eps: Tensor = network.unet(scaled.contiguous(memory_format=torch.channels_last), t, Reading(context))
        return eps

    def loss(picked: Tensor, number: Tensor, upper: Tensor, noise: Tensor, guidance: Tensor) -> Tensor:
        below_upper = (upper - stride).clamp(min=0)
        sigma = sigmas[upper][:, None, None, None]
        lower = torch.where(upper >= stride, sigmas[below_upper], 0.0)[:, None, None, None]
        x = latents[picked].float() + sigma * noise
        with torch.no_grad():
            context = student.text(rows[picked, number].long())
            without = student.text(empty).expand(len(x), -1, -1)
            eps = noise_in(teacher, x.repeat(2, 1, 1, 1), upper.repeat(2), torch.cat([without, context]))
            free, told = eps.chunk(2)
            below = x + (lower - sigma) * (free + guidance * (told - free))
            target = below - lower * noise_in(student, below, below_upper, context)
            target = torch.where(lower > 0, target, below)
        guess = x - sigma * noise_in(student, x, upper, context)
        apart = F.mse_loss(guess, target, reduction="none").mean((1, 2, 3))
        small = 0.03
        return ((apart + small**2).sqrt() - small).mean()

    return Lesson(partial(_jumps, seed, batch, tuple(latents.shape), rows.shape[1], stride), loss)


def _jumps(seed: int, batch: int, shape: tuple[int, ...], captions: int, stride: int, step: int, shard: int) -> Drawn:
    """Which latents of all, which of their captions, the upper time steps, the noise, the guidance."""
    scenes, count = shape[0], batch // SHARDS
    rng = np.random.default_rng([seed, step, shard])
    upper = rng.integers(1, JUMPS + 1, count) * stride - 1
    guidance = rng.uniform(*GUIDANCE, (count, 1, 1, 1)).astype(np.float32)
    return (
        rng.integers(scenes, size=count),
        rng.integers(captions, size=count),
        upper,
        normal(rng, count, *shape[1:]),
        guidance,
    )
