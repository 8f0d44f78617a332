"""A sampler whose steps are told to a function of a pack as well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from models.noise import StepNoise
from models.steps import GuidedDenoise, Step
from models.types import ChosenSampler, Latent, Perform, Sampling


def telling_steps(sampler: ChosenSampler, callback: Any) -> ChosenSampler:
    """callback: f(step, estimate of the clean latent, x, steps)."""
    return replace(sampler, around=(_Telling(callback).around, *sampler.around))


@dataclass(frozen=True, eq=False)
class _Telling:
    callback: Any

    def around(self, perform: Perform, sampling: Sampling) -> tuple[Latent, Latent]:
        sampler = sampling.sampler

        def sample(denoise: GuidedDenoise, x: Tensor, sigmas: Tensor, noise: StepNoise) -> Iterator[Step]:
            for step in sampler.sample(denoise, x, sigmas, noise):
                self.callback(step.i, step.denoised, step.x, len(sigmas) - 1)
                yield step

        return perform(replace(sampling, sampler=replace(sampler, sample=sample)))
