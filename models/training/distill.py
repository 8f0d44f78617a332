"""Distilling a trained U-Net into one that draws in a few steps (latent consistency, Luo et al. 2023, arXiv:2310.04378)."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from models.schedules import NoiseLevels
from models.training.diffusion import TextToNoise, at_the_ends
from models.training.loop import SHARDS, Loss, Pace, Schedule, Training, mixed_precision, place_of, stream
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
    training.run(consistency_loss(student, teacher, latents, rows, schedule.batch, seed), pace)
    return training


def consistency_loss(
    student: TextToNoise, teacher: TextToNoise, latents: Tensor, rows: Tensor, batch: int, seed: int
) -> Loss:
    """How far the student's estimate of the clean latent moves over one guided step of the teacher down the noise.

    The estimate at the lower level is taken without gradient. At level 0 it is the latent itself, which is what all
    levels above come to agree on. Estimates are compared by the pseudo-Huber metric (arXiv:2310.14189, section 3.3).
    """
    sigmas = NoiseLevels().sigmas
    count = batch // SHARDS
    stride = len(sigmas) // JUMPS

    def loss(step: int, shard: int) -> Tensor:
        generator = stream(seed, step, shard)
        device = place_of(student)
        picked = torch.randint(len(latents), (count,), generator=generator)
        number = torch.randint(rows.shape[1], (count,), generator=generator)
        z, captions = latents[picked].float(), rows[picked, number].long()
        upper = torch.randint(1, JUMPS + 1, (count,), generator=generator) * stride - 1
        noise = torch.randn(z.shape, generator=generator)
        guidance = GUIDANCE[0] + (GUIDANCE[1] - GUIDANCE[0]) * torch.rand(count, 1, 1, 1, generator=generator)
        z, captions, noise, guidance = (x.to(device) for x in (z, captions, noise, guidance))
        sigma = sigmas[upper].to(device)[:, None, None, None]
        lower = torch.where(upper >= stride, sigmas[(upper - stride).clamp(min=0)], 0.0).to(device)[:, None, None, None]
        x = z + sigma * noise
        with mixed_precision(device), torch.no_grad():
            context = student.text(captions)
            empty = torch.full((1, LENGTH), END, device=device)
            empty[0, 0] = START
            without = student.text(empty).expand(count, -1, -1)
            eps = _noise(teacher, x.repeat(2, 1, 1, 1), sigma.repeat(2, 1, 1, 1), torch.cat([without, context]))
            free, told = eps.chunk(2)
            below = x + (lower - sigma) * (free + guidance * (told - free))
            target = below - lower * _noise(student, below, lower, context)
            target = torch.where(lower > 0, target, below)
        with mixed_precision(device):
            guess = x - sigma * _noise(student, x, sigma, context)
        apart = F.mse_loss(guess, target, reduction="none").mean((1, 2, 3))
        small = 0.03
        return ((apart + small**2).sqrt() - small).mean()

    return loss


def _noise(network: TextToNoise, x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
    """The noise in x = z + sigma * noise, as a network sees it. x: [B, 4, h, w], sigma: [B, 1, 1, 1]"""
    levels = NoiseLevels().sigmas.to(x.device)
    t = (levels - sigma.flatten(1)).abs().argmin(1)
    scaled = (x / (sigma.square() + 1).sqrt()).contiguous(memory_format=torch.channels_last)
    eps: Tensor = network.unet(scaled, t, context)
    return eps.float()
