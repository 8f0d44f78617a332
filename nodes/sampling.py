"""Nodes that denoise."""

from __future__ import annotations

from functools import partial
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from graph.errors import InputError
from graph.sockets import Choice, Float, Int
from graph.spec import Tip, node
from graph.thrift import Thrift
from models.activations import unet_bytes
from models.denoiser import Denoiser, Guided
from models.guidance import Cfg
from models.machine import freed_memory_kept
from models.noise import Noise
from models.preview import latent_preview, latent_rgb
from models.samplers import SAMPLERS, SKIP_PENULTIMATE
from models.schedules import SCHEDULES, Schedule, sigmas_for, starts_from_noise, without_penultimate
from models.steps import Sampler
from models.types import Conditioning, Guider, Latent, Model
from nodes.services import Context

SEED = Int(0, 2**64 - 1, control_after_generate=True, tooltip="Decides the noise: the same seed, the same picture.")
CFG = Float(0.0, 100.0, step=0.1, round=0.01, tooltip="How strongly to follow the prompt; 1 ignores the negative one.")
SAMPLER = Choice(SAMPLERS, tooltip="How each step is computed.")
SCHEDULER = Choice(SCHEDULES, tooltip="How the noise is spread over the steps.")


@node("KSampler", category="sampling")
def ksampler(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net that removes the noise.")],
    seed: Annotated[int, SEED] = 0,
    steps: Annotated[int, Int(1, 10_000, tooltip="How many steps to take; more are slower and finer.")] = 20,
    cfg: Annotated[float, CFG] = 8.0,
    sampler_name: Annotated[str, SAMPLER],
    scheduler: Annotated[str, SCHEDULER],
    positive: Annotated[Conditioning, Tip("What the picture should show.")],
    negative: Annotated[Conditioning, Tip("What it should not show.")],
    latent_image: Annotated[Latent, Tip("What to start from: blank, or a picture to change.")],
    denoise: Annotated[
        float, Float(0.0, 1.0, step=0.01, tooltip="How much of the latent to replace; below 1 keeps its composition.")
    ] = 1.0,
) -> Annotated[Latent, Tip("The denoised latents.")]:
    """Denoise latents, towards the positive prompt and away from the negative one."""
    sigmas = sigmas_for(_schedule(scheduler, sampler_name), model.diffusion.levels, steps, denoise)
    guider = Guider(model, (positive, negative), Cfg(cfg))
    return sampled(ctx, guider, SAMPLERS[sampler_name], sigmas, Noise(seed), latent_image).output


@node("KSamplerAdvanced", category="sampling", title="KSampler (Advanced)")
def ksampler_advanced(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net that removes the noise.")],
    add_noise: Annotated[
        str, Choice(("enable", "disable"), tooltip="Off for a latent that still holds the noise of earlier steps.")
    ],
    noise_seed: Annotated[int, SEED] = 0,
    steps: Annotated[int, Int(1, 10_000, tooltip="How many steps the whole schedule has.")] = 20,
    cfg: Annotated[float, CFG] = 8.0,
    sampler_name: Annotated[str, SAMPLER],
    scheduler: Annotated[str, SCHEDULER],
    positive: Annotated[Conditioning, Tip("What the picture should show.")],
    negative: Annotated[Conditioning, Tip("What it should not show.")],
    latent_image: Annotated[Latent, Tip("What to start from: blank, or a picture or latent to go on with.")],
    start_at_step: Annotated[int, Int(0, 10_000, tooltip="Steps of the schedule to leave out at its start.")] = 0,
    end_at_step: Annotated[int, Int(0, 10_000, tooltip="The step of the schedule to stop before.")] = 10_000,
    return_with_leftover_noise: Annotated[
        str,
        Choice(("disable", "enable"), tooltip="Whether to stop with the noise of that step, for others to go on with."),
    ],
) -> Annotated[Latent, Tip("The latents, denoised or on the way.")]:
    """Take some of the steps of a schedule, so that several of these nodes can share it."""
    sigmas = _schedule(scheduler, sampler_name)(model.diffusion.levels, steps)
    if end_at_step < len(sigmas) - 1:
        end = sigmas[end_at_step : end_at_step + 1] if return_with_leftover_noise == "enable" else torch.zeros(1)
        sigmas = torch.cat([sigmas[:end_at_step], end])
    if start_at_step >= len(sigmas) - 1:
        return latent_image
    guider = Guider(model, (positive, negative), Cfg(cfg))
    noise = Noise(noise_seed, blank=add_noise == "disable")
    return sampled(ctx, guider, SAMPLERS[sampler_name], sigmas[start_at_step:], noise, latent_image).output


class Sampled(NamedTuple):
    """Where sampling ended, and the estimate of the clean latent that its last step saw."""

    output: Annotated[Latent, Tip("The latents after the last step.")]
    denoised_output: Annotated[Latent, Tip("What the last step took for the clean latents.")]


def sampled(
    ctx: Context, guider: Guider, sampler: Sampler, sigmas: Tensor, noise: Noise, latent: Latent, blamed: str = ""
) -> Sampled:
    """Noise upon a latent, and the steps of a sampler from there, with progress and previews.

    Without sigmas the latent comes back as it is. blamed: the input that brought the guider, if it came as one.
    """
    if not len(sigmas):
        return Sampled(latent, latent)
    diffusion, scale = guider.model.diffusion, guider.model.family.latent.scale
    with ctx.services.use(guider.model, blamed or "model") as unet:
        _check_text(unet.config.context_dim, guider, blamed)
        strength = (1 + sigmas[0] ** 2).sqrt() if starts_from_noise(sigmas, diffusion.levels) else sigmas[0]
        x = latent.samples * scale + noise.initial(tuple(latent.samples.shape)) * strength
        denoiser = Denoiser(unet, diffusion, ctx.check)
        apart = ctx.thrift >= Thrift.APART
        guided = Guided(denoiser, guider.texts, guider.guidance, apart=apart)
        batch, _, height, width = x.shape
        needed = unet_bytes(unet.config, guided.at_once * batch, height, width, denoiser.dtype)
        rgb = latent_rgb(guider.model.weights.metadata)
        with ctx.services.residency.room(needed), freed_memory_kept(denoiser.device):
            denoised = None
            for step in sampler(guided, x.to(denoiser.device), sigmas, noise):
                ctx.progress(step.i + 1, len(sigmas) - 1, partial(latent_preview, step.denoised, rgb))
                x, denoised = step.x, step.denoised
    output = Latent((x / scale).cpu())
    return Sampled(output, output if denoised is None else Latent((denoised / scale).cpu()))


def _schedule(scheduler: str, sampler_name: str) -> Schedule:
    """The schedule that these nodes give a sampler; those with a midpoint in log sigma get a longer last step."""
    schedule = SCHEDULES[scheduler]
    return without_penultimate(schedule) if sampler_name in SKIP_PENULTIMATE else schedule


def _check_text(width: int, guider: Guider, blamed: str) -> None:
    """Blame the prompt that another family's text encoder made."""
    for name, conditioning in zip(guider.names, guider.texts, strict=True):
        for cond in conditioning.conds:
            if cond.tokens.shape[-1] != width:
                raise InputError(
                    blamed or name,
                    f"text vectors of width {cond.tokens.shape[-1]}, but this model reads vectors of {width}",
                )
