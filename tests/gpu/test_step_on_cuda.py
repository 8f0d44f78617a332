"""What only a CUDA device can show: half precision is right there, and the step loop hardly ever waits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch

from models.config import UNetConfig
from models.denoiser import Denoiser, Guided
from models.family import SD1
from models.guidance import Cfg
from models.levels import NoiseLevels
from models.noise import Noise
from models.reading import Reading
from models.samplers import SAMPLERS
from models.schedules import SCHEDULES
from models.types import Cond, Conditioning
from models.unet import UNet
from tests.models.oracles import randomized, relative_error

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

STEPS = 8


@pytest.fixture
def waits() -> Iterator[list[warnings.WarningMessage]]:
    """What torch tells of every time the processor waits for the device."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            yield told
    finally:
        torch.cuda.set_sync_debug_mode("default")


def unet() -> UNet:
    torch.manual_seed(0)
    network = UNet(UNetConfig(model_channels=32, context_dim=48)).eval()
    randomized(network)
    return network.requires_grad_(False)


@torch.inference_mode()
@pytest.mark.parametrize(("dtype", "near"), [(torch.float16, 5e-3), (torch.bfloat16, 4e-2)])
def test_half_precision_is_near_float32(dtype: torch.dtype, near: float) -> None:
    network = unet()
    x, t, context = torch.randn(2, 4, 16, 16), torch.tensor([3.0, 900.0]), torch.randn(2, 77, 48)
    expected = network(x, t, Reading(context))
    network.to("cuda", dtype)
    found = network(x.to("cuda", dtype), t.cuda(), Reading(context.to("cuda", dtype)))
    assert relative_error(found.cpu().float(), expected) < near


@torch.inference_mode()
@pytest.mark.parametrize(("name", "most"), [("dpmpp_2m", 1), ("euler_ancestral", 2)])  # noise is drawn on the CPU
def test_a_step_waits_at_most_once_for_the_device(name: str, most: int, waits: list[warnings.WarningMessage]) -> None:
    levels = NoiseLevels()
    denoiser = Denoiser(unet().cuda(), SD1.diffusion, lambda: None)
    text = Conditioning((Cond(torch.randn(1, 77, 48), torch.randn(1, 48)),))
    guided, sigmas, noise = Guided(denoiser, (text, text), Cfg(4.0)), SCHEDULES["karras"](levels, STEPS), Noise(1)
    x = (noise.initial((1, 4, 16, 16)) * sigmas[0]).cuda()
    steps = iter(SAMPLERS[name](guided, x, sigmas, noise))
    next(steps)  # what is set up once does not count
    waits.clear()
    taken = sum(1 for _ in steps)
    assert len(waits) <= most * taken
