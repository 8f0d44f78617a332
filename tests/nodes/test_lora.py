"""LoraLoader and LoraLoaderModelOnly: handles with patches, and what is said about files that do not fit."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from graph.errors import InputError
from graph.files import FileRef
from models.adapters import Adapter
from models.precision import Precision
from models.residency import Residency
from models.types import Clip, Model
from models.weights import CheckpointError
from nodes.loaders import checkpoint_loader_simple
from nodes.lora import (
    Styled,
    lora_loader,
    lora_loader_block_weights,
    lora_loader_bypass,
    lora_loader_bypass_model_only,
    lora_loader_model_only,
)
from tests.nodes.conftest import CHECKPOINT, Workplace

QUERY = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
FC1 = "lora_te_text_model_encoder_layers_0_mlp_fc1"


def lora(
    place: Workplace,
    *stems: str,
    name: str = "a.safetensors",
    width: int = 16,
    ends: tuple[str, str] = ("lora_up", "lora_down"),
) -> FileRef:
    inside = {FC1: 8, "lora_unet_other": 4}
    tensors = {f"{stem}.{ends[0]}.weight": torch.ones(16, 1) for stem in stems}
    tensors |= {f"{stem}.{ends[1]}.weight": torch.ones(1, inside.get(stem, width)) for stem in stems}
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
    patches = [patch for patch in (*model.patches, *clip.towers[0].patches) if isinstance(patch, Adapter)]
    assert [patch.strength for patch in patches] == [0.8, 0.6]
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
    assert [path.name for patch in model.patches for path, _ in patch.sources] == ["a.safetensors", "b.safetensors"]
    with place.services.residency.use(model) as unet, place.services.residency.use(networks(place)[0]) as plain:
        name = "input_blocks.1.1.transformer_blocks.0.attn1.to_q"
        torch.testing.assert_close(unet.get_parameter(f"{name}.weight"), plain.get_parameter(f"{name}.weight") + 2)


def test_a_file_for_another_kind_of_model_is_refused_with_its_reason(place: Workplace) -> None:
    with pytest.raises(
        InputError, match=r"a.safetensors changes nothing in tiny.safetensors.*lora_unet_other"
    ) as caught:
        load(place, lora(place, "lora_unet_other"))
    assert caught.value.input_name == "lora_name"
    with pytest.raises(InputError, match=r"a change of 16 x 24.*\[16, 16\]; was it made for another kind of model"):
        load(place, lora(place, QUERY, width=24))
    with pytest.raises(InputError, match=r"neither a safetensors or GGUF file nor one that torch.save wrote"):
        file = lora(place, QUERY)
        file.path.write_bytes(b"something else")
        load(place, file)


def test_what_of_a_file_is_not_used_is_told_with_its_number(place: Workplace) -> None:
    file = lora(place, QUERY, FC1)
    tensors = load_file(file.path)
    strange = {f"lora_unet_x{i}.lora_up.weight": torch.ones(2, 1) for i in range(4)} | {
        f"{QUERY}.vera_lambda_b": torch.ones(1)
    }
    save_file(tensors | strange, file.path)
    load(place, file)
    [warning] = place.warnings
    assert warning.message.startswith(f"5 of the {len(tensors) + 5} tensors of a.safetensors are not used: ")
    assert warning.input_name == "lora_name"


def test_a_loader_of_the_model_alone_leaves_the_text_encoder_out_without_a_word(place: Workplace) -> None:
    lora_loader_model_only(place.ctx(), model=networks(place)[0], lora_name=lora(place, QUERY, FC1), strength_model=1.0)
    assert place.warnings == []


def test_the_configuration_of_peft_beside_a_file_counts_and_is_looked_at_again(place: Workplace) -> None:
    stem = "base_model.model.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    file = lora(place, stem, name="adapter_model.safetensors", ends=("lora_B", "lora_A"))
    model, _ = networks(place)

    def delta() -> float:
        patched = lora_loader_model_only(place.ctx(), model=model, lora_name=file, strength_model=1.0)
        name = "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
        with place.services.residency.use(patched) as unet, place.services.residency.use(model) as plain:
            return float((unet.get_parameter(name) - plain.get_parameter(name)).mean())

    freshness = lora_loader_model_only.freshness
    assert freshness is not None
    without = delta()
    assert "adapter_config.json is not beside it" in place.warnings.pop().message
    stamps = [freshness("1", {"lora_name": file}, place.folders)]
    for alpha in (4, 12):
        config = {"peft_type": "LORA", "r": 1, "lora_alpha": alpha}
        file.path.with_name("adapter_config.json").write_text(json.dumps(config))
        assert delta() == pytest.approx(alpha * without)
        stamps.append(freshness("1", {"lora_name": file}, place.folders))
    assert len(set(map(repr, stamps))) == 3 and not place.warnings


def test_a_file_that_is_replaced_before_its_numbers_are_read_is_not_used(place: Workplace) -> None:
    """Also where the new one has the same names and shapes."""
    file = lora(place, QUERY)
    model, _ = networks(place)
    patched = lora_loader_model_only(place.ctx(), model=model, lora_name=file, strength_model=1.0)
    tensors = {name: tensor * 2 for name, tensor in load_file(file.path).items()}
    save_file(tensors, file.path.with_suffix(".new"))
    file.path.with_suffix(".new").replace(file.path)
    residency = Residency(torch.device("cpu"), Precision(), 2**30, is_same=place.folders.identity.matches)
    with pytest.raises(CheckpointError, match=r"a\.safetensors was replaced"), residency.use(patched):
        pass


def test_blocks_get_numbers_of_their_own(place: Workplace) -> None:
    model, _ = networks(place)
    middle = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    path = place.folders.roots("loras")[0] / "b.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"{QUERY}.diff": torch.ones(16, 16), f"{middle}.diff": torch.ones(32, 32)}, path)
    numbers = ["0"] * 17
    numbers[1], numbers[7] = "0.5", "2"  # input block 1 and the middle
    patched = lora_loader_block_weights(
        place.ctx(),
        model=model,
        lora_name=place.file("loras", "b.safetensors"),
        strength_model=1.0,
        block_weights=",".join(numbers),
    )
    names = {"input_blocks.1.1": 0.5, "middle_block.1": 2.0}
    with place.services.residency.use(patched) as unet, place.services.residency.use(model) as plain:
        for block, share in names.items():
            name = f"{block}.transformer_blocks.0.attn1.to_q.weight"
            torch.testing.assert_close(unet.get_parameter(name), plain.get_parameter(name) + share)
    for wrong in ("1,2", "x" + ",1" * 16, "nan" + ",1" * 16):
        with pytest.raises(InputError, match="17 numbers") as caught:
            lora_loader_block_weights(
                place.ctx(),
                model=model,
                lora_name=place.file("loras", "b.safetensors"),
                strength_model=1.0,
                block_weights=wrong,
            )
        assert caught.value.input_name == "block_weights"


def test_the_bypassing_loaders_give_what_the_plain_ones_give(place: Workplace) -> None:
    file = lora(place, QUERY, FC1)
    (model, clip), plain = networks(place), load(place, file, 0.8, 0.6)
    given = {"lora_name": file, "strength_model": 0.8}
    assert lora_loader_bypass(place.ctx(), model=model, clip=clip, strength_clip=0.6, **given) == plain
    assert lora_loader_bypass_model_only(place.ctx(), model=model, **given) == plain.model
