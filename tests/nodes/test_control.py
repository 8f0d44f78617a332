"""ControlNet, Control-LoRA and T2I-Adapter in workflows, against diffusers' networks with the same weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from graph.errors import InputError
from models.controlnet import ControlNet, ControlNetUnion
from models.t2i_adapter import AdapterConfig, T2IAdapter
from models.types import Conditioning, Control, Image, Latent, Mask, Model
from nodes import control
from nodes.conditioning import clip_text_encode, clip_text_encode_controlnet
from nodes.control import (
    control_net_apply,
    control_net_apply_advanced,
    control_net_loader,
    diff_control_net_loader,
    set_union_control_net_type,
)
from nodes.loaders import checkpoint_loader_simple
from nodes.prompt_ranges import conditioning_set_timestep_range
from tests.models.oracles import randomized, relative_error
from tests.models.steering_peers import diffusers_controlnet, narrow_controlnet
from tests.nodes.conftest import CHECKPOINT, Workplace
from tests.nodes.one_step import NEGATIVE, POSITIVE, Given, drawn, expected, normal, nothing
from tests.tiny_checkpoint import UNET, tiny_unet

HINT = torch.rand(1, 64, 48, 3, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def model(place: Workplace) -> Model:
    loaded: Model = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT)).model
    return loaded


@pytest.fixture(scope="module")
def net() -> ControlNet:
    network = narrow_controlnet(UNET)
    return network.half().float()


def written(place: Workplace, state: Mapping[str, Tensor], name: str = "control.safetensors") -> Any:
    path = place.folders.roots("controlnet")[0] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.contiguous().clone() for key, tensor in state.items()}, path)
    return control_net_loader(place.ctx(), control_net_name=place.file("controlnet", name))


def by(net: ControlNet, *strengths: float, hint: Tensor = HINT, mask: Tensor | None = None) -> Given:
    """What diffusers' ControlNet adds, once for each strength."""
    theirs = diffusers_controlnet(net.state_dict(), UNET)

    def residuals(x: Tensor, context: Tensor) -> Mapping[str, Any]:
        seen = hint.movedim(-1, 1).expand(len(x), -1, -1, -1)
        skips, middle = theirs(x, torch.tensor([999.0]), context, controlnet_cond=seen, return_dict=False)

        def weighted(maps: Tensor) -> Tensor:
            where = 1.0 if mask is None else nn.functional.interpolate(mask[:, None], maps.shape[-2:], mode="bilinear")
            return maps * sum(strengths) * where

        return {
            "down_block_additional_residuals": tuple(map(weighted, skips)),
            "mid_block_additional_residual": weighted(middle),
        }

    return residuals


def both(place: Workplace, loaded: Any, **given: Any) -> Any:
    return control_net_apply_advanced(
        place.ctx(),
        **{"positive": POSITIVE, "negative": NEGATIVE, "control_net": loaded, "image": Image(HINT), **given},
    )


def test_a_control_net_steers_both_prompts(place: Workplace, model: Model, net: ControlNet) -> None:
    loaded = written(place, net.state_dict())
    found = drawn(place, model, *both(place, loaded, strength=0.7))
    assert relative_error(found, expected(by(net, 0.7), by(net, 0.7))) < 1e-5
    assert relative_error(found, drawn(place, model, POSITIVE, NEGATIVE)) > 0.01
    assert not place.warnings


def test_several_controls_add_up(place: Workplace, model: Model, net: ControlNet) -> None:
    loaded = written(place, net.state_dict())
    once = both(place, loaded, strength=0.5)
    twice = both(place, loaded, positive=once.positive, negative=once.negative, strength=0.25)
    assert relative_error(drawn(place, model, *twice), expected(by(net, 0.75), by(net, 0.75))) < 1e-5


def test_a_control_of_one_prompt_alone(place: Workplace, model: Model, net: ControlNet) -> None:
    steered = both(place, written(place, net.state_dict()))
    found = drawn(place, model, steered.positive, NEGATIVE)
    assert relative_error(found, expected(by(net, 1.0), nothing)) < 1e-5


def test_the_old_node_s_control_counts_for_the_negative_prompt_too(
    place: Workplace, model: Model, net: ControlNet
) -> None:
    loaded = written(place, net.state_dict())
    steered = control_net_apply(place.ctx(), conditioning=POSITIVE, control_net=loaded, image=Image(HINT), strength=1.0)
    found = drawn(place, model, steered, NEGATIVE)
    assert torch.equal(found, drawn(place, model, *both(place, loaded)))


def test_where_and_when_it_counts(place: Workplace, model: Model, net: ControlNet) -> None:
    loaded = written(place, net.state_dict())
    plain = drawn(place, model, POSITIVE, NEGATIVE)
    mask = torch.zeros(1, 64, 48)
    mask[:, :, 24:] = 1
    found = drawn(place, model, *both(place, loaded, mask=Mask(mask)))
    masked = by(net, 1.0, mask=mask)
    assert relative_error(found, expected(masked, masked)) < 1e-5
    assert not torch.equal(found, drawn(place, model, *both(place, loaded)))
    late = both(place, loaded, start_percent=0.5)
    assert torch.equal(drawn(place, model, *late), plain), "its one step is before that"
    assert not torch.equal(drawn(place, model, *late, steps=6), drawn(place, model, POSITIVE, NEGATIVE, steps=6))
    assert torch.equal(drawn(place, model, *both(place, loaded, strength=0.0)), plain)


def test_a_text_for_a_part_of_the_way_keeps_its_control(place: Workplace, model: Model, net: ControlNet) -> None:
    steered = both(place, written(place, net.state_dict()))
    early = conditioning_set_timestep_range(place.ctx(), conditioning=steered.positive, start=0.0, end=0.9)
    assert torch.equal(drawn(place, model, early, steered.negative), drawn(place, model, *steered))


def test_each_item_of_a_batch_has_its_hint_and_fewer_begin_anew(
    place: Workplace, model: Model, net: ControlNet
) -> None:
    hints = torch.rand(2, 64, 48, 3, generator=torch.Generator().manual_seed(8))
    loaded = written(place, net.state_dict())
    found = drawn(place, model, *both(place, loaded, image=Image(hints)), latent_image=Latent(torch.zeros(3, 4, 8, 6)))
    in_turn = by(net, 1.0, hint=hints[[0, 1, 0]])
    assert relative_error(found, expected(in_turn, in_turn, batch=3)) < 1e-5


def test_a_hint_of_another_size_is_cropped_in_its_middle_and_resized(
    place: Workplace, model: Model, net: ControlNet
) -> None:
    loaded = written(place, net.state_dict())
    large = HINT.repeat_interleave(2, 1).repeat_interleave(2, 2)
    wide = torch.cat([torch.zeros(1, 128, 20, 3), large, torch.ones(1, 128, 20, 3)], dim=2)
    assert torch.equal(
        drawn(place, model, *both(place, loaded, image=Image(wide))), drawn(place, model, *both(place, loaded))
    )


def test_a_file_of_differences_is_added_to_the_model_s_weights(place: Workplace, model: Model, net: ControlNet) -> None:
    base, state = tiny_unet().state_dict(), net.state_dict()
    differences = {name: tensor - base[name] if name in base else tensor for name, tensor in state.items()}
    differences["difference"] = torch.tensor([1.0])
    loaded = written(place, differences)
    found = drawn(place, model, *both(place, loaded))
    assert relative_error(found, expected(by(net, 1.0), by(net, 1.0))) < 1e-5
    asked = diff_control_net_loader(
        place.ctx(), model=model, control_net_name=place.file("controlnet", "control.safetensors")
    )
    assert torch.equal(drawn(place, model, *both(place, asked)), found)
    assert not place.warnings


def test_a_control_lora_changes_the_model_s_own_way_down(place: Workplace, model: Model, net: ControlNet) -> None:
    base, file, whole = tiny_unet().state_dict(), {"lora_controlnet": torch.tensor([])}, dict[str, Tensor]()
    for i, (name, tensor) in enumerate(net.state_dict().items()):
        if name not in base:
            whole[name] = file[name] = tensor  # the hint's eyes, and the ways out
        elif name.endswith("weight") and tensor.ndim > 1:
            up, down = normal(tensor.shape[0], 2, seed=i) * 0.1, normal(2, *tensor.shape[1:], seed=-i) * 0.1
            file[name.replace("weight", "up")], file[name.replace("weight", "down")] = up, down
            whole[name] = base[name] + (up @ down.flatten(1)).view(tensor.shape)
        elif i % 2:
            whole[name] = file[name] = tensor
        else:
            whole[name] = base[name]
    lora = written(place, file)
    changed = narrow_controlnet(UNET)
    changed.load_state_dict(whole)
    found = drawn(place, model, *both(place, lora))
    assert relative_error(found, expected(by(changed, 1.0), by(changed, 1.0))) < 1e-5
    assert not place.warnings


def test_shuffle_s_networks_say_nothing_of_where(place: Workplace, model: Model, net: ControlNet) -> None:
    pooling = diffusers_controlnet(net.state_dict(), UNET, pooled=True)

    def residuals(x: Tensor, context: Tensor) -> Mapping[str, Any]:
        seen = HINT.movedim(-1, 1)
        skips, middle = pooling(x, torch.tensor([999.0]), context, controlnet_cond=seen, return_dict=False)
        return {"down_block_additional_residuals": skips, "mid_block_additional_residual": middle}

    loaded = written(place, net.state_dict(), "control_v11e_sd15_shuffle.safetensors")
    assert relative_error(drawn(place, model, *both(place, loaded)), expected(residuals, residuals)) < 1e-5


@pytest.mark.parametrize("channels", [3, 1])
def test_an_adapter_steers_the_way_down(place: Workplace, model: Model, channels: int) -> None:
    config = AdapterConfig(channels, (16, 32))
    adapter = randomized(T2IAdapter(config))
    loaded = written(place, adapter.state_dict())
    picture = HINT.movedim(-1, 1)
    maps = adapter(picture.mean(1, keepdim=True) if channels == 1 else picture)

    def residuals(x: Tensor, context: Tensor) -> Mapping[str, Any]:
        return {"down_intrablock_additional_residuals": [one * 0.8 for one in maps]}

    found = drawn(place, model, *both(place, loaded, strength=0.8))
    assert relative_error(found, expected(residuals, residuals)) < 1e-5


def test_a_network_of_another_family_is_refused_before_anything_is_loaded(place: Workplace, model: Model) -> None:
    other = narrow_controlnet(replace(UNET, context_dim=24))
    steered = both(place, written(place, other.state_dict()))
    with pytest.raises(InputError, match=r"control\.safetensors.*width 24.*tiny\.safetensors reads 8") as caught:
        drawn(place, model, *steered)
    assert caught.value.input_name == "positive"
    adapter = written(place, randomized(T2IAdapter(AdapterConfig(3, (20, 40)))).state_dict(), "t2i.safetensors")
    with pytest.raises(InputError, match=r"t2i\.safetensors.*20, 40 channels.*tiny\.safetensors has 16, 32"):
        drawn(place, model, *both(place, adapter))
    assert place.services.residency.resident_bytes == 0


def test_a_file_without_a_control_is_refused_by_name(place: Workplace) -> None:
    with pytest.raises(InputError, match=r"tiny\.safetensors holds no ControlNet") as caught:
        control_net_loader(place.ctx(), control_net_name=place.file("checkpoints", CHECKPOINT))
    assert caught.value.input_name == "control_net_name"


def test_a_control_net_in_a_checkpoint_s_place_is_told(place: Workplace, net: ControlNet) -> None:
    save_file(net.state_dict(), place.folders.roots("checkpoints")[0] / "c.safetensors")
    with pytest.raises(InputError, match=r"c\.safetensors holds no U-Net, only a ControlNet"):
        checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", "c.safetensors"))


def test_what_a_network_sees_is_computed_once(
    place: Workplace, model: Model, net: ControlNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    loaded = written(place, net.state_dict())
    with place.services.residency.use(loaded) as network:
        network.input_hint_block.register_forward_hook(lambda *_: looked.append(1))
        drawn(place, model, *both(place, loaded), steps=4)
    assert looked == [1]


def test_a_control_is_one_value_for_both_prompts() -> None:
    given: Control = control._with(POSITIVE, Control(None, HINT)).conds[0].controls[0]  # type: ignore[arg-type]
    assert given in (given,) and given != replace(given)


def test_a_union_network_is_told_the_kind_of_its_picture(place: Workplace, model: Model, net: ControlNet) -> None:
    eyes = (3, 8, 8, 8, 8, 8, 8, 8, UNET.model_channels)
    with torch.device("meta"):
        network: nn.Module = ControlNetUnion(UNET, eyes, kinds=4, sinusoids=8, layers=1, width=UNET.model_channels)
    loaded = written(place, randomized(network).state_dict(), "union.safetensors")

    def told(kind: str) -> Any:
        return set_union_control_net_type(place.ctx(), control_net=loaded, type=kind)

    assert told("auto").kinds == () and told("depth").kinds == (1,)
    pictures = [drawn(place, model, *both(place, told(kind))) for kind in ("auto", "openpose", "depth")]
    assert all(relative_error(a, b) > 1e-4 for a, b in zip(pictures, pictures[1:] + pictures[:1], strict=True))
    with pytest.raises(InputError, match=r"union\.safetensors knows 4 kinds of pictures; it cannot be told 'tile'"):
        told("tile")
    plain = written(place, net.state_dict())
    with pytest.raises(InputError, match=r"control\.safetensors is no union ControlNet") as caught:
        set_union_control_net_type(place.ctx(), control_net=plain, type="depth")
    assert caught.value.input_name == "type"


def test_a_controlnet_reads_a_text_of_its_own(place: Workplace, model: Model, net: ControlNet) -> None:
    """The U-Net reads the prompt; diffusers' ControlNet is given the other text."""
    loaded = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT))
    handle = written(place, net.state_dict())
    told = clip_text_encode_controlnet(place.ctx(), clip=loaded.clip, conditioning=POSITIVE, text="a drawn house")
    own = clip_text_encode(place.ctx(), clip=loaded.clip, text="a drawn house").conds[0].tokens
    assert torch.equal(told.conds[0].tokens, POSITIVE.conds[0].tokens)
    both = control_net_apply_advanced(
        place.ctx(), positive=told, negative=NEGATIVE, control_net=handle, image=Image(HINT), strength=0.8
    )
    found = drawn(place, model, both.positive, both.negative)

    def with_own(x: Tensor, context: Tensor) -> Mapping[str, Any]:
        return by(net, 0.8)(x, own)

    assert relative_error(found, expected(with_own, by(net, 0.8))) < 1e-5
    assert relative_error(found, expected(by(net, 0.8), by(net, 0.8))) > 1e-4
    with pytest.raises(InputError, match="width"):
        wide = replace(POSITIVE.conds[0], tokens=torch.zeros(1, 77, 12))
        clip_text_encode_controlnet(place.ctx(), clip=loaded.clip, conditioning=Conditioning((wide,)), text="x")
