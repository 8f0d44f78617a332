"""Networks that are saved and loaded again, here and by diffusers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from graph.errors import InputError
from models.types import Clip, Model, ModelHandle, Vae
from nodes.loaders import Checkpoint, checkpoint_loader_simple, clip_loader, unet_loader, vae_loader
from nodes.lora import lora_loader
from nodes.merging import clip_merge_simple, model_merge_simple, model_merge_subtract
from nodes.saving import checkpoint_save, clip_save, lora_save, model_save, vae_save
from tests.nodes.conftest import CHECKPOINT, Workplace
from tests.tiny_checkpoint import write_tiny_checkpoint

QUERY = "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"


def loaded(place: Workplace, name: str = CHECKPOINT) -> Checkpoint:
    found = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", name))
    assert isinstance(found, Checkpoint)
    return found


@pytest.fixture
def second(place: Workplace) -> Checkpoint:
    """Another checkpoint of the same shape."""
    write_tiny_checkpoint(place.folders.roots("checkpoints")[0] / "second.safetensors", seed=5)
    return loaded(place, "second.safetensors")


def state(place: Workplace, handle: ModelHandle[torch.nn.Module]) -> dict[str, torch.Tensor]:
    with place.services.residency.use(handle) as network:
        return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def put(place: Workplace, folder: str, written: Path) -> str:
    """Move what was written to where it is loaded from."""
    target = place.folders.roots(folder)[0] / written.name
    target.parent.mkdir(parents=True, exist_ok=True)
    written.replace(target)
    return written.name


def same(place: Workplace, one: object, other: object) -> bool:
    if isinstance(one, Clip) and isinstance(other, Clip):
        return all(same(place, *towers) for towers in zip(one.towers, other.towers, strict=True))
    assert isinstance(one, ModelHandle) and isinstance(other, ModelHandle)
    here, there = state(place, one), state(place, other)
    return here.keys() == there.keys() and all(torch.equal(here[name], there[name]) for name in here)


def test_a_checkpoint_comes_back_to_the_bit_with_its_workflow(place: Workplace) -> None:
    model, clip, vae = loaded(place)
    checkpoint_save(place.ctx('{"1": {}}'), model=model, clip=clip, vae=vae, filename_prefix="mine/%year%")
    [written] = place.output.glob("mine/*.safetensors")
    with safe_open(written, "pt") as file:
        assert json.loads(file.metadata()["prompt"]).keys() == {"1"}
    again = loaded(place, put(place, "checkpoints", written))
    assert all(same(place, one, other) for one, other in zip((model, clip, vae), again, strict=True))
    original = load_file(place.folders.roots("checkpoints")[0] / CHECKPOINT)
    saved = load_file(place.folders.roots("checkpoints")[0] / written.name)
    assert saved.keys() == {name for name in original if not name.endswith(("position_ids", "alphas_cumprod"))}
    assert all(torch.equal(tensor, original[name]) for name, tensor in saved.items())


def test_networks_are_saved_alone_and_loaded_by_their_loaders(place: Workplace) -> None:
    model, clip, vae = loaded(place)
    for save, name, handle in ((model_save, "model", model), (clip_save, "clip", clip), (vae_save, "vae", vae)):
        save(place.ctx(), **{name: handle}, filename_prefix=name)
    names = {
        name: put(place, folder, place.output / f"{name}_00001_.safetensors")
        for name, folder in (("model", "diffusion_models"), ("clip", "text_encoders"), ("vae", "vae"))
    }
    ctx = place.ctx()
    unet = unet_loader(ctx, unet_name=place.file("diffusion_models", names["model"]), weight_dtype="default")
    text = clip_loader(ctx, clip_name=place.file("text_encoders", names["clip"]), type="stable_diffusion")
    assert (type(unet), type(text)) == (Model, Clip)
    assert same(place, unet, model) and same(place, text, clip)
    assert same(place, vae_loader(ctx, vae_name=place.file("vae", names["vae"])), vae)
    assert place.warnings == []


def test_what_diffusers_reads_of_a_merged_checkpoint_is_the_average(place: Workplace, second: Checkpoint) -> None:
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    first = loaded(place)
    ctx = place.ctx()
    model = model_merge_simple(ctx, model1=first.model, model2=second.model, ratio=0.25)
    clip = clip_merge_simple(ctx, clip1=first.clip, clip2=second.clip, ratio=0.5)
    checkpoint_save(ctx, model=model, clip=clip, vae=first.vae, filename_prefix="merged")
    saved = load_file(place.output / "merged_00001_.safetensors")
    theirs = UNet2DConditionModel(
        block_out_channels=(16, 32), layers_per_block=1, cross_attention_dim=8, attention_head_dim=8, norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    config = {"layers_per_block": 1, "class_embed_type": None, "addition_embed_type": None}
    theirs.load_state_dict(convert_ldm_unet_checkpoint(saved, config))
    query = theirs.state_dict()["down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"]
    expected = 0.25 * state(place, first.model)[QUERY] + 0.75 * state(place, second.model)[QUERY]
    torch.testing.assert_close(query, expected, atol=1e-3, rtol=1e-3)  # the file's 16 bits


@pytest.mark.parametrize("kind", ["standard", "full_diff"])
def test_a_difference_saved_as_a_lora_leads_from_one_model_to_the_other(
    place: Workplace, second: Checkpoint, kind: str
) -> None:
    """At full rank, and with nothing cut off but outliers."""
    first, ctx = loaded(place), place.ctx()
    near = model_merge_simple(ctx, model1=first.model, model2=second.model, ratio=0.9)
    difference = model_merge_subtract(ctx, model1=near, model2=first.model, multiplier=1.0)
    lora_save(ctx, filename_prefix="lora", rank=512, lora_type=kind, bias_diff=True, model_diff=difference)
    name = put(place, "loras", place.output / "lora_00001_.safetensors")
    styled = lora_loader(
        ctx,
        model=first.model,
        clip=first.clip,
        lora_name=place.file("loras", name),
        strength_model=1.0,
        strength_clip=1.0,
    )
    assert styled.clip == first.clip and not place.warnings
    before, after, wanted = (state(place, handle) for handle in (first.model, styled.model, near))
    errors = [(after[n] - wanted[n]).norm() / (wanted[n] - before[n]).norm() for n in wanted]
    assert max(errors) < (0.3 if kind == "standard" else 2e-3)
    assert sorted(errors)[len(errors) // 2] < (0.05 if kind == "standard" else 2e-3)


def test_nothing_to_save_is_an_error(place: Workplace) -> None:
    options = {"filename_prefix": "x", "rank": 4, "lora_type": "standard", "bias_diff": False}
    with pytest.raises(InputError, match="no difference to save"):
        lora_save(place.ctx(), **options)
    model = loaded(place).model
    nothing = model_merge_subtract(place.ctx(), model1=model, model2=model, multiplier=1.0)
    with pytest.raises(InputError, match="no difference to save"):
        lora_save(place.ctx(), **options, model_diff=nothing)
    assert not list(place.output.iterdir())


def test_a_model_that_predicts_v_says_so_when_it_is_saved(place: Workplace) -> None:
    tensors = load_file(place.folders.roots("checkpoints")[0] / CHECKPOINT)
    save_file(tensors | {"v_pred": torch.zeros(0)}, place.folders.roots("checkpoints")[0] / "v.safetensors")
    model = loaded(place, "v.safetensors").model
    model_save(place.ctx(), model=model, filename_prefix="v")
    name = put(place, "diffusion_models", place.output / "v_00001_.safetensors")
    again = unet_loader(place.ctx(), unet_name=place.file("diffusion_models", name), weight_dtype="default")
    assert again.diffusion == model.diffusion


def test_a_missing_part_is_named(place: Workplace) -> None:
    model, clip, _ = loaded(place)
    path = place.folders.roots("checkpoints")[0] / "novae.safetensors"
    tensors = load_file(place.folders.roots("checkpoints")[0] / CHECKPOINT)
    save_file({name: x for name, x in tensors.items() if not name.startswith("first_stage")}, path)
    lacking = loaded(place, "novae.safetensors").vae
    assert isinstance(replace(lacking), Vae)
    with pytest.raises(InputError, match=r"novae\.safetensors holds no VAE"):
        checkpoint_save(place.ctx(), model=model, clip=clip, vae=lacking, filename_prefix="x")
