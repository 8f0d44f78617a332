"""Sampling in parts: noise, guider, sampler and sigmas from nodes of their own."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Annotated, NamedTuple

import torch

from graph.errors import InputError
from graph.sockets import Choice, Float, Int, Toggle
from graph.spec import ALIKE, Items, Tip, node
from models.guidance import Cfg
from models.noise import RULES, Noise
from models.samplers import SAMPLERS
from models.schedules import SCHEDULES, karras_between, sigmas_for
from models.singlestep import sample_ddim
from models.steps import Stochastic
from models.types import ChosenSampler, Conditioning, Guider, Latent, Model, Sigmas
from nodes.denoising import TOGETHER, Sampled, sampled
from nodes.sampling import CFG, SAMPLER, SCHEDULER, SEED
from nodes.services import Context

PARTS = "sampling/custom_sampling"


@node("SamplerCustom", category=PARTS, items=Items(("latent_image",)))
def sampler_custom(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net that removes the noise.")],
    add_noise: Annotated[bool, Toggle(tooltip="Off for a latent that still holds the noise of earlier steps.")] = True,
    noise_seed: Annotated[int, SEED] = 0,
    cfg: Annotated[float, CFG] = 8.0,
    positive: Annotated[Conditioning, Tip("What the picture should show.")],
    negative: Annotated[Conditioning, Tip("What it should not show.")],
    sampler: Annotated[ChosenSampler, Tip("How each step is computed.")],
    sigmas: Annotated[Sigmas, Tip("The noise levels to visit.")],
    latent_image: Annotated[Latent, Tip("What to start from.")],
) -> Sampled:
    """Denoise latents with a sampler and noise levels of your own."""
    guider = Guider(model, (positive, negative), Cfg(cfg))
    return sampled(ctx, guider, sampler, sigmas.values, Noise(noise_seed, not add_noise), latent_image)


@node("SamplerCustomAdvanced", category=PARTS, items=Items(("latent_image",)))
def sampler_custom_advanced(
    ctx: Context,
    *,
    noise: Annotated[Noise, Tip("The noise to start from, and that samplers add.")],
    guider: Annotated[Guider, Tip("The model and what steers it.")],
    sampler: Annotated[ChosenSampler, Tip("How each step is computed.")],
    sigmas: Annotated[Sigmas, Tip("The noise levels to visit.")],
    latent_image: Annotated[Latent, Tip("What to start from.")],
) -> Sampled:
    """Denoise latents with every part of sampling chosen by a node."""
    return sampled(ctx, guider, sampler, sigmas.values, noise, latent_image, blamed="guider")


@node("RandomNoise", category=f"{PARTS}/noise", items=ALIKE)
def random_noise(
    ctx: Context, *, noise_seed: Annotated[int, SEED] = 0
) -> Annotated[Noise, Tip("The noise of that seed.")]:
    """The noise of one seed."""
    return Noise(noise_seed)


@node("RandomNoiseOf", category=f"{PARTS}/noise", title="Random Noise (of Another Program)")
def random_noise_of(
    ctx: Context,
    *,
    noise_seed: Annotated[int, SEED] = 0,
    drawn_by: Annotated[
        str, Choice(RULES, typed=True, tooltip="Which program a picture with this seed was made with, and on what.")
    ] = "A1111 on a GPU or by NV",
) -> Annotated[Noise, Tip("The noise that this seed gave there.")]:
    """The noise that a seed gives in another program, also that of its GPU: so its pictures come about here."""
    return Noise(noise_seed, rule=RULES[drawn_by])


@node("DisableNoise", category=f"{PARTS}/noise")
def disable_noise(ctx: Context) -> Annotated[Noise, Tip("No noise to start from.")]:
    """Start without noise, for a latent that holds its own. Samplers that add noise use seed 0."""
    return Noise(0, blank=True)


@node("AddNoise", category="_for_testing/custom_sampling/noise")
def add_noise(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net that will remove the noise.")],
    noise: Annotated[Noise, Tip("The noise to add.")],
    sigmas: Annotated[Sigmas, Tip("Noise as much as between the first and the last of these levels.")],
    latent_image: Annotated[Latent, Tip("The latents.")],
) -> Annotated[Latent, Tip("The latents with noise.")]:
    """Put noise upon latents, to sample on from there without adding any."""
    if not len(sigmas.values):
        return latent_image
    first, last = sigmas.values[0], sigmas.values[-1]
    strength = (first - last).abs() if len(sigmas.values) > 1 else first
    scale = model.family.latent.scale
    drawn = noise.upon(latent_image.samples, latent_image.batch_index)
    return replace(latent_image, samples=(latent_image.samples * scale + drawn * strength) / scale)


@node("CFGGuider", category=f"{PARTS}/guiders", items=ALIKE)
def cfg_guider(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net that removes the noise.")],
    positive: Annotated[Conditioning, Tip("What the picture should show.")],
    negative: Annotated[Conditioning, Tip("What it should not show.")],
    cfg: Annotated[float, CFG] = 8.0,
) -> Annotated[Guider, Tip("The model, steered by both prompts.")]:
    """Steer a model towards one prompt and away from another."""
    return Guider(model, (positive, negative), Cfg(cfg))


@node("BasicGuider", category=f"{PARTS}/guiders", items=ALIKE)
def basic_guider(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net that removes the noise.")],
    conditioning: Annotated[Conditioning, Tip("What the picture should show.")],
) -> Annotated[Guider, Tip("The model, steered by the prompt alone.")]:
    """Steer a model by one prompt, without guidance."""
    return Guider(model, (conditioning, Conditioning(())), Cfg(1.0), names=("conditioning", ""))


@node("KSamplerSelect", category=f"{PARTS}/samplers", items=Items(unless=TOGETHER))
def ksampler_select(
    ctx: Context, *, sampler_name: Annotated[str, SAMPLER]
) -> Annotated[ChosenSampler, Tip("The sampler.")]:
    """A sampler by its name, with its usual settings."""
    return ChosenSampler(SAMPLERS[sampler_name], sampler_name)


@node("SamplerDDIM", category=f"{PARTS}/samplers")
def sampler_ddim(
    ctx: Context,
    *,
    eta: Annotated[
        float,
        Float(0.0, 1.0, step=0.01, tooltip="How much noise each step adds: 0 none, 1 as much as DDPM."),
    ] = 0.0,
) -> Annotated[ChosenSampler, Tip("The sampler.")]:
    """DDIM, between its usual self without fresh noise (eta 0) and DDPM (eta 1)."""
    return ChosenSampler(Stochastic(partial(sample_ddim, eta=eta)), "ddim")


@node("BasicScheduler", category=f"{PARTS}/schedulers", items=ALIKE)
def basic_scheduler(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net whose noise levels to use.")],
    scheduler: Annotated[str, SCHEDULER],
    steps: Annotated[int, Int(1, 10_000, tooltip="How many steps to take.")] = 20,
    denoise: Annotated[
        float, Float(0.0, 1.0, step=0.01, tooltip="How much of a latent to replace; below 1 keeps its composition.")
    ] = 1.0,
) -> Annotated[Sigmas, Tip("The noise levels, ending at 0.")]:
    """The noise levels of a schedule by its name."""
    return Sigmas(sigmas_for(SCHEDULES[scheduler], model.diffusion.levels, steps, denoise)[-(steps + 1) :])


@node("KarrasScheduler", category=f"{PARTS}/schedulers", items=ALIKE)
def karras_scheduler(
    ctx: Context,
    *,
    steps: Annotated[int, Int(1, 10_000, tooltip="How many steps to take.")] = 20,
    sigma_max: Annotated[
        float, Float(0.0, 5000.0, step=0.01, round=False, tooltip="The noise level to start at.")
    ] = 14.614642,
    sigma_min: Annotated[
        float, Float(0.0, 5000.0, step=0.01, round=False, tooltip="The last noise level above 0.")
    ] = 0.0291675,
    rho: Annotated[
        float, Float(0.0, 100.0, step=0.01, round=False, tooltip="How dense the low levels lie; 1 for equal steps.")
    ] = 7.0,
) -> Annotated[Sigmas, Tip("The noise levels, ending at 0.")]:
    """Noise levels between two of your own, equal steps in their rho-th root."""
    _check_range(sigma_min, sigma_max)
    largest = max(sigma_max, 1 / max(sigma_min, 1e-30))
    if rho == 0 or math.log(largest) / rho > MOST_ROOT:
        raise InputError("rho", f"no number holds the root of {largest:g} that belongs to {rho:g}; 1 and above work")
    return Sigmas(karras_between(sigma_min, sigma_max, steps, rho))


MOST_ROOT = 80.0  # float32 ends at exp(88)


def _check_range(sigma_min: float, sigma_max: float) -> None:
    """Blame two levels between which no list descends."""
    if not 0 <= sigma_min < sigma_max:
        raise InputError("sigma_max", f"must be above sigma_min, which is {sigma_min:g}, and is {sigma_max:g}")


class SplitLevels(NamedTuple):
    """One list of noise levels in two, which share a level."""

    high_sigmas: Annotated[Sigmas, Tip("The levels of the first steps.")]
    low_sigmas: Annotated[Sigmas, Tip("The levels of the other steps.")]


@node("SplitSigmas", category=f"{PARTS}/sigmas")
def split_sigmas(
    ctx: Context,
    *,
    sigmas: Annotated[Sigmas, Tip("The noise levels to share out.")],
    step: Annotated[int, Int(0, 10_000, tooltip="How many steps the first part takes.")] = 0,
) -> SplitLevels:
    """Share the steps of one list of noise levels between two samplers."""
    return SplitLevels(Sigmas(sigmas.values[: step + 1]), Sigmas(sigmas.values[step:]))


@node("FlipSigmas", category=f"{PARTS}/sigmas")
def flip_sigmas(
    ctx: Context, *, sigmas: Annotated[Sigmas, Tip("The noise levels to turn around.")]
) -> Annotated[Sigmas, Tip("The noise levels, rising.")]:
    """Noise levels in the other direction, to find the noise that a picture comes from."""
    flipped = sigmas.values.flip(0)
    if len(flipped) and flipped[0] == 0:
        flipped = torch.cat([torch.full((1,), 1e-4), flipped[1:]])  # no sampler can leave 0
    return Sigmas(flipped)
