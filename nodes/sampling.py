"""Nodes that denoise."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from graph.sockets import Choice, Float, Int
from graph.spec import Items, Tip, node
from models.guidance import Cfg
from models.noise import Noise
from models.samplers import SAMPLERS, SKIP_PENULTIMATE
from models.schedules import SCHEDULES, Schedule, sigmas_for, without_penultimate
from models.types import ChosenSampler, Conditioning, Guider, Latent, Model
from nodes.denoising import TOGETHER, sampled
from nodes.services import Context

SEED = Int(0, 2**64 - 1, control_after_generate=True, tooltip="Decides the noise: the same seed, the same picture.")
CFG = Float(0.0, 100.0, step=0.1, round=0.01, tooltip="How strongly to follow the prompt; 1 ignores the negative one.")
SAMPLER = Choice(SAMPLERS, tooltip="How each step is computed.")
SCHEDULER = Choice(SCHEDULES, tooltip="How the noise is spread over the steps.")

GivenModel = Annotated[Model, Tip("The U-Net that removes the noise.")]
Positive = Annotated[Conditioning, Tip("What the picture should show.")]
Negative = Annotated[Conditioning, Tip("What it should not show.")]
Start = Annotated[Latent, Tip("What to start from: blank, or a picture to change.")]
Steps = Annotated[int, Int(1, 10_000, tooltip="How many steps to take; more are slower and finer.")]
Denoise = Annotated[
    float, Float(0.0, 1.0, step=0.01, tooltip="How much of the latent to replace; below 1 keeps its composition.")
]


@node(
    "KSampler",
    category="sampling",
    aliases=("generate", "denoise", "seed and steps", "sampler"),
    items=Items(("latent_image",), unless=TOGETHER),
)
def ksampler(
    ctx: Context,
    *,
    model: GivenModel,
    seed: Annotated[int, SEED] = 0,
    steps: Steps = 20,
    cfg: Annotated[float, CFG] = 8.0,
    sampler_name: Annotated[str, SAMPLER],
    scheduler: Annotated[str, SCHEDULER],
    positive: Positive,
    negative: Negative,
    latent_image: Start,
    denoise: Denoise = 1.0,
) -> Annotated[Latent, Tip("The denoised latents.")]:
    """Denoise latents, towards the positive prompt and away from the negative one."""
    sigmas = sigmas_for(schedule_for(scheduler, sampler_name), model.diffusion.levels, steps, denoise)
    guider = Guider(model, (positive, negative), Cfg(cfg))
    return _sampled(ctx, guider, sampler_name, sigmas, Noise(seed), latent_image)


@node("KSamplerNoise", category="sampling", title="KSampler (Noise)", items=Items(("latent_image",), unless=TOGETHER))
def ksampler_noise(
    ctx: Context,
    *,
    model: GivenModel,
    noise: Annotated[Noise, Tip("The noise to start from, and that samplers add.")],
    steps: Steps = 20,
    cfg: Annotated[float, CFG] = 8.0,
    sampler_name: Annotated[str, SAMPLER],
    scheduler: Annotated[str, SCHEDULER],
    positive: Positive,
    negative: Negative,
    latent_image: Start,
    denoise: Denoise = 1.0,
) -> Annotated[Latent, Tip("The denoised latents.")]:
    """KSampler with noise from a node, such as that of another program."""
    sigmas = sigmas_for(schedule_for(scheduler, sampler_name), model.diffusion.levels, steps, denoise)
    guider = Guider(model, (positive, negative), Cfg(cfg))
    return _sampled(ctx, guider, sampler_name, sigmas, noise, latent_image)


@node(
    "KSamplerAdvanced",
    category="sampling",
    title="KSampler (Advanced)",
    items=Items(("latent_image",), unless=TOGETHER),
)
def ksampler_advanced(
    ctx: Context,
    *,
    model: GivenModel,
    add_noise: Annotated[
        str, Choice(("enable", "disable"), tooltip="Off for a latent that still holds the noise of earlier steps.")
    ],
    noise_seed: Annotated[int, SEED] = 0,
    steps: Annotated[int, Int(1, 10_000, tooltip="How many steps the whole schedule has.")] = 20,
    cfg: Annotated[float, CFG] = 8.0,
    sampler_name: Annotated[str, SAMPLER],
    scheduler: Annotated[str, SCHEDULER],
    positive: Positive,
    negative: Negative,
    latent_image: Annotated[Latent, Tip("What to start from: blank, or a picture or latent to go on with.")],
    start_at_step: Annotated[int, Int(0, 10_000, tooltip="Steps of the schedule to leave out at its start.")] = 0,
    end_at_step: Annotated[int, Int(0, 10_000, tooltip="The step of the schedule to stop before.")] = 10_000,
    return_with_leftover_noise: Annotated[
        str,
        Choice(("disable", "enable"), tooltip="Whether to stop with the noise of that step, for others to go on with."),
    ],
) -> Annotated[Latent, Tip("The latents, denoised or on the way.")]:
    """Take some of the steps of a schedule, so that several of these nodes can share it."""
    sigmas = schedule_for(scheduler, sampler_name)(model.diffusion.levels, steps)
    if end_at_step < len(sigmas) - 1:
        end = sigmas[end_at_step : end_at_step + 1] if return_with_leftover_noise == "enable" else torch.zeros(1)
        sigmas = torch.cat([sigmas[:end_at_step], end])
    if start_at_step >= len(sigmas) - 1:
        return latent_image
    guider = Guider(model, (positive, negative), Cfg(cfg))
    noise = Noise(noise_seed, blank=add_noise == "disable")
    return _sampled(ctx, guider, sampler_name, sigmas[start_at_step:], noise, latent_image)


def _sampled(
    ctx: Context, guider: Guider, sampler_name: str, sigmas: Tensor, noise: Noise, latent_image: Latent
) -> Latent:
    chosen = ChosenSampler(SAMPLERS[sampler_name], sampler_name)
    return sampled(ctx, guider, chosen, sigmas, noise, latent_image).output


def schedule_for(scheduler: str, sampler_name: str) -> Schedule:
    """The schedule that these nodes give a sampler; those with a midpoint in log sigma get a longer last step."""
    schedule = SCHEDULES[scheduler]
    return without_penultimate(schedule) if sampler_name in SKIP_PENULTIMATE else schedule
