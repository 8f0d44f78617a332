"""What SDXL's users do with two models, or in few steps, beside diffusers' own pipelines with the same weights and noise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.noise import Noise
from models.samplers import SAMPLERS
from models.types import ChosenSampler, Conditioning, Latent
from nodes.custom_sampling import sampler_custom
from nodes.sampling import ksampler_advanced
from nodes.schedulers import sd_turbo_scheduler
from nodes.sdxl import clip_text_encode_sdxl_refiner
from tests.models.oracles import relative_error
from tests.nodes.conftest import Workplace
from tests.nodes.test_sdxl import TOLERANCE, both, networks, opened
from tests.tiny_families import G

SCALE = 0.13025
HEIGHT, WIDTH = 32, 48
SHAPE = (1, 4, HEIGHT // 8, WIDTH // 8)
ASKED = {"height": HEIGHT, "width": WIDTH, "output_type": "latent"}
SAID = {"original_size": (64, 96), "crops_coords_top_left": (16, 8), "target_size": (HEIGHT, WIDTH)}


def scheduler(spacing: str) -> Any:
    from diffusers import EulerDiscreteScheduler

    return EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing=spacing
    )


def encoded(texts: tuple[Conditioning, ...]) -> dict[str, Tensor | None]:
    positive, negative = (text.conds[0] for text in texts)
    return {
        "prompt_embeds": positive.tokens, "pooled_prompt_embeds": positive.pooled,
        "negative_prompt_embeds": negative.tokens, "negative_pooled_prompt_embeds": negative.pooled,
    }  # fmt: skip


def quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def noise(first: Tensor, by: Any) -> Tensor:
    """What our sampler begins with, as a pipeline wants it, which multiplies it by what its scheduler says."""
    return Noise(7).initial(SHAPE) * (1 + first**2).sqrt() / by.init_noise_sigma


def test_the_refiner_takes_over_half_way(place: Workplace) -> None:
    """`denoising_end` of the one pipeline and `denoising_start` of the other."""
    from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline

    base, refiner = opened(place, "xl"), opened(place, "refiner")
    texts = both(place, base.clip, "a red fox", "a star"), both(place, base.clip, "", "")
    finishing = tuple(
        clip_text_encode_sdxl_refiner(
            place.ctx(), ascore=score, width=WIDTH, height=HEIGHT, text=text, clip=refiner.clip
        )
        for score, text in ((6.5, "a red fox"), (2.0, ""))
    )
    shared = {"noise_seed": 7, "steps": 4, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal"}
    half = ksampler_advanced(
        place.ctx(), model=base.model, positive=texts[0], negative=texts[1], latent_image=Latent(torch.zeros(SHAPE)),
        add_noise="enable", end_at_step=2, return_with_leftover_noise="enable", **shared,
    )  # fmt: skip
    made = ksampler_advanced(
        place.ctx(), model=refiner.model, positive=finishing[0], negative=finishing[1], latent_image=half,
        add_noise="disable", start_at_step=2, return_with_leftover_noise="disable", **shared,
    )  # fmt: skip

    first, second = (networks(place, one.model, one.vae, G.projection) for one in (base, refiner))
    drawing = quiet(StableDiffusionXLPipeline(first[1], None, None, None, None, first[0], by := scheduler("linspace")))
    by.set_timesteps(4)
    finish = quiet(
        StableDiffusionXLImg2ImgPipeline(
            second[1], None, None, None, None, second[0], scheduler("linspace"), requires_aesthetics_score=True
        )
    )
    common: dict[str, Any] = {"num_inference_steps": 4, "guidance_scale": 5.0}
    with torch.inference_mode():
        middle = drawing(
            **encoded(texts), **ASKED, **SAID, **common, latents=noise(by.sigmas[0], by), denoising_end=0.5
        ).images
        expected = finish(
            **encoded(finishing), **common, image=middle, denoising_start=0.5, output_type="latent",
            original_size=(HEIGHT, WIDTH), target_size=(HEIGHT, WIDTH), aesthetic_score=6.5, negative_aesthetic_score=2.0,
        ).images  # fmt: skip
    assert relative_error(half.samples * SCALE, middle) <= TOLERANCE
    assert relative_error(made.samples * SCALE, expected) <= TOLERANCE


def test_turbo_draws_without_guidance_at_the_levels_that_it_knows(place: Workplace) -> None:
    from diffusers import StableDiffusionXLPipeline

    turbo = opened(place, "xl")
    texts = both(place, turbo.clip, "a red fox", "a star"), both(place, turbo.clip, "", "")
    unet, vae = networks(place, turbo.model, turbo.vae, G.projection)
    for steps in (1, 10):
        levels = sd_turbo_scheduler(place.ctx(), model=turbo.model, steps=steps)
        made = sampler_custom(
            place.ctx(), model=turbo.model, noise_seed=7, cfg=1.0, positive=texts[0], negative=texts[1],
            sampler=ChosenSampler(SAMPLERS["euler"], "euler"), sigmas=levels, latent_image=Latent(torch.zeros(SHAPE)),
        ).output  # fmt: skip
        pipeline = quiet(StableDiffusionXLPipeline(vae, None, None, None, None, unet, by := scheduler("trailing")))
        by.set_timesteps(steps)
        with torch.inference_mode():
            expected = pipeline(
                **encoded(texts), **ASKED, **SAID, num_inference_steps=steps, guidance_scale=0.0,
                latents=noise(by.sigmas[0], by),
            ).images  # fmt: skip
        assert relative_error(made.samples * SCALE, expected) <= TOLERANCE
