"""Noise levels from nodes: schedules with settings of their own, and what changes a list."""

from __future__ import annotations

import math
import re
from typing import Annotated

import torch

from graph.errors import InputError
from graph.sockets import Choice, Float, Int, Text, Toggle
from graph.spec import Named, Tip, node
from models.schedules import (
    ALIGN_YOUR_STEPS,
    SPACINGS,
    beta_quantiles,
    ended,
    extended,
    laplace,
    log_linear,
    polyexponential_between,
    vp,
)
from models.types import Model, Sigmas
from nodes.custom_sampling import PARTS, SplitLevels
from nodes.services import Context

STEPS = Int(1, 10_000, tooltip="How many steps to take.")
SIGMA_MAX = Float(0.0, 5000.0, step=0.01, round=False, tooltip="The noise level to start at.")
SIGMA_MIN = Float(0.0, 5000.0, step=0.01, round=False, tooltip="The last noise level above 0.")
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
DENOISE = Float(0.0, 1.0, step=0.01, tooltip="How much of a latent to replace; below 1 keeps its composition.")
Levels = Annotated[Sigmas, Tip("The noise levels, ending at 0.")]


@node("ExponentialScheduler", category=f"{PARTS}/schedulers")
def exponential_scheduler(
    ctx: Context,
    *,
    steps: Annotated[int, STEPS] = 20,
    sigma_max: Annotated[float, SIGMA_MAX] = 14.614642,
    sigma_min: Annotated[float, SIGMA_MIN] = 0.0291675,
) -> Levels:
    """Noise levels between two of your own, equal steps in their logarithm."""
    _check_positive(sigma_min, sigma_max)
    return Sigmas(polyexponential_between(sigma_min, sigma_max, steps, 1.0))


@node("PolyexponentialScheduler", category=f"{PARTS}/schedulers")
def polyexponential_scheduler(
    ctx: Context,
    *,
    steps: Annotated[int, STEPS] = 20,
    sigma_max: Annotated[float, SIGMA_MAX] = 14.614642,
    sigma_min: Annotated[float, SIGMA_MIN] = 0.0291675,
    rho: Annotated[
        float, Float(0.0, 100.0, step=0.01, round=False, tooltip="1: equal steps in log; more: denser at the end.")
    ] = 1.0,
) -> Levels:
    """Noise levels between two of your own, steps in their logarithm that shrink towards the end."""
    _check_positive(sigma_min, sigma_max)
    return Sigmas(polyexponential_between(sigma_min, sigma_max, steps, rho))


@node("VPScheduler", category=f"{PARTS}/schedulers")
def vp_scheduler(
    ctx: Context,
    *,
    steps: Annotated[int, STEPS] = 20,
    beta_d: Annotated[float, Float(0.0, 5000.0, step=0.01, round=False, tooltip="How fast noise grows faster.")] = 19.9,
    beta_min: Annotated[
        float, Float(0.0, 5000.0, step=0.01, round=False, tooltip="How fast noise grows at first.")
    ] = 0.1,
    eps_s: Annotated[
        float, Float(0.0, 1.0, step=0.0001, round=False, tooltip="The time of the last level above 0.")
    ] = 0.001,
) -> Levels:
    """The noise levels of a variance-preserving process at equal steps in time."""
    sigmas = vp(beta_d, beta_min, eps_s, steps)
    if not sigmas.isfinite().all() or len(sigmas) < 2:
        raise InputError("beta_d", f"no finite levels between 0 and the top come of {beta_d:g}; 19.9 is usual")
    return Sigmas(sigmas)


@node("AlignYourStepsScheduler", category=f"{PARTS}/schedulers")
def align_your_steps_scheduler(
    ctx: Context,
    *,
    model_type: Annotated[
        str, Choice(ALIGN_YOUR_STEPS, typed=True, tooltip="The family that the levels were optimised for.")
    ],
    steps: Annotated[int, Int(1, 10_000, tooltip="How many steps to take; ten is what they were made for.")] = 10,
    denoise: Annotated[float, DENOISE] = 1.0,
) -> Levels:
    """Noise levels that were optimised for few steps (Sabour et al. 2024, arXiv:2404.14507)."""
    taken = steps if denoise >= 1 else round(steps * denoise)
    if taken < 1:
        return Sigmas(torch.zeros(0))
    return Sigmas(ended(log_linear(ALIGN_YOUR_STEPS[model_type], steps + 1)[:-1])[-(taken + 1) :])


@node("SDTurboScheduler", category=f"{PARTS}/schedulers")
def sd_turbo_scheduler(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net whose noise levels to use.")],
    steps: Annotated[int, Int(1, 10, tooltip="How many steps to take; one is what these models were made for.")] = 1,
    denoise: Annotated[float, Float(0, 1.0, step=0.01, tooltip="How much of a latent to replace.")] = 1.0,
) -> Levels:
    """The noise levels that distilled Turbo models know: every hundredth, from the top."""
    start = 10 - int(10 * denoise)
    times = torch.arange(999, 0, -100)[start : start + steps]
    return Sigmas(ended(model.diffusion.levels.sigma(times.float())) if len(times) else torch.zeros(0))


@node("BetaSamplingScheduler", category=f"{PARTS}/schedulers")
def beta_sampling_scheduler(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net whose noise levels to use.")],
    steps: Annotated[int, STEPS] = 20,
    alpha: Annotated[
        float,
        Float(0.0, 50.0, step=0.01, round=False, tooltip="Below 1 gathers levels at the end, above 1 thins them."),
    ] = 0.6,
    beta: Annotated[
        float,
        Float(0.0, 50.0, step=0.01, round=False, tooltip="Below 1 gathers levels at the start, above 1 thins them."),
    ] = 0.6,
) -> Levels:
    """The noise levels of a model at equal quantiles of a beta distribution."""
    for name, shape in (("alpha", alpha), ("beta", beta)):
        if shape <= 0:
            raise InputError(name, f"must be above 0, and is {shape:g}; 0.6 is usual")
    return Sigmas(beta_quantiles(model.diffusion.levels, steps, alpha, beta))


@node("LaplaceScheduler", category=f"{PARTS}/schedulers")
def laplace_scheduler(
    ctx: Context,
    *,
    steps: Annotated[int, STEPS] = 20,
    sigma_max: Annotated[float, SIGMA_MAX] = 14.614642,
    sigma_min: Annotated[float, SIGMA_MIN] = 0.0291675,
    mu: Annotated[
        float, Float(-10.0, 10.0, step=0.1, round=False, tooltip="The logarithm of the level that most lie around.")
    ] = 0.0,
    beta: Annotated[
        float, Float(0.0, 10.0, step=0.1, round=False, tooltip="How far they lie from it; 0.5 is usual.")
    ] = 0.5,
) -> Annotated[Sigmas, Tip("The noise levels; they do not end at 0.")]:
    """Noise levels gathered around one, as a Laplace distribution has them."""
    _check_positive(sigma_min, sigma_max)
    return Sigmas(laplace(sigma_min, sigma_max, steps, mu, beta))


@node("ManualSigmas", category=f"{PARTS}/sigmas", experimental=True)
def manual_sigmas(
    ctx: Context,
    *,
    sigmas: Annotated[
        str, Text(multiline=False, tooltip="The levels from the highest to the last, mostly 0.")
    ] = "1, 0.5",
) -> Annotated[Sigmas, Tip("Those noise levels.")]:
    """Noise levels as they are written: all numbers of a text."""
    values = [float(number) for number in NUMBER.findall(sigmas)]
    if not values:
        raise InputError("sigmas", f"there is no number in {sigmas!r}; one like 14.6, 4, 1, 0 was expected")
    return Sigmas(torch.tensor(values))


@node("SplitSigmasDenoise", category=f"{PARTS}/sigmas")
def split_sigmas_denoise(
    ctx: Context,
    *,
    sigmas: Annotated[Sigmas, Tip("The noise levels to share out.")],
    denoise: Annotated[
        float, Float(0.0, 1.0, step=0.01, tooltip="The share of the steps that the second part takes.")
    ] = 1.0,
) -> SplitLevels:
    """Share the steps of one list of noise levels between two samplers, by a share."""
    steps = max(len(sigmas.values) - 1, 0)
    first = steps - round(steps * denoise)
    if first == steps:
        return SplitLevels(Sigmas(sigmas.values), Sigmas(sigmas.values[steps:]))
    return SplitLevels(Sigmas(sigmas.values[: first + 1]), Sigmas(sigmas.values[first:]))


@node("ExtendIntermediateSigmas", category=f"{PARTS}/sigmas")
def extend_intermediate_sigmas(
    ctx: Context,
    *,
    sigmas: Annotated[Sigmas, Tip("The noise levels.")],
    steps: Annotated[int, Int(1, 100, tooltip="In how many parts each step is cut.")] = 2,
    start_at_sigma: Annotated[
        float, Float(-1.0, 20_000.0, step=0.01, round=False, tooltip="The highest level a cut step begins at; -1: any.")
    ] = -1.0,
    end_at_sigma: Annotated[
        float, Float(0.0, 20_000.0, step=0.01, round=False, tooltip="The lowest level a cut step begins at.")
    ] = 12.0,
    spacing: Annotated[str, Choice(SPACINGS, tooltip="How the new levels lie between the old ones.")],
) -> Annotated[Sigmas, Tip("The noise levels with those between.")]:
    """Cut some steps of a list of noise levels into smaller ones."""
    if not len(sigmas.values):
        return sigmas
    start = math.inf if start_at_sigma < 0 else start_at_sigma
    return Sigmas(extended(sigmas.values, steps, start, end_at_sigma, SPACINGS[spacing]))


@node("SetFirstSigma", category=f"{PARTS}/sigmas")
def set_first_sigma(
    ctx: Context,
    *,
    sigmas: Annotated[Sigmas, Tip("The noise levels.")],
    sigma: Annotated[
        float, Float(0.0, 20_000.0, step=0.001, round=False, tooltip="The level to begin with instead.")
    ] = 136.0,
) -> Annotated[Sigmas, Tip("The noise levels with that first one.")]:
    """Begin a list of noise levels with another one."""
    return Sigmas(torch.cat([torch.full((1,), sigma), sigmas.values[1:]]) if len(sigmas.values) else sigmas.values)


@node("SamplingPercentToSigma", category=f"{PARTS}/sigmas")
def sampling_percent_to_sigma(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net whose noise levels to use.")],
    sampling_percent: Annotated[
        float, Float(0.0, 1.0, step=0.0001, tooltip="The part of the way from noise (0) to picture (1).")
    ] = 0.0,
    return_actual_sigma: Annotated[
        bool, Toggle(tooltip="At 0 and 1 the model's highest and lowest level, instead of values beyond them.")
    ] = False,
) -> Annotated[float, Named("sigma_value"), Tip("The noise level there.")]:
    """The noise level after a part of the way from noise to picture."""
    levels = model.diffusion.levels
    if return_actual_sigma and sampling_percent in (0.0, 1.0):
        return levels.sigma_max if sampling_percent == 0.0 else levels.sigma_min
    sigma = levels.at(sampling_percent)
    return sigma if math.isfinite(sigma) else 999999999.9


def _check_positive(sigma_min: float, sigma_max: float) -> None:
    """Blame two levels between which no list descends in log sigma."""
    if not 0 < sigma_min < sigma_max:
        raise InputError(
            "sigma_min", f"must be above 0 and below sigma_max, which is {sigma_max:g}; it is {sigma_min:g}"
        )
