"""Nodes that denoise."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from graph.errors import InputError
from graph.sockets import Choice, Float, Int
from graph.spec import Tip, node
from graph.thrift import Thrift
from models.activations import unet_bytes
from models.denoiser import LATENT_SCALE, Denoiser, Guided
from models.noise import Noise
from models.preview import latent_preview
from models.samplers import SAMPLERS
from models.schedules import SCHEDULES, NoiseLevels, sigmas_for, starts_from_noise
from models.types import Conditioning, Latent, Model
from nodes.services import Context


@node("KSampler", category="sampling")
def ksampler(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net that removes the noise.")],
    seed: Annotated[
        int,
        Int(0, 2**64 - 1, control_after_generate=True, tooltip="Decides the noise: the same seed, the same picture."),
    ] = 0,
    steps: Annotated[int, Int(1, 10_000, tooltip="How many steps to take; more are slower and finer.")] = 20,
    cfg: Annotated[
        float,
        Float(
            0.0, 100.0, step=0.1, round=0.01, tooltip="How strongly to follow the prompt; 1 ignores the negative one."
        ),
    ] = 8.0,
    sampler_name: Annotated[str, Choice(SAMPLERS, tooltip="How each step is computed.")],
    scheduler: Annotated[str, Choice(SCHEDULES, tooltip="How the noise is spread over the steps.")],
    positive: Annotated[Conditioning, Tip("What the picture should show.")],
    negative: Annotated[Conditioning, Tip("What it should not show.")],
    latent_image: Annotated[Latent, Tip("What to start from: blank, or a picture to change.")],
    denoise: Annotated[
        float, Float(0.0, 1.0, step=0.01, tooltip="How much of the latent to replace; below 1 keeps its composition.")
    ] = 1.0,
) -> Annotated[Latent, Tip("The denoised latents.")]:
    """Denoise latents, towards the positive prompt and away from the negative one."""
    levels = NoiseLevels()
    sigmas = sigmas_for(SCHEDULES[scheduler], levels, steps, denoise)
    if len(sigmas) < 2:
        return latent_image
    with ctx.services.use(model, "model") as unet:
        _check_text(unet.config.context_dim, positive=positive, negative=negative)
        noise = Noise(seed)
        strength = (1 + sigmas[0] ** 2).sqrt() if starts_from_noise(sigmas, levels) else sigmas[0]
        x = latent_image.samples * LATENT_SCALE + noise.initial(tuple(latent_image.samples.shape)) * strength
        denoiser = Denoiser(unet, levels, ctx.check)
        guided = Guided(denoiser, positive, negative, cfg, apart=ctx.thrift >= Thrift.APART)
        batch, _, height, width = x.shape
        needed = unet_bytes(unet.config, guided.at_once * batch, height, width, denoiser.dtype)
        with ctx.services.residency.room(needed):
            for step in SAMPLERS[sampler_name](guided, x.to(denoiser.device), sigmas, noise.stream()):
                ctx.progress(step.i + 1, len(sigmas) - 1, partial(latent_preview, step.denoised))
                x = step.x
    return Latent((x / LATENT_SCALE).cpu())


def _check_text(width: int, **prompts: Conditioning) -> None:
    """Blame the prompt that another family's text encoder made."""
    for name, conditioning in prompts.items():
        for cond in conditioning.conds:
            if cond.tokens.shape[-1] != width:
                raise InputError(
                    name, f"text vectors of width {cond.tokens.shape[-1]}, but this model reads vectors of {width}"
                )
