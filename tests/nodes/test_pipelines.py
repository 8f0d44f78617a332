"""Folders that diffusers writes: a pipeline opened whole, and its networks one by one, give what a single file gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from graph.build import build
from graph.document import parse
from graph.errors import InputError, ValueRefused
from graph.sockets import Directory
from models.guidance import Cfg
from models.noise import Noise
from models.prediction import Velocity
from models.samplers import SAMPLERS
from models.types import ChosenSampler, Guider, Latent
from models.unet import UNet
from nodes.conditioning import clip_text_encode
from nodes.denoising import sampled
from nodes.latent import vae_decode
from nodes.loaders import Checkpoint, checkpoint_loader_simple, clip_loader, dual_clip_loader, unet_loader, vae_loader
from nodes.one_family import OneFamily
from nodes.origins import Origins
from nodes.pipelines import diffusers_loader
from nodes.registry import builtin
from nodes.sampling import ksampler
from tests.models.oracles import diffusers_unet, diffusers_vae, relative_error, same_groups, transformers_text
from tests.nodes.conftest import Workplace
from tests.tiny_checkpoint import randomly, save, tiny_clip, tiny_networks, tiny_state, tiny_unet, tiny_vae
from tests.tiny_families import UNETS, G, H, Kind, family_state, open_clip_state

KINDS: tuple[Kind | Literal["sd1"], ...] = ("sd1", "sd2", "xl", "refiner")
DEEP_H = replace(H, layers=24)  # diffusers leaves out the last layer, which nobody reads


def single_file(kind: Kind | Literal["sd1"]) -> dict[str, Tensor]:
    """The same networks as one file has them."""
    if kind == "sd1":
        return tiny_state(tiny_networks())
    state = family_state(kind)
    if kind == "sd2":
        state = {name: tensor for name, tensor in state.items() if not name.startswith("cond_stage_model.")}
        state |= open_clip_state(DEEP_H, "cond_stage_model.model.", 0) | {"v_pred": torch.zeros(0)}
    return state


def open_clip(state: dict[str, Tensor], prefix: str, config: Any, layers: int) -> Any:
    """A text tower of OpenCLIP as diffusers makes it one of transformers."""
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    kind = CLIPTextModelWithProjection if config.projection == G.projection else CLIPTextModel
    tower: Any = kind(
        CLIPTextConfig(
            hidden_size=config.width,
            intermediate_size=config.intermediate,
            num_hidden_layers=layers,
            num_attention_heads=1,
            hidden_act="gelu",
            projection_dim=config.projection,
        )
    )
    converted = convert_open_clip_checkpoint(tower, dict(state), prefix)
    top = "text_model." if any(name.startswith("text_model.") for name in tower.state_dict()) else ""
    own = {
        name if "projection" in name else top + name.removeprefix("text_model."): tensor
        for name, tensor in converted.items()
    }
    tower.load_state_dict(own)
    return tower


def pipeline(kind: Kind | Literal["sd1"]) -> Any:
    """The pipeline of diffusers."""
    import diffusers

    state, vae = single_file(kind), diffusers_vae(tiny_vae())
    scheduler = diffusers.EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        prediction_type="v_prediction" if kind == "sd2" else "epsilon", steps_offset=1, timestep_spacing="leading",
    )  # fmt: skip
    if kind == "sd1":
        unet, text = diffusers_unet(tiny_unet()), transformers_text(tiny_clip())
        return diffusers.StableDiffusionPipeline(vae, text, None, unet, scheduler, None, None, None, False)
    unet = diffusers_unet(randomly(lambda: UNet(UNETS[kind]), 0), 0 if kind == "sd2" else G.projection)
    if kind == "sd2":
        text = open_clip(state, "cond_stage_model.model.", DEEP_H, DEEP_H.layers - 1)
        return diffusers.StableDiffusionPipeline(vae, text, None, unet, scheduler, None, None, None, False)
    vae.register_to_config(scaling_factor=0.13025)
    place = "conditioner.embedders.1.model." if kind == "xl" else "conditioner.embedders.0.model."
    first, second = transformers_text(tiny_clip(layers=3)), open_clip(state, place, G, G.layers)
    if kind == "xl":
        return diffusers.StableDiffusionXLPipeline(vae, first, second, None, None, unet, scheduler)
    return diffusers.StableDiffusionXLImg2ImgPipeline(vae, None, second, None, None, unet, scheduler)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All of them as diffusers writes them, in half precision beside the whole one for SDXL."""
    base = tmp_path_factory.mktemp("pipelines")
    for kind in KINDS:
        pipe = pipeline(kind)
        pipe.save_pretrained(base / kind)
        if kind == "xl":
            pipe.to(torch.float16).save_pretrained(base / kind, variant="fp16")
        save(single_file(kind), base / f"{kind}.safetensors")
    yield base


def opened(place: Workplace, saved: Path, kind: str, variant: str | None = None) -> Checkpoint:
    root = place.folders.roots("diffusers")[0]
    if not (root / kind).exists():
        root.mkdir(parents=True, exist_ok=True)
        (root / kind).symlink_to(saved / kind)
    folder = Directory("diffusers", holding="model_index.json").coerce(kind, place.folders)
    loaded: Checkpoint = diffusers_loader(place.ctx(), model_path=folder, variant=variant)
    return loaded


def alone(place: Workplace, saved: Path, kind: str) -> Checkpoint:
    path = place.folders.roots("checkpoints")[0] / f"{kind}.safetensors"
    if not path.exists():
        path.symlink_to(saved / f"{kind}.safetensors")
    return checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", path.name))


def picture(place: Workplace, loaded: Checkpoint) -> Tensor:
    texts = [clip_text_encode(place.ctx(), text=text, clip=loaded.clip) for text in ("a red fox", "")]
    made = ksampler(
        place.ctx(), model=loaded.model, positive=texts[0], negative=texts[1], latent_image=Latent(torch.zeros(1, 4, 4, 4)),
        seed=3, steps=2, cfg=4.0, sampler_name="euler", scheduler="normal",
    )  # fmt: skip
    pixels: Tensor = vae_decode(place.ctx(), samples=made, vae=loaded.vae).pixels
    return pixels


def same(ours: Tensor, theirs: Tensor) -> None:
    """Equal but for how a matrix product is rounded of a matrix that one of the files has transposed."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_gives_the_picture_of_the_single_file(place: Workplace, saved: Path, kind: str) -> None:
    folder, file = opened(place, saved, kind), alone(place, saved, kind)
    assert folder.model.family == file.model.family
    same(picture(place, folder), picture(place, file))
    assert place.warnings == []


@pytest.mark.parametrize("kind", ["sd2", "xl"])
def test_a_folder_draws_what_diffusers_draws_with_it(place: Workplace, saved: Path, kind: str) -> None:
    import diffusers

    without = {} if kind == "xl" else {"safety_checker": None, "tokenizer": None, "feature_extractor": None}
    theirs: Any = diffusers.DiffusionPipeline.from_pretrained(saved / kind, torch_dtype=torch.float32, **without)
    same_groups(theirs.unet)
    theirs.set_progress_bar_config(disable=True)
    loaded = opened(place, saved, kind)
    texts = [clip_text_encode(place.ctx(), text=text, clip=loaded.clip) for text in ("a red fox", "")]
    theirs.scheduler.set_timesteps(3)
    sigmas = theirs.scheduler.sigmas.float()
    latents = Noise(7).initial((1, 4, 4, 6)) * sigmas[0] / theirs.scheduler.init_noise_sigma
    guider = Guider(loaded.model, tuple(texts), Cfg(5.0))
    made = sampled(
        place.ctx(),
        guider,
        ChosenSampler(SAMPLERS["euler"], "euler"),
        sigmas,
        Noise(7),
        Latent(torch.zeros(1, 4, 4, 6)),
    ).output
    positive, negative = (text.conds[0] for text in texts)
    pooled = {"pooled_prompt_embeds": positive.pooled, "negative_pooled_prompt_embeds": negative.pooled}
    with torch.inference_mode():
        expected = theirs(
            prompt_embeds=positive.tokens, negative_prompt_embeds=negative.tokens, latents=latents, num_inference_steps=3,
            guidance_scale=5.0, height=32, width=48, output_type="latent", **(pooled if kind == "xl" else {}),
        ).images  # fmt: skip
    assert relative_error(made.samples * theirs.vae.config.scaling_factor, expected) <= 1e-3


def test_networks_of_a_folder_serve_one_by_one(place: Workplace, saved: Path) -> None:
    for folder, part in (("diffusion_models", "unet"), ("text_encoders", "text_encoder"), ("vae", "vae")):
        root = place.folders.roots(folder)[0]
        root.mkdir(parents=True, exist_ok=True)
        for kind in ("sd1", "xl"):
            (root / kind).symlink_to(saved / kind / part)
    (place.folders.roots("text_encoders")[0] / "g").symlink_to(saved / "xl" / "text_encoder_2")
    weights = "diffusion_pytorch_model.safetensors"
    for kind in ("sd1", "xl"):
        model = unet_loader(
            place.ctx(), unet_name=place.file("diffusion_models", f"{kind}/{weights}"), weight_dtype="default"
        )
        text = place.file("text_encoders", f"{kind}/model.safetensors")
        if kind == "xl":
            other = place.file("text_encoders", "g/model.safetensors")
            clip = dual_clip_loader(place.ctx(), clip_name1=text, clip_name2=other, type="sdxl")
        else:
            clip = clip_loader(place.ctx(), clip_name=text, type="stable_diffusion")
        vae = vae_loader(place.ctx(), vae_name=place.file("vae", f"{kind}/{weights}"))
        same(picture(place, Checkpoint(model, clip, vae)), picture(place, alone(place, saved, kind)))


def test_of_several_forms_the_plain_one_is_taken_and_any_can_be_asked_for(place: Workplace, saved: Path) -> None:
    names = [
        loaded.weights.path.name
        for variant in (None, "fp16", "bf16")
        for loaded in (opened(place, saved, "xl", variant).model,)
    ]
    assert names == [f"diffusion_pytorch_model{form}.safetensors" for form in ("", ".fp16", "")]
    plain, half = (picture(place, opened(place, saved, "xl", variant)) for variant in (None, "fp16"))
    assert torch.equal(plain, half), "these weights are whole in half precision"


def copied(place: Workplace, saved: Path, kind: str) -> Path:
    import shutil

    root = place.folders.roots("diffusers")[0] / "mine" / "copy"
    shutil.copytree(saved / kind, root)
    return root


def changed(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_what_configurations_say_of_the_noise_counts(place: Workplace, saved: Path) -> None:
    folder = copied(place, saved, "xl")
    changed(
        folder / "scheduler" / "scheduler_config.json",
        prediction_type="v_prediction", rescale_betas_zero_snr=True, beta_end=0.02,
    )  # fmt: skip
    changed(folder / "vae" / "config.json", scaling_factor=0.5)
    family = opened(place, saved, "mine/copy").model.family
    assert isinstance(family.diffusion.prediction, Velocity)
    assert (family.diffusion.levels.zero_terminal, family.diffusion.levels.beta_end, family.latent.scale) == (
        True,
        0.02,
        0.5,
    )


@pytest.mark.parametrize(
    ("path", "values", "said"),
    [
        ("vae/config.json", {"latents_mean": [0.1]}, "Playground 2.5"),
        ("scheduler/scheduler_config.json", {"timestep_type": "continuous"}, "CosXL"),
        ("scheduler/scheduler_config.json", {"_class_name": "EDMEulerScheduler"}, "CosXL"),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow"}, "predicts 'flow'"),
        ("scheduler/scheduler_config.json", {"beta_end": 7.0}, "no noise levels"),
    ],
)
def test_kinds_that_are_not_supported_are_refused_by_name(
    place: Workplace, saved: Path, path: str, values: dict[str, object], said: str
) -> None:
    changed(copied(place, saved, "sd1") / path, **values)
    with pytest.raises(InputError, match=f"mine/copy cannot be used: .*{said}") as caught:
        opened(place, saved, "mine/copy")
    assert caught.value.input_name == "model_path"


def test_what_is_wrong_with_a_folder_is_said_with_the_network_it_is_in(place: Workplace, saved: Path) -> None:
    folder = copied(place, saved, "sd1")
    unet = folder / "unet" / "diffusion_pytorch_model.safetensors"
    kept = unet.read_bytes()

    def said() -> str:
        with pytest.raises(InputError) as caught:
            opened(place, saved, "mine/copy")
        return str(caught.value)

    unet.write_bytes(kept[: len(kept) // 2])
    assert "in unet/: diffusion_pytorch_model.safetensors is truncated" in said()
    unet.write_bytes((folder / "vae" / "diffusion_pytorch_model.safetensors").read_bytes())
    assert "in unet/: diffusion_pytorch_model.safetensors holds no U-Net, only a VAE" in said()
    unet.rename(unet.with_name("diffusion_pytorch_model-00001-of-00002.safetensors"))
    assert "unet/ has its weights in 1 files" in said()
    (folder / "unet").rename(folder / "transformer")
    changed(folder / "model_index.json", _class_name="FluxPipeline")
    assert "it is FluxPipeline, which has no U-Net" in said()
    (folder / "model_index.json").write_text("{")
    assert "model_index.json cannot be read" in said()


def test_a_pipeline_without_an_autoencoder_lacks_it_only_where_it_is_used(place: Workplace, saved: Path) -> None:
    folder = copied(place, saved, "sd1")
    (folder / "vae").rename(folder / "elsewhere")
    loaded = opened(place, saved, "mine/copy")
    with pytest.raises(InputError, match="holds no VAE"):
        picture(place, loaded)


def test_a_folder_is_chosen_by_its_name_alone(place: Workplace, saved: Path) -> None:
    copied(place, saved, "sd1")
    directory = Directory("diffusers", holding="model_index.json")
    assert list(directory.options(place.folders)) == ["mine/copy"]
    for wrong in ("mine", "mine/copy/unet", "../x", 5):
        with pytest.raises(ValueRefused, match="one of the directories in diffusers"):
            directory.coerce(wrong, place.folders)


def test_a_folder_that_has_changed_is_another_and_one_of_another_family_does_not_fit(
    place: Workplace, saved: Path
) -> None:
    folder = copied(place, saved, "sd1")
    spec = builtin()["DiffusersLoader"]
    assert spec.freshness

    def seen() -> object:
        chosen = Directory("diffusers", holding="model_index.json").coerce("mine/copy", place.folders)
        return spec.freshness("1", {"model_path": chosen}, place.folders)  # type: ignore[misc]

    before = seen()
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, weights)
    assert seen() != before
    alone(place, saved, "xl")
    text = {
        "1": {"class_type": "DiffusersLoader", "inputs": {"model_path": "mine/copy"}},
        "2": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "xl.safetensors"}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "a", "clip": ["2", 1]}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 32, "height": 32, "batch_size": 1}},
        "5": {"class_type": "KSampler", "inputs": {
            "model": ["1", 0], "positive": ["3", 0], "negative": ["3", 0], "latent_image": ["4", 0], "seed": 1,
            "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
        }},
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "x"}},
    }  # fmt: skip
    told = build(parse(json.dumps(text)), builtin(), place.folders, rules=(OneFamily(Origins()),)).problems
    assert any("xl.safetensors (SDXL)" in str(each) and "copy (Stable Diffusion 1)" in str(each) for each in told)
