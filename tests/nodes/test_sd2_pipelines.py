"""Stable Diffusion 2's depth model and unCLIP through the nodes, beside diffusers' pipelines with the same weights and noise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from graph.errors import InputError
from models.revision import PictureVector
from models.types import ClipVision, ClipVisionOutput, Conditioning, Image, Latent
from models.vision import Seen
from nodes.inpainting import depth_model_conditioning
from nodes.loaders import Checkpoint, checkpoint_loader_simple, unclip_checkpoint_loader, unet_loader
from nodes.model_sampling import model_sampling_discrete
from nodes.sampling import ksampler
from nodes.saving import checkpoint_save
from nodes.sdxl import unclip_conditioning
from nodes.vision import clip_vision_encode, clip_vision_loader
from tests.models.oracles import relative_error
from tests.models.vision_peers import transformers_vision
from tests.nodes.conftest import Workplace
from tests.nodes.test_sdxl import TOLERANCE, begun, encode, euler, networks, opened, ours
from tests.nodes.test_xl_pipelines import quiet
from tests.tiny_families import EYES, Kind, write_family

SCALE = 0.18215
SHAPE = (1, 4, 4, 6)
SETTINGS: Mapping[str, Any] = {"seed": 3, "steps": 2, "cfg": 4.0, "sampler_name": "euler", "scheduler": "karras"}


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def prompts(place: Workplace, loaded: Checkpoint) -> list[Conditioning]:
    return [Conditioning((encode(place, loaded.clip, text),)) for text in ("a red fox", "")]


# --- depth -----------------------------------------------------------------------------------------------------------------


def test_four_steps_of_the_depth_model_are_those_of_its_pipeline(place: Workplace) -> None:
    """From a picture, of which the last three of four steps make another with the same depth."""
    from diffusers import StableDiffusionDepth2ImgPipeline

    loaded = opened(place, "depth")
    assert place.warnings == [], "what its file has for estimating depth is no reason to warn"
    picture, depth = torch.rand(1, 32, 48, 3), torch.rand(1, 40, 56)
    seeing = depth_model_conditioning(
        place.ctx(), positive=(texts := prompts(place, loaded))[0], negative=texts[1],
        depth=Image(depth[..., None].expand(-1, -1, -1, 3)),
    )  # fmt: skip
    unet, autoencoder = networks(place, loaded.model, loaded.vae, 0)
    scheduler = euler()
    sigmas, _ = begun(scheduler, 4)
    with torch.inference_mode():
        start = autoencoder.encode((picture * 2 - 1).movedim(-1, 1)).latent_dist.mode()
    made = ours(place, loaded.model, list(seeing), sigmas[1:], Latent(start))

    unet.register_to_config(sample_size=64)
    pipeline = quiet(StableDiffusionDepth2ImgPipeline(autoencoder, None, None, unet, scheduler, None, None))
    pipeline.vae.encode = lambda image: autoencoder_mode(start)
    with torch.inference_mode():
        expected = pipeline(
            image=picture.movedim(-1, 1), depth_map=depth, strength=0.75, num_inference_steps=4,
            prompt_embeds=texts[0].conds[0].tokens, negative_prompt_embeds=texts[1].conds[0].tokens, guidance_scale=5.0,
            generator=torch.Generator().manual_seed(7), output_type="latent",
        ).images  # fmt: skip
    assert relative_error(made.samples * SCALE, expected) <= TOLERANCE
    flat = ours(place, loaded.model, texts, sigmas[1:], Latent(start))
    assert relative_error(flat.samples, made.samples) > 10 * TOLERANCE, "the depth counts"


def autoencoder_mode(latents: Tensor) -> Any:
    """What an autoencoder of diffusers answers; a pipeline would draw from the distribution, where we take its mean."""
    from diffusers.models.modeling_outputs import AutoencoderKLOutput

    class Mean:
        def sample(self, generator: object = None) -> Tensor:
            return latents

    return AutoencoderKLOutput(latent_dist=Mean())


def test_a_depth_model_without_depth_says_what_is_missing(place: Workplace) -> None:
    loaded = opened(place, "depth")
    texts = prompts(place, loaded)
    settings = {**SETTINGS, "model": loaded.model, "latent_image": Latent(torch.zeros(SHAPE))}
    ksampler(place.ctx(), positive=texts[0], negative=texts[1], **settings)
    said = [(warning.input_name, warning.message) for warning in place.warnings]
    assert [name for name, _ in said] == ["positive", "negative"]
    assert all(
        re.search(r"depth\.safetensors reads how far.*DepthModelConditioning tells it", text) for _, text in said
    )
    place.warnings.clear()
    seeing = depth_model_conditioning(
        place.ctx(), positive=texts[0], negative=texts[1], depth=Image(torch.full((1, 8, 8, 3), 0.5))
    )
    made = ksampler(place.ctx(), positive=seeing.positive, negative=seeing.negative, **settings)
    assert place.warnings == [] and made.samples.isfinite().all(), (
        "where all is equally far, nothing is divided by nothing"
    )


# --- unCLIP ----------------------------------------------------------------------------------------------------------------


def seeing(place: Workplace) -> Any:
    write_family(place.folders.roots("checkpoints")[0] / "unclip.safetensors", "unclip", marks=["v_pred"])
    return unclip_checkpoint_loader(place.ctx(), ckpt_name=place.file("checkpoints", "unclip.safetensors"))


@pytest.mark.parametrize("augmentation", [0.0, 0.25])
def test_four_steps_of_unclip_are_those_of_its_pipeline(place: Workplace, augmentation: float) -> None:
    from diffusers import DDPMScheduler, StableUnCLIPImg2ImgPipeline
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer

    model, clip, vae, tower = seeing(place)
    assert place.warnings == []
    plain = Checkpoint(model, clip, vae)
    looked = clip_vision_encode(place.ctx(), clip_vision=tower, image=Image(torch.rand(1, 20, 30, 3)), crop="center")
    texts = prompts(place, plain)
    positive = unclip_conditioning(
        place.ctx(), conditioning=texts[0], clip_vision_output=looked, strength=1.0, noise_augmentation=augmentation
    )
    scheduler = euler("v_prediction")
    sigmas, latents = begun(scheduler, 4)
    made = ours(place, model, [positive, texts[1]], sigmas, Latent(torch.zeros(SHAPE)))

    unet, autoencoder = networks(place, model, vae, 2 * EYES.projection)
    with place.services.residency.use(tower) as network:
        eyes = transformers_vision(network)
    pipeline = quiet(
        StableUnCLIPImg2ImgPipeline(
            None, eyes, StableUnCLIPImageNormalizer(EYES.projection),
            DDPMScheduler(beta_schedule="squaredcos_cap_v2"), None, None, unet, scheduler, autoencoder,
        )
    )  # fmt: skip
    with torch.inference_mode():
        expected = pipeline(
            prompt_embeds=texts[0].conds[0].tokens, negative_prompt_embeds=texts[1].conds[0].tokens,
            image_embeds=looked.seen.vector, noise_level=round(999 * augmentation),
            latents=latents * scheduler.init_noise_sigma, height=32, width=48,  # this one takes them as they are
            generator=torch.Generator().manual_seed(7 - 10), num_inference_steps=4, guidance_scale=5.0, output_type="latent",
        ).images  # fmt: skip
    assert relative_error(made.samples * SCALE, expected) <= TOLERANCE
    blind = ours(place, model, texts, sigmas, Latent(torch.zeros(SHAPE)))
    assert relative_error(blind.samples, made.samples) > 10 * TOLERANCE, "the picture counts"


def test_several_pictures_are_one_with_the_noise_of_a_twentieth(place: Workplace) -> None:
    from diffusers import DDPMScheduler
    from diffusers.models.embeddings import get_timestep_embedding

    recipe = seeing(place).model.family.vector
    one, other = normal(1, EYES.projection), normal(1, EYES.projection, seed=2)
    noise = normal(1, EYES.projection, seed=90)
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2")

    def noised(vectors: Tensor, step: int) -> Tensor:
        return scheduler.add_noise(vectors, noise, torch.tensor([step]))

    def told(step: int) -> Tensor:
        return get_timestep_embedding(
            torch.tensor([step]), EYES.projection, flip_sin_to_cos=True, downscale_freq_shift=0
        )

    alone = recipe.pooled(torch.zeros(1, 12), [PictureVector(one, 0.5, 0.3)], 100)
    torch.testing.assert_close(alone, 0.5 * torch.cat([noised(one, 300), told(300)], dim=1), atol=1e-5, rtol=1e-5)
    both = recipe.pooled(torch.zeros(1, 12), [PictureVector(one, 0.5, 0.3), PictureVector(other, 2.0, 0.0)], 100)
    merged = noised(0.5 * noised(one, 300) + 2.0 * noised(other, 0), 50)
    torch.testing.assert_close(both, torch.cat([merged, told(50)], dim=1), atol=1e-5, rtol=1e-5)
    assert torch.equal(recipe.pooled(torch.ones(1, 12), [], 100), torch.zeros(1, 2 * EYES.projection))


def open_clip_sees(state: Mapping[str, Tensor], prefix: str, x: Tensor) -> Tensor:
    """OpenCLIP's vision tower, written down from its names: [B, 3, S, S] -> [B, projection]."""
    own = {name.removeprefix(prefix): tensor.float() for name, tensor in state.items() if name.startswith(prefix)}
    width = EYES.width

    def norm(h: Tensor, name: str) -> Tensor:
        return F.layer_norm(h, (width,), own[f"{name}.weight"], own[f"{name}.bias"])

    h = F.conv2d(x, own["conv1.weight"], stride=EYES.patch).flatten(2).transpose(1, 2)
    h = torch.cat([own["class_embedding"].expand(len(x), 1, -1), h], dim=1) + own["positional_embedding"]
    h = norm(h, "ln_pre")
    for i in range(EYES.layers):
        layer = f"transformer.resblocks.{i}"
        attention = nn.MultiheadAttention(width, EYES.heads, batch_first=True)
        attention.load_state_dict({name: own[f"{layer}.attn.{name}"] for name in attention.state_dict()})
        seen = norm(h, f"{layer}.ln_1")
        h = h + attention(seen, seen, seen, need_weights=False)[0]
        inner = F.linear(norm(h, f"{layer}.ln_2"), own[f"{layer}.mlp.c_fc.weight"], own[f"{layer}.mlp.c_fc.bias"])
        h = h + F.linear(
            inner * torch.sigmoid(1.702 * inner), own[f"{layer}.mlp.c_proj.weight"], own[f"{layer}.mlp.c_proj.bias"]
        )
    return norm(h[:, 0], "ln_post") @ own["proj"]


@pytest.mark.parametrize("prefix", ["embedder.model.visual.", "visual."])
def test_a_vision_tower_in_the_names_of_open_clip(place: Workplace, prefix: str) -> None:
    """Within an unCLIP checkpoint, and by itself as OpenCLIP and OpenAI publish it."""
    tower: ClipVision = seeing(place).clip_vision
    state = load_file(place.folders.roots("checkpoints")[0] / "unclip.safetensors")
    if prefix == "visual.":
        eyes = {
            name.removeprefix("embedder.model."): x for name, x in state.items() if name.startswith("embedder.model.v")
        }
        folder = place.folders.roots("clip_vision")[0]
        folder.mkdir(parents=True, exist_ok=True)
        save_file(eyes, folder / "eyes.safetensors")
        tower = clip_vision_loader(place.ctx(), clip_name=place.file("clip_vision", "eyes.safetensors"))
    x = normal(2, 3, 8, 8)
    with place.services.residency.use(tower) as network:
        made = network(x)
    assert relative_error(made.vector, open_clip_sees(state, "embedder.model.visual.", x)) <= 1e-5


def test_a_saved_unclip_draws_the_same_with_the_tower_of_the_first_file(place: Workplace) -> None:
    loaded = seeing(place)
    checkpoint_save(place.ctx(), model=loaded.model, clip=loaded.clip, vae=loaded.vae, filename_prefix="saved")
    assert [w.message.partition(";")[0] for w in place.warnings] == [
        "the vision tower of unclip.safetensors is not in what is saved"
    ]
    checkpoints, towers = (place.folders.roots(kind)[0] for kind in ("checkpoints", "clip_vision"))
    (place.output / "saved_00001_.safetensors").replace(checkpoints / "saved.safetensors")
    towers.mkdir(parents=True, exist_ok=True)
    (towers / "unclip.safetensors").symlink_to(checkpoints / "unclip.safetensors")
    again = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", "saved.safetensors"))
    tower = clip_vision_loader(place.ctx(), clip_name=place.file("clip_vision", "unclip.safetensors"))
    picture = Image(torch.rand(1, 8, 8, 3))
    made = []
    for checkpoint, eyes in ((Checkpoint(*loaded[:3]), loaded.clip_vision), (again, tower)):
        looked = clip_vision_encode(place.ctx(), clip_vision=eyes, image=picture, crop="none")
        texts = prompts(place, checkpoint)
        positive = unclip_conditioning(place.ctx(), conditioning=texts[0], clip_vision_output=looked)
        settings = {**SETTINGS, "latent_image": Latent(torch.zeros(SHAPE)), "positive": positive, "negative": texts[1]}
        made.append(ksampler(place.ctx(), model=checkpoint.model, **settings).samples)
    torch.testing.assert_close(made[1], made[0])


def test_what_no_unclip_can_use_is_told(place: Workplace) -> None:
    loaded = seeing(place)
    texts = prompts(place, loaded)
    shown = ClipVisionOutput(Seen(*[torch.zeros(1, 7)] * 3), "tower.safetensors")
    given = unclip_conditioning(place.ctx(), conditioning=texts[0], clip_vision_output=shown)
    settings = {**SETTINGS, "latent_image": Latent(torch.zeros(SHAPE)), "negative": texts[1]}
    with pytest.raises(InputError, match=r"vision tower of 7 channels.*reads what one of 12 sees") as caught:
        ksampler(place.ctx(), model=loaded.model, positive=given, **settings)
    assert caught.value.input_name == "positive"
    plain = opened(place, "sd2")
    with pytest.raises(InputError, match=r"sd2\.safetensors holds no vision tower; CheckpointLoaderSimple"):
        unclip_checkpoint_loader(place.ctx(), ckpt_name=place.file("checkpoints", "sd2.safetensors"))
    unread = model_sampling_discrete(place.ctx(), model=plain.model, sampling="eps", zsnr=False)
    ksampler(place.ctx(), model=unread, positive=given, **settings)
    assert [(w.input_name, w.message) for w in place.warnings] == [
        (
            "positive",
            "sd2.safetensors reads no pictures beside a prompt: those of unCLIPConditioning are left out",
        )
    ]


@pytest.mark.parametrize(("kind", "width"), [("depth", 0), ("unclip", 2 * EYES.projection)])
def test_the_unet_in_the_layout_of_diffusers_is_the_same(place: Workplace, kind: Kind, width: int) -> None:
    loaded = opened(place, kind, "v_pred")
    unet, _ = networks(place, loaded.model, loaded.vae, width)
    folder = place.folders.roots("diffusion_models")[0]
    folder.mkdir(parents=True, exist_ok=True)
    save_file({**unet.state_dict(), "v_pred": torch.zeros(0)}, folder / "theirs.safetensors")
    theirs = unet_loader(
        place.ctx(), unet_name=place.file("diffusion_models", "theirs.safetensors"), weight_dtype="default"
    )
    assert theirs.family == loaded.model.family
    texts = prompts(place, loaded)
    settings = {**SETTINGS, "positive": texts[0], "negative": texts[1], "latent_image": Latent(torch.zeros(SHAPE))}
    made, expected = (ksampler(place.ctx(), model=model, **settings).samples for model in (theirs, loaded.model))
    torch.testing.assert_close(made, expected)
