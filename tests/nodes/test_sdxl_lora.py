"""LoRA files for SDXL: for its U-Net and both towers, in the names of kohya's scripts and as diffusers and PEFT write them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from graph.errors import InputError
from models.config import ClipConfig
from models.reading import Reading
from models.types import Clip, Model
from nodes.conditioning import clip_text_encode
from nodes.loaders import Checkpoint, checkpoint_loader_simple
from nodes.lora import lora_loader
from tests.models.oracles import diffusers_unet, relative_error
from tests.models.test_families import padded, theirs
from tests.nodes.conftest import CHECKPOINT, Workplace
from tests.tiny_checkpoint import CLIP
from tests.tiny_families import XL_UNET, G, family_state, write_family

RANK = 2


@pytest.fixture
def xl(place: Workplace) -> Checkpoint:
    write_family(place.folders.roots("checkpoints")[0] / "xl.safetensors", "xl", dtype=torch.float32)
    return checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", "xl.safetensors"))


def put(place: Workplace, tensors: dict[str, Tensor], name: str = "style") -> Any:
    folder = place.folders.roots("loras")[0]
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / f"{name}.safetensors")
    return place.file("loras", f"{name}.safetensors")


def styled(place: Workplace, loaded: Checkpoint, file: Any) -> tuple[Model, Clip]:
    made = lora_loader(
        place.ctx(), model=loaded.model, clip=loaded.clip, lora_name=file, strength_model=1.0, strength_clip=1.0
    )
    return made.model, made.clip


def weight(place: Workplace, handle: Any, name: str) -> Tensor:
    with place.services.residency.use(handle) as network:
        return network.get_parameter(name).clone()


def factors(stem: str, outside: int, inside: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(len(stem))
    return {
        f"{stem}.lora_up.weight": torch.randn(outside, RANK, generator=generator),
        f"{stem}.lora_down.weight": torch.randn(RANK, inside, generator=generator),
        f"{stem}.alpha": torch.tensor(1.0),
    }


LAYER = "text_model.encoder.layers.1.self_attn.q_proj"
QUERY = "input_blocks.3.1.transformer_blocks.1.attn1.to_q"


def test_kohya_s_names_reach_the_unet_and_each_tower(place: Workplace, xl: Checkpoint) -> None:
    text = LAYER.replace(".", "_")
    tensors = factors(f"lora_te1_{text}", CLIP.width, CLIP.width)
    tensors |= factors(f"lora_te2_{text}", G.width, G.width)
    tensors |= factors("lora_te2_text_projection", G.projection, G.width)
    tensors |= factors(f"lora_unet_{QUERY.replace('.', '_')}", 32, 32)
    model, clip = styled(place, xl, put(place, tensors))
    assert place.warnings == []
    changed = [
        (xl.model, model, QUERY, f"lora_unet_{QUERY.replace('.', '_')}"),
        (xl.clip.towers[0], clip.towers[0], LAYER, f"lora_te1_{text}"),
        (xl.clip.towers[1], clip.towers[1], LAYER, f"lora_te2_{text}"),
        (xl.clip.towers[1], clip.towers[1], "text_projection", "lora_te2_text_projection"),
    ]
    for before, after, layer, stem in changed:
        delta = tensors[f"{stem}.lora_up.weight"] @ tensors[f"{stem}.lora_down.weight"] / RANK
        expected = weight(place, before, f"{layer}.weight") + delta
        torch.testing.assert_close(weight(place, after, f"{layer}.weight"), expected)


def test_a_file_for_the_first_tower_alone_leaves_the_second(place: Workplace, xl: Checkpoint) -> None:
    file = put(place, factors(f"lora_te1_{LAYER.replace('.', '_')}", CLIP.width, CLIP.width))
    model, clip = styled(place, xl, file)
    assert model is xl.model and clip.towers[1] is xl.clip.towers[1] and clip.towers[0].patches


def test_what_diffusers_saves_of_an_adapter_by_peft_is_that_adapter(place: Workplace, xl: Checkpoint) -> None:
    """A U-Net and both towers with adapters whose alpha stands in the header alone."""
    from diffusers import StableDiffusionXLPipeline
    from diffusers.training_utils import _collate_lora_metadata
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    state = family_state("xl")
    with place.services.residency.use(xl.model) as network:
        unet = diffusers_unet(network, G.projection)
    first = theirs(ClipConfig(CLIP.width, 3, CLIP.intermediate), state, "conditioner.embedders.0.transformer.")
    second = theirs(G, state, "conditioner.embedders.1.model.")
    config = LoraConfig(r=RANK, lora_alpha=6, target_modules=["to_q", "to_v", "proj_in", "ff.net.2"])
    of_text = LoraConfig(r=RANK, lora_alpha=5, target_modules=["q_proj", "out_proj", "fc1"])
    unet.add_adapter(config)
    for tower in (first, second):
        tower.add_adapter(of_text)
    for network_ in (unet, first, second):
        _fill(network_)
    StableDiffusionXLPipeline.save_lora_weights(
        place.folders.roots("loras")[0],
        get_peft_model_state_dict(unet), get_peft_model_state_dict(first), get_peft_model_state_dict(second),
        weight_name="style.safetensors",
        **_collate_lora_metadata({"unet": unet, "text_encoder": first, "text_encoder_2": second}),
    )  # fmt: skip
    model, clip = styled(place, xl, place.file("loras", "style.safetensors"))
    assert place.warnings == []

    generator = torch.Generator().manual_seed(3)
    x, context = (torch.randn(shape, generator=generator) for shape in ((1, 4, 8, 8), (1, 77, XL_UNET.context_dim)))
    pooled, t = torch.randn(1, G.projection, generator=generator), torch.tensor([500.0])
    with torch.inference_mode():
        added = {"text_embeds": pooled, "time_ids": torch.zeros(1, 6)}
        expected = unet(x, t, context, added_cond_kwargs=added).sample
        angles = torch.cat([torch.ones(6, 128), torch.zeros(6, 128)], dim=1).view(1, -1)
        with place.services.residency.use(model) as ours:
            made = ours(x, t, Reading(context, vector=torch.cat([pooled, angles], dim=1)))
        assert relative_error(made, expected) <= 1e-5
        cond = clip_text_encode(place.ctx(), text="a fox", clip=clip).conds[0]
        one, two = (
            tower(padded("a fox", padding), output_hidden_states=True)
            for tower, padding in ((first, 49407), (second, 0))
        )
    assert relative_error(cond.tokens, torch.cat([one.hidden_states[-2], two.hidden_states[-2]], dim=-1)) <= 1e-5
    assert relative_error(cond.pooled, two.text_embeds) <= 1e-5


def _fill(network: nn.Module) -> None:
    """Random numbers for the factors, of which PEFT leaves one at zero."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in network.named_parameters():
        if "lora_" in name:
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)


def test_a_lora_of_another_family_is_told_with_both_files(place: Workplace, xl: Checkpoint) -> None:
    old = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT))
    name = "lora_unet_middle_block_1_transformer_blocks_0_attn2_to_k"
    file = put(place, factors(name, 32, XL_UNET.context_dim), "forxl")
    assert styled(place, xl, file)[0].patches
    with pytest.raises(InputError, match=rf"forxl\.safetensors.*another kind of model.*{CHECKPOINT}") as caught:
        styled(place, old, file)
    assert caught.value.input_name == "lora_name"


def test_names_that_nothing_has_are_told_with_both_files(place: Workplace, xl: Checkpoint) -> None:
    with pytest.raises(InputError, match=r"x\.safetensors changes nothing in xl\.safetensors"):
        styled(place, xl, put(place, factors("lora_unet_nowhere", 4, 4), "x"))
