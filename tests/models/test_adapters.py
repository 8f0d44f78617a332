"""Adapter files: which weights they mean, what they do to them, and that the rest of a network is in memory once."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from models.adapters import Adapter, read_adapter
from models.checkpoint import Weights, read_header
from models.config import UNetConfig
from models.diffusers_names import diffusers_name
from models.packed import can_pack
from models.precision import Precision
from models.reading import Reading
from models.residency import Residency, network_bytes
from models.types import Model, TextTower, Vae
from models.unet import UNet
from models.weights import CheckpointError
from tests.tiny_checkpoint import tiny_unet, tiny_vae, write_tiny_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
QUERY = "input_blocks.1.1.transformer_blocks.0.attn1.to_q"
DIFFUSERS_QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
CONV, DIFFUSERS_CONV = "input_blocks.1.0.in_layers.2", "down_blocks.0.resnets.0.conv1"
OUT = "input_blocks.1.1.transformer_blocks.0.attn1.to_out.0"
FC1 = "text_model.encoder.layers.0.mlp.fc1"


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    return read_header(write_tiny_checkpoint(tmp_path / "tiny.safetensors"))


@pytest.fixture
def lora(tmp_path: Path) -> Callable[..., Adapter]:
    """Write a LoRA file of these tensors."""

    def written(tensors: Mapping[str, Tensor], strength: float = 1.0, name: str = "a") -> Adapter:
        path = tmp_path / f"{name}.safetensors"
        save_file(dict(tensors), path)
        return Adapter(read_adapter(path), name, strength)

    return written


def factors(stem: str, out: int, inside: int, rank: int = 2, alpha: float | None = None, seed: int = 0) -> Any:
    """The two factors of a change in kohya's names."""
    generator = torch.Generator().manual_seed(seed)
    made = {
        f"{stem}.lora_up.weight": torch.randn(out, rank, generator=generator),
        f"{stem}.lora_down.weight": torch.randn(rank, inside, generator=generator),
    }
    return made if alpha is None else made | {f"{stem}.alpha": torch.tensor(alpha)}


def residency(budget: int = 2**40, packing: bool = False) -> Residency:
    return Residency(CPU, Precision(), budget, packing)


def layer(network: nn.Module, name: str) -> Any:
    return network.get_submodule(name)


@pytest.mark.parametrize("blocks", [1, 2])
def test_every_layer_of_the_unet_has_the_name_that_diffusers_gives_it(blocks: int) -> None:
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    config = UNetConfig(16, 4, 16, (1, 2, 2), blocks, (1, 1, 0), 1, 8)
    with torch.device("meta"):
        state = UNet(replace(config, in_channels=4)).state_dict()
    marked = {f"model.diffusion_model.{name}": torch.tensor(i) for i, name in enumerate(state)}
    theirs = convert_ldm_unet_checkpoint(
        marked, {"layers_per_block": blocks, "class_embed_type": None, "addition_embed_type": None}
    )
    numbered = {int(number): name.removesuffix(".weight") for name, number in theirs.items()}
    for i, name in enumerate(state):
        if name.endswith(".weight"):
            assert diffusers_name(name.removesuffix(".weight"), blocks) == numbered[i]


@pytest.mark.parametrize(
    ("stem", "weight"),
    [
        ("lora_unet_" + DIFFUSERS_QUERY.replace(".", "_"), QUERY),
        ("lora_unet_" + QUERY.replace(".", "_"), QUERY),
        ("lycoris_" + DIFFUSERS_QUERY.replace(".", "_"), QUERY),
        ("diffusion_model." + QUERY, QUERY),
        ("unet." + DIFFUSERS_QUERY, QUERY),
        ("base_model.model." + DIFFUSERS_QUERY, QUERY),
        ("base_model.model.unet." + DIFFUSERS_QUERY, QUERY),
        ("model.diffusion_model." + QUERY, QUERY),
        (DIFFUSERS_QUERY.replace(".to_", ".processor.to_"), QUERY),
        ("unet." + DIFFUSERS_QUERY.replace(".to_q", ".processor.to_out"), OUT),
    ],
)
def test_one_weight_has_many_spellings(weights: Weights, lora: Callable[..., Adapter], stem: str, weight: str) -> None:
    file = lora(factors(stem, 16, 16)).opened
    assert file.used_by(weights.shapes("model"), "model").weights == {weight + ".weight"}
    assert not file.used_by(weights.shapes("clip"), "clip").weights


@pytest.mark.parametrize(
    "stem",
    [
        "text_encoder.text_model.encoder.layers.0.mlp.fc1",
        "text_encoder.encoder.layers.0.mlp.fc1",  # since transformers 5.6
        "base_model.model.encoder.layers.0.mlp.fc1",
        "base_model.model.text_model.encoder.layers.0.mlp.fc1",
        "lora_te_text_model_encoder_layers_0_mlp_fc1",
        "lora_te_encoder_layers_0_mlp_fc1",
        "lora_te1_text_model_encoder_layers_0_mlp_fc1",
        "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1",
        "clip_l.text_model.encoder.layers.0.mlp.fc1",
    ],
)
def test_a_layer_of_the_text_encoder_has_many_spellings(
    weights: Weights, lora: Callable[..., Adapter], stem: str
) -> None:
    file = lora(factors(stem, 16, 8)).opened
    assert file.used_by(weights.shapes("clip"), "clip").weights == {FC1 + ".weight"}
    assert not file.used_by(weights.shapes("model"), "model").weights


@pytest.mark.parametrize(
    ("up", "down"),
    [
        (".lora_up.weight", ".lora_down.weight"), ("_lora.up.weight", "_lora.down.weight"),
        (".lora_B.weight", ".lora_A.weight"), (".lora.up.weight", ".lora.down.weight"), (".lora_B", ".lora_A"),
        (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"),
        (".lora_B.default.weight", ".lora_A.default.weight"),
    ],
)  # fmt: skip
def test_the_factors_have_many_spellings_too(
    weights: Weights, lora: Callable[..., Adapter], up: str, down: str
) -> None:
    tensors = {f"text_encoder.{FC1}{up}": torch.ones(16, 1), f"text_encoder.{FC1}{down}": torch.ones(1, 8)}
    assert lora(tensors).opened.used_by(weights.shapes("clip"), "clip").weights == {FC1 + ".weight"}


def changed(weights: Weights, *patches: Adapter, packing: bool = False) -> UNet:
    with residency(packing=packing).use(Model(weights, "w", patches)) as unet:
        return unet


def test_a_linear_layer_adds_what_its_two_factors_do(weights: Weights, lora: Callable[..., Adapter]) -> None:
    stem = "lora_unet_" + DIFFUSERS_QUERY.replace(".", "_")
    tensors = factors(stem, 16, 16, rank=2, alpha=1.0)
    x = torch.randn(3, 16)
    plain, patched = (layer(unet, QUERY)(x) for unet in (changed(weights), changed(weights, lora(tensors, 0.8))))
    extra = F.linear(F.linear(x, tensors[f"{stem}.lora_down.weight"]), tensors[f"{stem}.lora_up.weight"])
    torch.testing.assert_close(patched, plain + 0.8 * 1.0 / 2 * extra, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("middle", [False, True])
def test_a_convolution_adds_what_its_factors_do_one_after_the_other(
    weights: Weights, lora: Callable[..., Adapter], middle: bool
) -> None:
    stem = "lora_unet_" + DIFFUSERS_CONV.replace(".", "_")
    up, down = torch.randn(16, 2, 1, 1), torch.randn(2, 16, *((1, 1) if middle else (3, 3)))
    tensors = {f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down}
    x = torch.randn(1, 16, 6, 5)
    inner = F.conv2d(x, down, padding=0 if middle else 1)
    if middle:
        tensors[f"{stem}.lora_mid.weight"] = torch.randn(2, 2, 3, 3)
        inner = F.conv2d(inner, tensors[f"{stem}.lora_mid.weight"], padding=1)
    plain, patched = (layer(unet, CONV)(x) for unet in (changed(weights), changed(weights, lora(tensors, -0.5))))
    torch.testing.assert_close(patched, plain - 0.5 * F.conv2d(inner, up), rtol=1e-4, atol=1e-4)


def test_several_add_up_and_packed_weights_give_the_same(weights: Weights, lora: Callable[..., Adapter]) -> None:
    stem = "lora_unet_" + DIFFUSERS_QUERY.replace(".", "_")
    both = [lora(factors(stem, 16, 16, seed=seed), 0.3, f"lora{seed}") for seed in (1, 2)]
    plain = layer(changed(weights), QUERY).weight
    one, other = (layer(changed(weights, patch), QUERY).weight - plain for patch in both)
    torch.testing.assert_close(layer(changed(weights, *both), QUERY).weight, plain + one + other)
    if can_pack():
        x, t, context = torch.randn(1, 4, 8, 8), torch.tensor([500.0]), torch.randn(1, 77, 8)
        with torch.inference_mode():
            packed, unpacked = (
                changed(weights, *both, packing=packing)(x, t, Reading(context)) for packing in (True, False)
            )
        torch.testing.assert_close(packed, unpacked, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("packing", [False, pytest.param(True, marks=pytest.mark.skipif(not can_pack(), reason="-"))])
def test_networks_share_the_layers_that_they_do_not_change(
    weights: Weights, lora: Callable[..., Adapter], packing: bool
) -> None:
    query, conv = ("lora_unet_" + name.replace(".", "_") for name in (DIFFUSERS_QUERY, DIFFUSERS_CONV))
    first = Model(weights, "w", (lora(factors(query, 16, 16), name="first"),))
    second = Model(weights, "w", (lora(factors(conv, 16, 16 * 9), name="second"),))
    place = residency(packing=packing)
    with place.use(Model(weights, "w")) as plain, place.use(first) as one, place.use(second) as other:
        for network, own in ((one, QUERY), (other, CONV)):
            for name, module in plain.named_modules():
                if not list(module.children()):
                    assert (layer(network, name) is module) == (name != own), name
        more = sum(4 * layer(plain, name).weight.numel() for name in (QUERY, CONV))
        biases = 4 * 16  # the convolution's
        assert place.resident_bytes == network_bytes(tiny_unet()) + more + biases
    place.clear()
    assert place.resident_bytes == 0


def test_what_a_network_shares_stays_when_another_is_driven_out(weights: Weights, lora: Callable[..., Adapter]) -> None:
    stem = "lora_unet_" + DIFFUSERS_QUERY.replace(".", "_")
    patched = Model(weights, "w", (lora(factors(stem, 16, 16)),))
    budget = network_bytes(tiny_unet()) + network_bytes(tiny_vae()) - 1
    place = residency(budget)
    with place.use(patched) as network:
        kept = [weakref.ref(module) for module in network.modules()]
        with place.use(Vae(weights, "w")):
            assert place.resident_bytes <= budget
        assert all(module() is not None for module in kept)
    del network
    with place.room(budget - network_bytes(tiny_vae())), place.use(Vae(weights, "w")):
        assert not [module for module in kept if module() is not None]


def test_a_text_encoder_is_changed_by_its_part_of_the_file(weights: Weights, lora: Callable[..., Adapter]) -> None:
    stem = "lora_te_" + FC1.replace(".", "_")
    patch = lora(factors(stem, 16, 8, alpha=2.0))
    with residency().use(TextTower(weights, "w")) as plain, residency().use(TextTower(weights, "w", (patch,))) as text:
        tensors = factors(stem, 16, 8)
        delta = tensors[f"{stem}.lora_up.weight"] @ tensors[f"{stem}.lora_down.weight"]
        torch.testing.assert_close(layer(text, FC1).weight, layer(plain, FC1).weight + delta)
        assert torch.equal(layer(text, FC1).bias, layer(plain, FC1).bias)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({f"lora_te_{FC1.replace('.', '_')}.lora_up.weight": torch.ones(16, 2)}, "the other half of"),
        (factors("lora_te_" + FC1.replace(".", "_"), 24, 8), r"a change of 24 x 8.*\[16, 8\]"),
        (
            factors("lora_te_" + FC1.replace(".", "_"), 16, 8)
            | {f"lora_te_{FC1.replace('.', '_')}.alpha": torch.ones(2)},
            "alpha is not one number",
        ),
        (
            {f"lora_te_{FC1.replace('.', '_')}.{name}": torch.ones(3, 2) for name in ("lokr_w1", "lokr_w2")},
            r"lokr_w1 and .*lokr_w2 make a change of 9 x 4.*\[16, 8\]",
        ),
        ({f"lora_te_{FC1.replace('.', '_')}.diff": torch.ones(2, 1)}, r"make nothing that fits"),
    ],
)
def test_what_does_not_fit_is_said_with_its_name(
    weights: Weights, lora: Callable[..., Adapter], tensors: Mapping[str, Tensor], said: str
) -> None:
    with pytest.raises(CheckpointError, match=said):
        lora(tensors).opened.used_by(weights.shapes("clip"), "clip")


def test_a_file_replaced_before_it_is_read_is_not_used(weights: Weights, lora: Callable[..., Adapter]) -> None:
    patch = lora(factors("lora_te_" + FC1.replace(".", "_"), 16, 8))
    place = Residency(CPU, Precision(), 2**40, is_same=lambda path, identity: path != patch.opened.file.path)
    with (
        pytest.raises(CheckpointError, match=r"a.safetensors was replaced"),
        place.use(TextTower(weights, "w", (patch,))),
    ):
        pass
