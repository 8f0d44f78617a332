"""UpscaleModelLoader and ImageUpscaleWithModel."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from graph.errors import InputError
from models.types import Image
from models.upscaler import CompactNet, UpscalerConfig
from nodes.upscaling import image_upscale_with_model, upscale_model_loader
from tests.nodes.conftest import CHECKPOINT, Workplace


def test_pictures_are_enlarged_one_by_one(place: Workplace) -> None:
    network = CompactNet(UpscalerConfig(scale=3, width=4, blocks=1, growth=0))
    for tensor in network.state_dict().values():
        tensor.zero_()
    path = place.folders.roots("upscale_models")[0] / "x3.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), path)
    model = upscale_model_loader(place.ctx(), model_name=place.file("upscale_models", "x3.safetensors"))
    pixels = torch.rand(2, 5, 4, 4)
    made = image_upscale_with_model(place.ctx(), upscale_model=model, image=Image(pixels)).pixels
    assert torch.equal(made, pixels[..., :3].repeat_interleave(3, 1).repeat_interleave(3, 2))


def test_another_file_is_refused_by_what_it_is(place: Workplace) -> None:
    with pytest.raises(InputError, match=r"tiny\.safetensors is no upscaler") as caught:
        upscale_model_loader(place.ctx(), model_name=place.file("checkpoints", CHECKPOINT))
    assert caught.value.input_name == "model_name"
