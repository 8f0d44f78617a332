"""LoraLoader and LoraLoaderModelOnly: handles with patches, and what is said about files that do not fit."""

from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import save_file

from graph.errors import InputError
from graph.files import FileRef
from models.types import Clip, Model
from nodes.loaders import checkpoint_loader_simple
from nodes.lora import Styled, lora_loader, lora_loader_model_only
from tests.nodes.conftest import CHECKPOINT, Workplace

QUERY = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
FC1 = "lora_te_text_model_encoder_layers_0_mlp_fc1"


def lora(place: Workplace, *stems: str, name: str = "a.safetensors", width: int = 16) -> FileRef:
    inside = {QUERY: width, FC1: 8}
    tensors = {f"{stem}.lora_up.weight": torch.ones(16, 1) for stem in stems}
    tensors |= {f"{stem}.lora_down.weight": torch.ones(1, inside.get(stem, 4)) for stem in stems}
    path = place.folders.roots("loras")[0] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return place.file("loras", name)


def networks(place: Workplace) -> tuple[Model, Clip]:
    loaded = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT))
    return loaded.model, loaded.clip


def load(place: Workplace, file: FileRef, model_strength: float = 1.0, clip_strength: float = 1.0) -> Styled:
    model, clip = networks(place)
    return lora_loader(
        place.ctx(), model=model, clip=clip, lora_name=file, strength_model=model_strength, strength_clip=clip_strength
    )


def test_handles_carry_the_patch_and_nothing_is_loaded_yet(place: Workplace) -> None:
    model, clip = load(place, lora(place, QUERY, FC1), 0.8, 0.6)
    assert [patch.strength for patch in (*model.patches, *clip.patches)] == [0.8, 0.6]
    assert place.services.residency.resident_bytes == 0
    assert pickle.loads(pickle.dumps(model)) == model


def test_what_is_not_changed_stays_the_same_handle(place: Workplace) -> None:
    model, clip = networks(place)
    only_model = load(place, lora(place, QUERY))
    assert only_model.clip == clip and only_model.model != model
    assert load(place, lora(place, QUERY, FC1), 0.0, 1.0).model == model


def test_with_no_strength_at_all_the_file_is_not_even_opened(place: Workplace) -> None:
    file = lora(place, QUERY)
    file.path.write_bytes(b"no weights")
    assert load(place, file, 0.0, 0.0) == networks(place)
    model, _ = networks(place)
    assert lora_loader_model_only(place.ctx(), model=model, lora_name=file, strength_model=0.0) == model


def test_several_follow_each_other(place: Workplace) -> None:
    model, _ = networks(place)
    for name in ("a.safetensors", "b.safetensors"):
        model = lora_loader_model_only(place.ctx(), model=model, lora_name=lora(place, QUERY, name=name))
    assert [patch.file.path.name for patch in model.patches] == ["a.safetensors", "b.safetensors"]
    with place.services.residency.use(model) as unet, place.services.residency.use(networks(place)[0]) as plain:
        name = "input_blocks.1.1.transformer_blocks.0.attn1.to_q"
        torch.testing.assert_close(unet.get_parameter(f"{name}.weight"), plain.get_parameter(f"{name}.weight") + 2)


def test_a_file_for_another_kind_of_model_is_refused_with_its_reason(place: Workplace) -> None:
    with pytest.raises(InputError, match=r"a.safetensors changes nothing in this model.*lora_unet_other") as caught:
        load(place, lora(place, "lora_unet_other"))
    assert caught.value.input_name == "lora_name"
    with pytest.raises(InputError, match=r"a change of 16 x 24.*\[16, 16\]; was it made for another kind of model"):
        load(place, lora(place, QUERY, width=24))
    with pytest.raises(InputError, match=r"neither a safetensors file nor one that torch.save wrote"):
        file = lora(place, QUERY)
        file.path.write_bytes(b"something else")
        load(place, file)
