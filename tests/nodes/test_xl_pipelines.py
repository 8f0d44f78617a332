"""What SDXL's users do with two models, or in few steps, beside diffusers' own pipelines with the same weights and noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.diffusers_names import diffusers_name
from models.noise import Noise
from models.samplers import SAMPLERS
from models.types import ChosenSampler, Conditioning, Image, Latent, Mask, Model
from nodes.custom_sampling import sampler_custom
from nodes.inpainting import inpaint_model_conditioning
from nodes.loaders import Checkpoint
from nodes.lora import lora_loader_model_only
from nodes.model_sampling import model_sampling_discrete
from nodes.sampling import ksampler, ksampler_advanced
from nodes.schedulers import sd_turbo_scheduler
from nodes.sdxl import clip_text_encode_sdxl_refiner
from tests.models.oracles import relative_error
from tests.nodes.conftest import Workplace
from tests.nodes.test_sdxl import TOLERANCE, both, networks, opened, ours
from tests.tiny_families import G

SCALE = 0.13025
HEIGHT, WIDTH = 32, 48
SHAPE = (1, 4, HEIGHT // 8, WIDTH // 8)
ASKED = {"height": HEIGHT, "width": WIDTH, "output_type": "latent"}
SAID = {"original_size": (64, 96), "crops_coords_top_left": (16, 8), "target_size": (HEIGHT, WIDTH)}


BETAS: Mapping[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def scheduler(spacing: str, prediction: str = "epsilon") -> Any:
    from diffusers import EulerDiscreteScheduler

    return EulerDiscreteScheduler(**BETAS, timestep_spacing=spacing, prediction_type=prediction)


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


# --- Lightning and Hyper ---------------------------------------------------------------------------------------------------


def in_few_steps(place: Workplace, model: Model, texts: tuple[Conditioning, Conditioning], **how: Any) -> Tensor:
    """As those who made such models say: without guidance, in as many steps as they are for."""
    settings = {"seed": 7, "steps": 4, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", **how}
    made = ksampler(
        place.ctx(),
        model=model,
        positive=texts[0],
        negative=texts[1],
        latent_image=Latent(torch.zeros(SHAPE)),
        **settings,
    )
    return made.samples * SCALE


def prompts(place: Workplace, loaded: Checkpoint) -> tuple[Conditioning, Conditioning]:
    return both(place, loaded.clip, "a red fox", "a star"), both(place, loaded.clip, "", "")


def their_steps(pipeline: Any, texts: tuple[Conditioning, ...], latents: Tensor, **how: Any) -> Tensor:
    how = {"num_inference_steps": 4, "guidance_scale": 0.0, **how}
    with torch.inference_mode():
        return quiet(pipeline)(**encoded(texts), **ASKED, **SAID, latents=latents, **how).images


@pytest.mark.parametrize("steps", [2, 4, 8])
def test_a_lightning_checkpoint_draws_at_trailing_steps(place: Workplace, steps: int) -> None:
    """`simple` is what diffusers calls trailing, as the model's card has it for that program."""
    from diffusers import StableDiffusionXLPipeline

    lightning = opened(place, "xl")
    texts = prompts(place, lightning)
    unet, vae = networks(place, lightning.model, lightning.vae, G.projection)
    by = scheduler("trailing")
    by.set_timesteps(steps)
    pipeline = StableDiffusionXLPipeline(vae, None, None, None, None, unet, by)
    expected = their_steps(pipeline, texts, noise(by.sigmas[0], by), num_inference_steps=steps)
    made = in_few_steps(place, lightning.model, texts, steps=steps)
    assert relative_error(made, expected) <= TOLERANCE


def test_a_lightning_checkpoint_draws_at_the_levels_of_sgm_uniform(place: Workplace) -> None:
    """As its card has it for ComfyUI; the network is told whole time steps, so diffusers' scheduler is, too."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    lightning = opened(place, "xl")
    texts, levels = prompts(place, lightning), lightning.model.diffusion.levels
    given = levels.sigma(torch.linspace(999, 0, 5)[:-1])

    class Whole(EulerDiscreteScheduler):  # type: ignore[misc]
        def set_timesteps(
            self, steps: int | None = None, device: Any = None, timesteps: Any = None, sigmas: Any = None
        ) -> None:
            super().set_timesteps(steps, device, timesteps, sigmas)
            self.timesteps = levels.timestep(self.sigmas[:-1])

    unet, vae = networks(place, lightning.model, lightning.vae, G.projection)
    by = Whole(**BETAS, timestep_spacing="trailing")
    by.set_timesteps(4)
    pipeline = StableDiffusionXLPipeline(vae, None, None, None, None, unet, by)
    latents = noise(given[0], by)
    expected = their_steps(pipeline, texts, latents, num_inference_steps=None, sigmas=[*given.tolist(), 0.0])
    assert relative_error(in_few_steps(place, lightning.model, texts, scheduler="sgm_uniform"), expected) <= TOLERANCE


def test_a_lightning_model_for_one_step_tells_the_picture_itself(place: Workplace) -> None:
    from diffusers import StableDiffusionXLPipeline

    loaded = opened(place, "xl")
    texts = prompts(place, loaded)
    one = model_sampling_discrete(place.ctx(), model=loaded.model, sampling="x0", zsnr=False)
    unet, vae = networks(place, loaded.model, loaded.vae, G.projection)
    by = scheduler("trailing", "sample")
    by.set_timesteps(1)
    pipeline = StableDiffusionXLPipeline(vae, None, None, None, None, unet, by)
    expected = their_steps(pipeline, texts, noise(by.sigmas[0], by), num_inference_steps=1)
    assert relative_error(in_few_steps(place, one, texts, steps=1, scheduler="sgm_uniform"), expected) <= TOLERANCE


def few_step_lora(place: Workplace) -> Any:
    """A LoRA in the names that both are published in, for every layer with a weight of several dimensions but the first and the last."""
    loaded = opened(place, "xl")
    generator = torch.Generator().manual_seed(4)
    tensors: dict[str, Tensor] = {}
    for name, shape in loaded.model.weights.shapes("model").items():
        layer = name.removesuffix(".weight")
        if len(shape) < 2 or layer.startswith(("time_embed", "label_emb", "out.")) or layer == "input_blocks.0.0":
            continue
        stem = f"lora_unet_{diffusers_name(layer, 1).replace('.', '_')}"
        tensors[f"{stem}.lora_down.weight"] = 0.2 * torch.randn(2, *shape[1:], generator=generator)
        tensors[f"{stem}.lora_up.weight"] = 0.2 * torch.randn(shape[0], 2, *[1] * (len(shape) - 2), generator=generator)
        tensors[f"{stem}.alpha"] = torch.tensor(1.0)
    folder = place.folders.roots("loras")[0]
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "sdxl_lightning_4step_lora.safetensors")
    return place.file("loras", "sdxl_lightning_4step_lora.safetensors")


@pytest.mark.parametrize("sampler", ["euler", "ddim"])
def test_a_lora_for_few_steps_makes_one_of_any_checkpoint(place: Workplace, sampler: str) -> None:
    """Lightning's is sampled by Euler's steps, Hyper's by those of DDIM, which are the same ones; theirs without the rest of
    noise at the end that their scheduler leaves where nothing is said."""
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline

    file, loaded = few_step_lora(place), opened(place, "xl")
    texts = prompts(place, loaded)
    model = lora_loader_model_only(place.ctx(), model=loaded.model, lora_name=file, strength_model=1.0)
    assert place.warnings == []
    unet, vae = networks(place, loaded.model, loaded.vae, G.projection)
    if sampler == "euler":
        by = scheduler("trailing")
        by.set_timesteps(4)
        latents = noise(by.sigmas[0], by)
    else:
        by, latents = DDIMScheduler(**BETAS, timestep_spacing="trailing", clip_sample=False), Noise(7).initial(SHAPE)
    pipeline: Any = StableDiffusionXLPipeline(vae, None, None, None, None, unet, by)
    pipeline.load_lora_weights(str(file.path.parent), weight_name=file.name)
    expected = their_steps(pipeline, texts, latents)
    made = in_few_steps(place, model, texts, sampler_name=sampler)
    assert relative_error(made, expected) <= TOLERANCE
    assert relative_error(in_few_steps(place, loaded.model, texts), expected) > 10 * TOLERANCE, "the LoRA counts"


# --- v-prediction ----------------------------------------------------------------------------------------------------------


def test_a_model_that_predicts_v_from_nothing_but_noise_draws_what_its_pipeline_draws(place: Workplace) -> None:
    """As NoobAI and its like are published: what the file says is enough."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    loaded = opened(place, "xl", "v_pred", "ztsnr")
    texts = prompts(place, loaded)
    unet, vae = networks(place, loaded.model, loaded.vae, G.projection)
    by = EulerDiscreteScheduler(
        **BETAS, timestep_spacing="trailing", prediction_type="v_prediction", rescale_betas_zero_snr=True
    )
    by.set_timesteps(4)
    pipeline = StableDiffusionXLPipeline(vae, None, None, None, None, unet, by)
    expected = their_steps(pipeline, texts, noise(by.sigmas[0], by), guidance_scale=5.0)
    assert relative_error(in_few_steps(place, loaded.model, texts, cfg=5.0), expected) <= TOLERANCE


# --- inpainting ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [1.0, 0.75])
def test_four_steps_of_the_inpainting_model_are_those_of_its_pipeline(place: Workplace, strength: float) -> None:
    from diffusers import StableDiffusionXLInpaintPipeline

    loaded = opened(place, "xl_inpainting")
    picture, values = torch.rand(1, HEIGHT, WIDTH, 3), torch.zeros(1, HEIGHT, WIDTH)
    values[:, 8:24, 16:] = 1
    texts = prompts(place, loaded)
    seeing = inpaint_model_conditioning(
        place.ctx(), positive=texts[0], negative=texts[1], vae=loaded.vae, pixels=Image(picture), mask=Mask(values),
        noise_mask=False,
    )  # fmt: skip
    by = scheduler("trailing")
    by.set_timesteps(4)
    sigmas = by.sigmas[4 - round(4 * strength) :]
    unet, vae = networks(place, loaded.model, loaded.vae, G.projection)
    made = ours(place, loaded.model, [seeing.positive, seeing.negative], sigmas, seeing.latent).samples

    x = (picture * 2 - 1).movedim(-1, 1)
    pipeline = quiet(StableDiffusionXLInpaintPipeline(vae, None, None, None, None, unet, by))
    with torch.inference_mode():
        whole, greyed = (vae.encode(seen).latent_dist.mode() * SCALE for seen in (x, x * (values[:, None] < 0.5)))
        begun = (
            whole + Noise(7).initial(SHAPE) * (1 + sigmas[0] ** 2).sqrt()
        )  # our noise lies upon the picture at any strength
        start = {"latents": begun / by.init_noise_sigma} if strength == 1 else {}
        expected = pipeline(
            **encoded(texts), **ASKED, **SAID, image=whole, mask_image=values[:, None], masked_image_latents=greyed,
            strength=strength, num_inference_steps=4, guidance_scale=5.0, generator=torch.Generator().manual_seed(7), **start,
        ).images  # fmt: skip
    assert relative_error(made * SCALE, expected) <= TOLERANCE
    unseen = ours(place, loaded.model, list(texts), sigmas, seeing.latent).samples
    assert relative_error(unseen, made) > 10 * TOLERANCE, "the picture beside it counts"
