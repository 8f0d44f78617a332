"""Schedules as `comfy.samplers` has them: those of Darkroom by its names, and those that packs add to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.levels import NoiseLevels
from models.samplers import SKIP_PENULTIMATE
from models.schedules import (
    SCHEDULES,
    Schedule,
    beta_quantiles,
    ddim_uniform,
    ended,
    linear_quadratic,
    normal,
    sgm_uniform,
    sigmas_for,
    simple,
    without_penultimate,
)
from nodes.packs.objects.sampling import sampled_as


class SchedulerHandler(NamedTuple):
    """A schedule: a function of (`model_sampling`, steps), or, without use_ms, of (n=, sigma_min=, sigma_max=)."""

    handler: Callable[..., Tensor]
    use_ms: bool = True


@dataclass(frozen=True)
class Handlers:
    """The schedules of a program, to which packs may add theirs. names: those that are offered as choices."""

    by_name: dict[str, SchedulerHandler] = field(
        default_factory=lambda: {name: SchedulerHandler(partial(_levels_of, by)) for name, by in SCHEDULES.items()}
    )
    names: list[str] = field(default_factory=lambda: list(SCHEDULES))

    def sigmas(self, model_sampling: Any, scheduler_name: str, steps: int) -> Tensor:
        """Decreasing levels and a final 0, [steps + 1]. Raises KeyError for a schedule that nobody has."""
        handler, by_levels = self.by_name[scheduler_name]
        if by_levels:
            return handler(model_sampling, steps)
        return handler(n=steps, sigma_min=float(model_sampling.sigma_min), sigma_max=float(model_sampling.sigma_max))

    def for_sampler(
        self, model_sampling: Any, scheduler_name: str, sampler_name: str, steps: int, denoise: float
    ) -> Tensor:
        """As the KSampler nodes give them to a sampler."""

        def schedule(levels: NoiseLevels, steps: int) -> Tensor:
            return self.sigmas(model_sampling, scheduler_name, steps)

        chosen: Schedule = without_penultimate(schedule) if sampler_name in SKIP_PENULTIMATE else schedule
        return sigmas_for(chosen, sampled_as(model_sampling).levels, steps, denoise)


def names(handlers: Handlers) -> Mapping[str, object]:
    """The functions, by their own names."""
    functions = (
        *(simple_scheduler, ddim_scheduler, normal_scheduler, beta_scheduler),
        *(linear_quadratic_schedule, kl_optimal_scheduler),
    )
    return {
        "SCHEDULER_HANDLERS": handlers.by_name,
        "SCHEDULER_NAMES": handlers.names,
        "SchedulerHandler": SchedulerHandler,
        "calculate_sigmas": handlers.sigmas,
        **{function.__name__: function for function in functions},
    }


def simple_scheduler(model_sampling: Any, steps: int) -> Tensor:
    """Every (1000 / n)th trained level."""
    return _levels_of(simple, model_sampling, steps)


def ddim_scheduler(model_sampling: Any, steps: int) -> Tensor:
    """DDIM's stride."""
    return _levels_of(ddim_uniform, model_sampling, steps)


def normal_scheduler(model_sampling: Any, steps: int, sgm: bool = False, floor: bool = False) -> Tensor:
    """Equal steps in time. sgm: the last of them goes to 0."""
    return _levels_of(sgm_uniform if sgm else normal, model_sampling, steps)


def beta_scheduler(model_sampling: Any, steps: int, alpha: float = 0.6, beta: float = 0.6) -> Tensor:
    """Equal quantiles of Beta(alpha, beta)."""
    return beta_quantiles(sampled_as(model_sampling).levels, steps, alpha, beta)


def linear_quadratic_schedule(model_sampling: Any, steps: int) -> Tensor:
    """Movie Gen's. Its other two numbers are what they are by default."""
    return _levels_of(linear_quadratic, model_sampling, steps)


def kl_optimal_scheduler(n: int, sigma_min: float, sigma_max: float) -> Tensor:
    """Equal steps in arctan sigma."""
    low, high = (torch.tensor(float(sigma)).atan() for sigma in (sigma_min, sigma_max))
    r = torch.linspace(0, 1, n)
    return ended((r * low + (1 - r) * high).tan())


def _levels_of(schedule: Schedule, model_sampling: Any, steps: int) -> Tensor:
    return schedule(sampled_as(model_sampling).levels, steps)
