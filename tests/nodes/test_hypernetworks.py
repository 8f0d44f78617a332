"""Hypernetworks: networks written with torch's own layers, put before a diffusers U-Net's keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graph.errors import InputError
from models.types import Model, nbytes
from nodes.hypernetworks import hypernetwork_loader
from nodes.loaders import checkpoint_loader_simple
from tests.models.oracles import diffusers_unet, relative_error
from tests.nodes.conftest import CHECKPOINT, Workplace
from tests.nodes.one_step import NEGATIVE, POSITIVE, drawn, expected, nothing
from tests.tiny_checkpoint import tiny_unet

WIDTHS = (8, 16)  # of the text, and of the outer blocks


@pytest.fixture
def model(place: Workplace) -> Model:
    loaded: Model = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT)).model
    return loaded


def net(width: int, seed: int, kind: str) -> nn.Sequential:
    """As its trainer builds them, by their numbers in the file."""
    torch.manual_seed(seed)
    first, last = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
    match kind:
        case "swish":
            return nn.Sequential(
                first, nn.Hardswish(), nn.LayerNorm(2 * width), nn.Dropout(0.3), last, nn.LayerNorm(width)
            )
        case "relu":
            return nn.Sequential(first, nn.ReLU(), last, nn.ReLU())
        case _:
            return nn.Sequential(first, last)


def written(place: Workplace, nets: Mapping[int, tuple[nn.Module, nn.Module]], **said: Any) -> Any:
    path: Path = place.folders.roots("hypernetworks")[0] / "style.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    content: dict[Any, Any] = {
        width: [{f"linear.{name}": tensor for name, tensor in one.state_dict().items()} for one in pair]
        for width, pair in nets.items()
    }
    torch.save(content | {"step": 7, "name": "style"} | said, path)
    return place.file("hypernetworks", "style.pt")


@pytest.mark.parametrize("kind", ["linear", "swish", "relu"])
def test_keys_and_values_are_made_of_what_the_nets_make(place: Workplace, model: Model, kind: str) -> None:
    nets = {width: (net(width, width, kind).eval(), net(width, width + 1, kind).eval()) for width in WIDTHS}
    file = written(place, nets, activation_func=kind, activate_output=kind == "relu", is_layer_norm=kind == "swish")
    changed = hypernetwork_loader(place.ctx(), model=model, hypernetwork_name=file, strength=0.7)

    theirs = diffusers_unet(tiny_unet())
    for module in theirs.modules():
        for number, name in enumerate(("to_k", "to_v")):
            layer = getattr(module, name, None)
            if layer is not None and layer.in_features in nets:
                one = nets[layer.in_features][number]
                layer.register_forward_pre_hook(lambda _, args, one=one: (args[0] + 0.7 * one(args[0]),))
    found = drawn(place, changed, POSITIVE, NEGATIVE)
    assert relative_error(found, expected(nothing, nothing, unet=theirs)) < 1e-5
    assert relative_error(found, drawn(place, model, POSITIVE, NEGATIVE)) > 1e-3
    assert nbytes(changed) > 0 and not place.warnings


def test_the_first_form_of_files(place: Workplace, model: Model) -> None:
    pair = net(8, 1, "linear"), net(8, 2, "linear")
    new = hypernetwork_loader(place.ctx(), model=model, hypernetwork_name=written(place, {8: pair}), strength=1.0)
    old_states = [{f"linear{int(name[0]) + 1}{name[1:]}": t for name, t in one.state_dict().items()} for one in pair]
    path = place.folders.roots("hypernetworks")[0] / "old.pt"
    torch.save({8: old_states}, path)
    old = hypernetwork_loader(
        place.ctx(), model=model, hypernetwork_name=place.file("hypernetworks", "old.pt"), strength=1.0
    )
    assert torch.equal(drawn(place, old, POSITIVE, NEGATIVE), drawn(place, new, POSITIVE, NEGATIVE))


def test_what_does_not_fit_is_told(place: Workplace, model: Model) -> None:
    file = written(place, {24: (net(24, 1, "linear"), net(24, 2, "linear"))})
    hypernetwork_loader(place.ctx(), model=model, hypernetwork_name=file, strength=1.0)
    assert "style.pt changes inputs of 24 channels" in place.warnings[0].message
    assert hypernetwork_loader(place.ctx(), model=model, hypernetwork_name=file, strength=0.0) is model

    def refused(content: Any, words: str) -> None:
        torch.save(content, file.path)
        with pytest.raises(InputError, match=words) as caught:
            hypernetwork_loader(place.ctx(), model=model, hypernetwork_name=file, strength=1.0)
        assert caught.value.input_name == "hypernetwork_name"

    weight: Tensor = torch.zeros(8, 8)
    refused({"a": weight}, r"style\.pt holds no hypernetwork")
    refused({8: [{}, {}]}, "damaged")
    refused({8: [{"linear.0.weight": torch.zeros(4, 4), "linear.0.bias": torch.zeros(4)}] * 2}, "layers for 8 channels")
    state = {"linear.0.weight": weight, "linear.0.bias": torch.zeros(8)}
    refused({8: [state, state], "activation_func": "sine"}, "activation 'sine'; known are")
    file.path.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"style\.pt"):
        hypernetwork_loader(place.ctx(), model=model, hypernetwork_name=file, strength=1.0)
