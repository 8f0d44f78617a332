"""Problems for samplers: the flow of Gaussian data, which has a closed form, and a denoiser that is no data's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.levels import NoiseLevels
from models.noise import NoiseStream, StepNoise
from models.samplers import SAMPLERS
from models.steps import Denoise, Pair, Sampler, Step

MEAN, SPREAD = 0.7, 1.3  # of the Gaussian data, per number


def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
    """The exact denoiser of data drawn from N(MEAN, SPREAD²): the posterior mean given x = data + sigma * noise."""
    return MEAN + (x - MEAN) * SPREAD**2 / (sigma**2 + SPREAD**2)


def flow(x: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Where the probability-flow equation of that data carries x from level `start` to level `end`."""
    return MEAN + (x - MEAN) * ((end**2 + SPREAD**2) / (start**2 + SPREAD**2)).sqrt()


def curved(x: Tensor, sigma: Tensor) -> Tensor:
    """A denoiser of no data in particular, neither linear nor equal from pixel to pixel."""
    neighbour = x.roll(1, dims=-1)
    return (x * 0.8 + 0.1 * neighbour) / (1 + sigma**2) + torch.tanh(x + sigma.log()) * 0.3 - 0.05 * x.mean()


def levels(n: int, top: float = 12.0, bottom: float = 0.05) -> Tensor:
    """[n + 1] float64: steps that are equal in log sigma but for being short and long by turns, so that a multistep
    sampler which mistakes the ratio of steps loses its order."""
    steps = torch.tensor([1.0, 2.0], dtype=torch.float64).repeat(n // 2)
    place = torch.cat([torch.zeros(1, dtype=torch.float64), steps.cumsum(0)]) / steps.sum()
    return math.log(top) * (1 - place) + math.log(bottom) * place


def silence(x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    raise AssertionError("a deterministic sampler drew noise")


@dataclass(frozen=True)
class Unguided:
    """A denoiser as samplers get it. away: what it would say of the other text; the same if there is none."""

    denoise: Denoise
    away: Denoise | None = None
    levels: NoiseLevels = field(default_factory=NoiseLevels)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.denoise(x, sigma)

    def pair(self, x: Tensor, sigma: Tensor) -> Pair:
        denoised = self.denoise(x, sigma)
        return Pair(denoised, self.away(x, sigma) if self.away else denoised)


@dataclass(frozen=True)
class Drawn:
    """Noise that a test gives, whatever a sampler asks for."""

    noise: NoiseStream

    def stream(self) -> NoiseStream:
        return self.noise

    def path(self, x: Tensor, sigmas: Tensor) -> NoiseStream:
        return self.noise


def steps(
    sampler: str | Sampler, denoise: Denoise, x: Tensor, sigmas: Tensor, noise: StepNoise | NoiseStream = silence
) -> Iterator[Step]:
    """The steps of a sampler, which is not set to work before the first is asked for."""
    sampler = SAMPLERS[sampler] if isinstance(sampler, str) else sampler
    return sampler(Unguided(denoise), x, sigmas, Drawn(noise) if callable(noise) else noise)


def run(
    sampler: str | Sampler, denoise: Denoise, x: Tensor, sigmas: Tensor, noise: StepNoise | NoiseStream = silence
) -> Tensor:
    """Where a sampler ends."""
    for step in steps(sampler, denoise, x, sigmas, noise):
        x = step.x
    return x


def start() -> Tensor:
    """[2, 4, 3, 5] float64: where sampling begins, at level 12."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 4, 3, 5, generator=generator, dtype=torch.float64) * 12
