"""What networks are said to need besides their weights is what they need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from models.activations import decode_bytes, encode_bytes, unet_bytes
from models.config import UNetConfig, VaeConfig
from models.controlnet import ControlNet, control
from models.packed import can_pack, pack
from models.reading import NO_RESIDUALS, Reading
from models.unet import UNet
from models.vae import AutoencoderKL

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL_UNET = UNetConfig(model_channels=32, context_dim=32)  # SD v1's shape, a tenth of its width
SMALL_VAE = VaeConfig(ch=16)
F32 = torch.float32


def peak_bytes(call: Callable[[], object]) -> int:
    """The most that torch's allocator had given out at once while `call` ran, beyond what it had before."""
    call()
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        call()
    held = most = 0
    for event in watched.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


@pytest.mark.parametrize("packing", [False, pytest.param(True, marks=pytest.mark.skipif(not can_pack(), reason=""))])
@pytest.mark.parametrize(("height", "width"), [(24, 24), (16, 32)])
def test_the_room_for_activations_is_what_they_take_and_not_much_more(height: int, width: int, packing: bool) -> None:
    unet = UNet(SMALL_UNET).eval().requires_grad_(False)
    vae = AutoencoderKL(SMALL_VAE).eval().requires_grad_(False)
    if packing:
        pack(unet)
        pack(vae)
    x, z, picture = torch.randn(2, 4, height, width), torch.randn(1, 4, height, width), torch.randn(1, 3, 128, 96)
    with torch.inference_mode():
        taken = (
            peak_bytes(lambda: unet(x, torch.tensor([1.0, 1.0]), Reading(torch.randn(2, 77, 32)))),
            peak_bytes(lambda: vae.decode(z)),
            peak_bytes(lambda: vae.encode(picture)),
        )
    said = (
        unet_bytes(SMALL_UNET, 2, height, width, F32),
        decode_bytes(SMALL_VAE, height, width, F32),
        encode_bytes(SMALL_VAE, 128, 96, F32),
    )
    for real, estimate in zip(taken, said, strict=True):
        assert real <= estimate <= 2 * real


@pytest.mark.parametrize("count", [1, 3])
def test_the_room_for_controls_is_what_they_take(count: int) -> None:
    config = UNetConfig(model_channels=64, context_dim=32)
    eyes = (3, 3, 3, 6, 6, 19, 19, 51, 64)  # as wide beside the U-Net as in the published networks
    unet = UNet(config).eval().requires_grad_(False)
    network = ControlNet(config, eyes).eval().requires_grad_(False)
    x, t, reading, hint = (
        torch.randn(2, 4, 16, 24),
        torch.ones(2),
        Reading(torch.randn(2, 77, 32)),
        torch.rand(2, 3, 128, 192),
    )

    def steered() -> None:
        seen = [network.input_hint_block(hint) for _ in range(count)]
        residuals = NO_RESIDUALS
        for one in seen:
            residuals = residuals + control(network, network, x, t, one, reading)
        unet(x, t, replace(reading, residuals=residuals))

    with torch.inference_mode():
        taken = peak_bytes(steered)
    assert taken <= unet_bytes(config, 2, 16, 24, F32, count) <= 2 * taken


def test_half_the_precision_takes_half_the_room() -> None:
    assert 2 * unet_bytes(SMALL_UNET, 1, 8, 8, torch.float16) == unet_bytes(SMALL_UNET, 1, 8, 8, F32)
