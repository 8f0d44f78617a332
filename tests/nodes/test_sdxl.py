"""SDXL, its refiner and Stable Diffusion 2 through the nodes, beside diffusers with the same weights and the same noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from graph.errors import InputError
from models.config import ClipConfig
from models.family import SDXL
from models.guidance import Cfg
from models.micro_conditioning import MicroConditioning, VectorRecipe
from models.noise import Noise
from models.revision import PictureVector, revised
from models.samplers import SAMPLERS
from models.tokenizer import EOS
from models.types import ChosenSampler, Clip, ClipVisionOutput, Cond, Conditioning, Guider, Latent, Model, Vae
from models.vision import Seen
from nodes.conditioning import (
    clip_set_last_layer,
    clip_text_encode,
    conditioning_average,
    conditioning_combine,
    conditioning_set_area,
)
from nodes.denoising import sampled
from nodes.latent import vae_decode
from nodes.loaders import Checkpoint, checkpoint_loader_simple, clip_loader, dual_clip_loader
from nodes.model_sampling import model_sampling_discrete
from nodes.prompt_ranges import conditioning_zero_out
from nodes.sampling import ksampler
from nodes.saving import checkpoint_save, clip_save
from nodes.sdxl import clip_text_encode_sdxl, clip_text_encode_sdxl_refiner, unclip_conditioning
from tests.models.oracles import diffusers_unet, diffusers_vae, relative_error
from tests.models.test_families import padded
from tests.models.test_families import theirs as transformers_tower
from tests.nodes.conftest import Workplace
from tests.tiny_checkpoint import CLIP
from tests.tiny_families import G, H, Kind, write_family

TOLERANCE = 1e-3
SIZES = {"width": 96, "height": 64, "crop_w": 8, "crop_h": 16, "target_width": 48, "target_height": 32}


def opened(place: Workplace, kind: Kind, *marks: str) -> Checkpoint:
    name = f"{kind}.safetensors"
    path = place.folders.roots("checkpoints")[0] / name
    if not path.exists():
        write_family(path, kind, marks=marks)
    return checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", name))


def encode(place: Workplace, clip: Clip, text: str = "a red fox") -> Cond:
    return clip_text_encode(place.ctx(), text=text, clip=clip).conds[0]


def both(place: Workplace, clip: Clip, g: str, l: str) -> Conditioning:  # noqa: E741
    return clip_text_encode_sdxl(place.ctx(), clip=clip, **SIZES, text_g=g, text_l=l)


# --- pipelines -------------------------------------------------------------------------------------------------------------


def euler(prediction: str = "epsilon") -> Any:
    from diffusers import EulerDiscreteScheduler

    return EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction,
        timestep_spacing="leading", steps_offset=1,
    )  # fmt: skip


def ours(place: Workplace, model: Model, texts: list[Conditioning], sigmas: Tensor, x: Latent, **noise: Any) -> Latent:
    guider = Guider(model, tuple(texts), Cfg(5.0))
    return sampled(place.ctx(), guider, ChosenSampler(SAMPLERS["euler"], "euler"), sigmas, Noise(7, **noise), x).output


def networks(place: Workplace, model: Model, vae: Vae, pooled: int) -> tuple[Any, Any]:
    """Those of diffusers, with our weights."""
    with place.services.residency.use(model) as unet, place.services.residency.use(vae) as autoencoder:
        return diffusers_unet(unet, pooled), diffusers_vae(autoencoder)


def begun(scheduler: Any, steps: int) -> tuple[Tensor, Tensor]:
    """The sigmas of four steps, and what our sampler begins with, as diffusers wants it."""
    scheduler.set_timesteps(steps)
    sigmas = scheduler.sigmas.float()
    return sigmas, Noise(7).initial((1, 4, 4, 6)) * sigmas[0] / scheduler.init_noise_sigma


def test_four_steps_of_sdxl_are_those_of_its_pipeline(place: Workplace) -> None:
    from diffusers import StableDiffusionXLPipeline

    model, clip, vae = opened(place, "xl")
    texts = [both(place, clip, "a red fox", "a star"), both(place, clip, "", "")]
    scheduler = euler()
    sigmas, latents = begun(scheduler, 4)
    made = ours(place, model, texts, sigmas, Latent(torch.zeros(1, 4, 4, 6)))

    unet, autoencoder = networks(place, model, vae, G.projection)
    pipeline: Any = StableDiffusionXLPipeline(autoencoder, None, None, None, None, unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    positive, negative = (text.conds[0] for text in texts)
    with torch.inference_mode():
        expected = pipeline(
            prompt_embeds=positive.tokens, pooled_prompt_embeds=positive.pooled,
            negative_prompt_embeds=negative.tokens, negative_pooled_prompt_embeds=negative.pooled,
            latents=latents, num_inference_steps=4, guidance_scale=5.0, height=32, width=48,
            original_size=(64, 96), crops_coords_top_left=(16, 8), target_size=(32, 48), output_type="latent",
        ).images  # fmt: skip
        picture = autoencoder.decode(expected / 0.13025).sample.movedim(1, -1) / 2 + 0.5
    assert relative_error(made.samples * 0.13025, expected) <= TOLERANCE
    assert (vae_decode(place.ctx(), samples=made, vae=vae).pixels - picture.clamp(0, 1)).abs().max() <= 1 / 255


def test_a_refiner_takes_over_at_a_step(place: Workplace) -> None:
    base, refiner = opened(place, "xl"), opened(place, "refiner")
    texts = [both(place, base.clip, "a red fox", "a star"), both(place, base.clip, "", "")]
    finishing = [
        clip_text_encode_sdxl_refiner(place.ctx(), ascore=score, width=48, height=32, text=text, clip=refiner.clip)
        for score, text in ((6.5, "a red fox"), (2.0, ""))
    ]
    scheduler = euler()
    sigmas, latents = begun(scheduler, 4)
    half = ours(place, base.model, texts, sigmas[:3], Latent(torch.zeros(1, 4, 4, 6)))
    made = ours(place, refiner.model, finishing, sigmas[2:], half, blank=True)

    unets = [networks(place, one.model, one.vae, G.projection)[0] for one in (base, refiner)]
    x = latents * scheduler.init_noise_sigma
    said = [[torch.tensor([[64.0, 96, 16, 8, 32, 48]])] * 2, [torch.tensor([[32, 48, 0, 0, s]]) for s in (6.5, 2.0)]]
    with torch.inference_mode():
        for i, t in enumerate(scheduler.timesteps):
            late = i >= 2
            estimates = [
                unets[late](
                    scheduler.scale_model_input(x, t), t, text.conds[0].tokens,
                    added_cond_kwargs={"text_embeds": text.conds[0].pooled, "time_ids": said[late][side]},
                ).sample
                for side, text in enumerate(finishing if late else texts)
            ]  # fmt: skip
            x = scheduler.step(estimates[1] + 5.0 * (estimates[0] - estimates[1]), t, x).prev_sample
    assert relative_error(made.samples * 0.13025, x) <= TOLERANCE


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_four_steps_of_stable_diffusion_2_are_those_of_its_pipeline(place: Workplace, prediction: str) -> None:
    from diffusers import StableDiffusionPipeline

    marks = ["v_pred"] if prediction == "v_prediction" else []
    model, clip, vae = opened(place, "sd2", *marks)
    if not marks:  # these weights have biases that deviate as those of a v model do
        model = model_sampling_discrete(place.ctx(), model=model, sampling="eps", zsnr=False)
    texts = [Conditioning((encode(place, clip),)), Conditioning((encode(place, clip, ""),))]
    scheduler = euler(prediction)
    sigmas, latents = begun(scheduler, 4)
    made = ours(place, model, texts, sigmas, Latent(torch.zeros(1, 4, 4, 6)))
    unet, autoencoder = networks(place, model, vae, 0)
    pipeline: Any = StableDiffusionPipeline(autoencoder, None, None, unet, scheduler, None, None, None, False)
    pipeline.set_progress_bar_config(disable=True)
    with torch.inference_mode():
        expected = pipeline(
            prompt_embeds=texts[0].conds[0].tokens, negative_prompt_embeds=texts[1].conds[0].tokens, latents=latents,
            num_inference_steps=4, guidance_scale=5.0, height=32, width=48, output_type="latent",
        ).images  # fmt: skip
    assert relative_error(made.samples * 0.18215, expected) <= TOLERANCE


# --- prompts ---------------------------------------------------------------------------------------------------------------


def test_each_tower_reads_its_own_text_and_the_shorter_is_filled_up(place: Workplace) -> None:
    clip = opened(place, "xl").clip
    long = ", ".join(["a red fox"] * 30)
    cond = both(place, clip, long, "a star").conds[0]
    assert cond.tokens.shape == (1, 154, CLIP.width + G.width)
    alone = encode(place, clip, "a star").tokens[..., : CLIP.width]
    empty = encode(place, clip, "").tokens[..., : CLIP.width]
    torch.testing.assert_close(cond.tokens[..., : CLIP.width], torch.cat([alone, empty], dim=1))
    torch.testing.assert_close(cond.tokens[..., CLIP.width :], encode(place, clip, long).tokens[..., CLIP.width :])
    torch.testing.assert_close(cond.pooled, encode(place, clip, long).pooled)
    assert cond.said == MicroConditioning(*SIZES.values())


def test_what_is_said_of_the_picture_goes_with_the_prompt(place: Workplace) -> None:
    clip = opened(place, "xl").clip
    one, other = both(place, clip, "a", "b"), both(place, clip, "c", "d")
    area = conditioning_set_area(place.ctx(), conditioning=one, width=64, height=64, x=0, y=0, strength=1.0)
    combined = conditioning_combine(place.ctx(), conditioning_1=area, conditioning_2=other)
    mixed = conditioning_average(
        place.ctx(), conditioning_to=one, conditioning_from=other, conditioning_to_strength=0.25
    )
    nothing = conditioning_zero_out(place.ctx(), conditioning=one)
    for cond in (*combined.conds, *mixed.conds, *nothing.conds):
        assert cond.said == MicroConditioning(*SIZES.values())
    torch.testing.assert_close(mixed.conds[0].pooled, 0.25 * one.conds[0].pooled + 0.75 * other.conds[0].pooled)
    assert not nothing.conds[0].pooled.any() and nothing.conds[0].pooled.shape == one.conds[0].pooled.shape


@pytest.mark.parametrize(
    ("said", "away", "numbers"),
    [
        (MicroConditioning(), False, [32, 48, 0, 0, 32, 48]),
        (MicroConditioning(96, 64), True, [64, 96, 0, 0, 64, 96]),
        (MicroConditioning(96, 64, 8, 16, 24, 40), False, [64, 96, 16, 8, 40, 24]),
    ],
)
def test_what_nobody_said_is_taken_from_the_picture(said: MicroConditioning, away: bool, numbers: list[float]) -> None:
    pooled = torch.ones(1, 5)
    expected = VectorRecipe()(pooled, MicroConditioning(*[numbers[i] for i in (1, 0, 3, 2, 5, 4)]), 1, 1, away)  # type: ignore[arg-type]
    torch.testing.assert_close(VectorRecipe()(pooled, said, 48, 32, away), expected)
    assert expected.shape == (1, 5 + 6 * 256) == (1, VectorRecipe().width(5))


def test_a_refiner_aims_lower_for_what_it_is_to_avoid() -> None:
    recipe, pooled = VectorRecipe(scored=True), torch.ones(1, 5)
    for away, score in ((False, 6.0), (True, 2.5)):
        given = recipe(pooled, MicroConditioning(score=score), 48, 32, not away)
        torch.testing.assert_close(recipe(pooled, MicroConditioning(), 48, 32, away), given)


def test_areas_and_lengths_keep_each_text_with_its_vector(place: Workplace) -> None:
    """Texts of lengths that do not go in one call give what they give in one."""
    model, clip, _ = opened(place, "xl")
    long = both(place, clip, ", ".join(["a red fox"] * 170), "a star")
    latent = Latent(torch.zeros(2, 4, 8, 8))
    area = conditioning_set_area(place.ctx(), conditioning=long, width=64, height=32, x=0, y=0, strength=1.0)
    positive = conditioning_combine(place.ctx(), conditioning_1=area, conditioning_2=both(place, clip, "a", "b"))
    settings: Mapping[str, Any] = {"seed": 1, "steps": 2, "cfg": 4.0, "sampler_name": "euler", "scheduler": "karras"}
    made = ksampler(
        place.ctx(), model=model, positive=positive, negative=both(place, clip, "", ""), latent_image=latent, **settings
    )
    assert made.samples.isfinite().all() and float(made.samples.std()) > 0.1


def test_an_embedding_has_vectors_for_each_tower(place: Workplace) -> None:
    clip = opened(place, "xl").clip
    vectors = {"clip_l": torch.full((1, CLIP.width), 0.5), "clip_g": torch.full((1, G.width), -0.5)}
    save_file(vectors, place.folders.roots("embeddings")[0] / "style.safetensors")
    styled, plain = encode(place, clip, "embedding:style"), encode(place, clip, "")
    for part in (slice(None, CLIP.width), slice(CLIP.width, None)):
        assert not torch.allclose(styled.tokens[..., part], plain.tokens[..., part])


def test_an_embedding_in_two_encoders_is_what_transformers_reads_with_its_rows(place: Workplace) -> None:
    """As trainers write it for SDXL; theirs has its vectors as rows of both tables of tokens."""
    clip, state = opened(place, "xl").clip, load_file(place.folders.roots("checkpoints")[0] / "xl.safetensors")
    state = {name: tensor.float() for name, tensor in state.items()}
    generator = torch.Generator().manual_seed(2)
    vectors = {
        "clip_l": torch.randn(2, CLIP.width, generator=generator),
        "clip_g": torch.randn(2, G.width, generator=generator),
    }
    save_file(vectors, place.folders.roots("embeddings")[0] / "style.safetensors")
    cond, said = encode(place, clip, "a embedding:style fox"), list[Any]()
    rows = [1000, 1001]  # of words that the prompt has not
    for config, prefix, padding, key in (
        (ClipConfig(CLIP.width, 3, CLIP.intermediate), "conditioner.embedders.0.transformer.", EOS, "clip_l"),
        (G, "conditioner.embedders.1.model.", 0, "clip_g"),
    ):
        tower = transformers_tower(config, state, prefix)
        with torch.inference_mode():
            tower.get_input_embeddings().weight[rows] = vectors[key]
            plain = padded("a fox", padding)
            ids = torch.cat([plain[:, :2], torch.tensor([rows]), plain[:, 2:-2]], dim=1)
            said.append(tower(ids, output_hidden_states=True))
    expected = torch.cat([one.hidden_states[-2] for one in said], dim=-1)
    assert relative_error(cond.tokens, expected) <= 1e-5
    assert cond.pooled is not None and relative_error(cond.pooled, said[1].text_embeds) <= 1e-5


@pytest.mark.parametrize(("width", "channels"), [(CLIP.width, 24), (H.width, 8)])
def test_an_embedding_of_another_family_is_told_with_both_files(place: Workplace, width: int, channels: int) -> None:
    """Stable Diffusion 1's, whose width is that of one of the two towers, and Stable Diffusion 2's."""
    clip = opened(place, "xl").clip
    torch.save({"string_to_param": {"*": torch.zeros(1, width)}}, place.folders.roots("embeddings")[0] / "old.pt")
    said = rf"old\.pt holds vectors of width {width}.*{channels} channels.*xl\.safetensors"
    with pytest.raises(InputError, match=said) as caught:
        encode(place, clip, "a embedding:old")
    assert caught.value.input_name == "text"


def test_a_prompt_of_another_family_is_no_prompt_for_sdxl(place: Workplace) -> None:
    model, clip, _ = opened(place, "xl")
    refiner = opened(place, "refiner")
    latent, mine = Latent(torch.zeros(1, 4, 4, 4)), Conditioning((encode(place, clip),))
    theirs = Conditioning((encode(place, refiner.clip),))
    settings: Mapping[str, Any] = {"seed": 1, "steps": 1, "cfg": 4.0, "sampler_name": "euler", "scheduler": "karras"}
    with pytest.raises(InputError, match=r"width 24, but this model reads vectors of 32") as caught:
        ksampler(place.ctx(), model=model, positive=mine, negative=theirs, latent_image=latent, **settings)
    assert caught.value.input_name == "negative"


def test_clip_skip_reaches_both_towers(place: Workplace) -> None:
    clip = opened(place, "xl").clip
    last = encode(place, clip_set_last_layer(place.ctx(), clip=clip, stop_at_clip_layer=-1))
    usual = encode(place, clip_set_last_layer(place.ctx(), clip=clip, stop_at_clip_layer=-2))
    torch.testing.assert_close(usual.tokens, encode(place, clip).tokens)
    for part in (slice(None, CLIP.width), slice(CLIP.width, None)):
        assert not torch.allclose(last.tokens[..., part], usual.tokens[..., part])


# --- pictures --------------------------------------------------------------------------------------------------------------


def shown(vectors: Tensor) -> ClipVisionOutput:
    return ClipVisionOutput(Seen(vectors, vectors, vectors), "tower.safetensors")


@pytest.mark.parametrize("augmentation", [0.0, 0.3, 1.0])
def test_a_picture_s_vector_gets_the_noise_of_unclip(augmentation: float) -> None:
    from diffusers import DDPMScheduler

    vectors = torch.randn(1, G.projection, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(1, G.projection, generator=torch.Generator().manual_seed(90))
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    expected = scheduler.add_noise(vectors, noise, torch.tensor([round(999 * augmentation)])) * 0.75
    made = revised([PictureVector(vectors, 0.75, augmentation)], seed=100)
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)
    both = revised([PictureVector(vectors, 0.75, augmentation), PictureVector(vectors, 0.5, augmentation)], seed=100)
    merged = scheduler.add_noise(expected * (1 + 0.5 / 0.75), noise, torch.tensor([round(999 * 0.05)]))
    torch.testing.assert_close(both, merged, atol=1e-5, rtol=1e-5)


def test_pictures_take_the_place_of_the_pooled_text(place: Workplace) -> None:
    model, clip, _ = opened(place, "xl")
    prompt = Conditioning((encode(place, clip),))
    vectors = torch.randn(1, G.projection, generator=torch.Generator().manual_seed(1))
    given = unclip_conditioning(
        place.ctx(), conditioning=prompt, clip_vision_output=shown(vectors), strength=0.5, noise_augmentation=0.1
    )
    pooled = revised([PictureVector(vectors, 0.5, 0.1)], seed=3)
    wanted = Conditioning((replace(prompt.conds[0], pooled=pooled),))
    settings: Mapping[str, Any] = {"seed": 3, "steps": 2, "cfg": 4.0, "sampler_name": "euler", "scheduler": "karras"}
    settings = {**settings, "model": model, "negative": prompt, "latent_image": Latent(torch.zeros(1, 4, 4, 4))}
    made, expected = (ksampler(place.ctx(), positive=one, **settings).samples for one in (given, wanted))
    assert torch.equal(made, expected)
    assert not torch.equal(made, ksampler(place.ctx(), positive=prompt, **settings).samples)
    untouched = unclip_conditioning(place.ctx(), conditioning=prompt, clip_vision_output=shown(vectors), strength=0.0)
    assert untouched is prompt
    other = unclip_conditioning(place.ctx(), conditioning=prompt, clip_vision_output=shown(torch.zeros(1, 7)))
    with pytest.raises(InputError, match="vision tower of 7 channels") as caught:
        ksampler(place.ctx(), positive=other, **settings)
    assert caught.value.input_name == "positive"


# --- files -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["xl", "refiner", "sd2"])
def test_a_checkpoint_comes_back_with_the_names_it_had(place: Workplace, kind: Kind) -> None:
    model, clip, vae = opened(place, kind)
    checkpoint_save(place.ctx(), model=model, clip=clip, vae=vae, filename_prefix="saved")
    saved = load_file(place.output / "saved_00001_.safetensors")
    original = load_file(place.folders.roots("checkpoints")[0] / f"{kind}.safetensors")
    assert saved.keys() - {"v_pred"} == {name for name in original if not name.endswith("logit_scale")}
    assert all(torch.equal(saved[name], original[name]) for name in saved.keys() & original.keys())


def test_two_towers_are_two_files_which_load_in_either_order(place: Workplace) -> None:
    clip = opened(place, "xl").clip
    clip_save(place.ctx(), clip=clip, filename_prefix="text")
    folder = place.folders.roots("text_encoders")[0]
    folder.mkdir(parents=True, exist_ok=True)
    names = ["text_clip_l_00001_.safetensors", "text_clip_g_00001_.safetensors"]
    for name in names:
        (place.output / name).replace(folder / name)
    files = [place.file("text_encoders", name) for name in names]
    for one, other in (files, files[::-1]):
        loaded = dual_clip_loader(place.ctx(), clip_name1=one, clip_name2=other, type="sdxl")
        assert loaded.readings == SDXL.text
        torch.testing.assert_close(encode(place, loaded).tokens, encode(place, clip).tokens)
    with pytest.raises(InputError, match=r"hold ViT-L; SDXL's text encoder needs ViT-bigG too"):
        dual_clip_loader(place.ctx(), clip_name1=files[0], clip_name2=files[0], type="sdxl")
    single = clip_loader(place.ctx(), clip_name=files[1], type="stable_diffusion")
    torch.testing.assert_close(encode(place, single).tokens, encode(place, clip).tokens[..., CLIP.width :])
