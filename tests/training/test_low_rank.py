"""Low-rank changes of a network: what their file makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.adapters import Adapter, read_adapter
from models.training.diffusion import TextToNoise
from models.training.low_rank import lora_of_difference
from models.unet import UNet
from tests.training.miniature import MINIATURE


def network() -> TextToNoise:
    torch.manual_seed(0)
    return TextToNoise(MINIATURE.unet, MINIATURE.clip.text).requires_grad_(False)


def as_changed(unet: UNet, weights: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """A U-Net's weights as Darkroom changes them by a file."""
    save_file({name: value.contiguous() for name, value in weights.items()}, file)
    state = unet.state_dict()
    opened = read_adapter(file)
    made = Adapter(opened, "", 1.0).changes({name: tuple(value.shape) for name, value in state.items()}, "model")
    assert not opened.unused(opened.used_by({name: tuple(value.shape) for name, value in state.items()}, "model"))
    return {name: made[name](value) if name in made else value for name, value in state.items()}


def test_a_student_becomes_a_lora_that_is_as_near_as_its_rank_allows(tmp_path: Path) -> None:
    unet = network().unet
    own = unet.state_dict()
    rng = torch.Generator().manual_seed(1)
    student = {}
    for name, weight in own.items():
        low = torch.randn(len(weight), 2, generator=rng) @ torch.randn(2, max(1, weight[0].numel()), generator=rng)
        student[name] = weight + low.view(weight.shape) if weight.ndim > 1 else weight + 1
    exact = as_changed(unet, lora_of_difference(own, student, 2), tmp_path / "two.safetensors")
    assert all(torch.allclose(exact[name], student[name], atol=1e-4) for name in own)
    convolution = "input_blocks.1.0.in_layers.2.weight"
    others = own | {convolution: student[convolution]}
    rough = as_changed(unet, lora_of_difference(own, others, 1), tmp_path / "one.safetensors")
    values = torch.linalg.svdvals((student[convolution] - own[convolution]).flatten(1))
    assert (rough[convolution] - student[convolution]).norm() == pytest.approx(float(values[1]), rel=1e-3)
