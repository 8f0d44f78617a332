"""What steers a U-Net keeps to the network's device and precision: on the meta device every mixture of two is an error."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from models.attention import Site
from models.config import UNetConfig
from models.controlnet import ControlNet, ControlNetUnion
from models.controls import Asked, Controlled, Shown
from models.deep_shrink import DeepShrink
from models.family import SD1
from models.freeu import FreeU
from models.hypernetwork import Hypernetwork, Layer
from models.hypertile import HyperTile
from models.image_prompt import ImagePrompt, text_sites
from models.normalized_attention import NormalizedAttention
from models.reading import Reading
from models.self_attention_guidance import SelfAttentionGuidance
from models.steering import Call, Ground, Steer, Steering
from models.t2i_adapter import AdapterConfig, T2IAdapter
from models.token_merging import TokenMerging
from models.types import Control
from models.unet import UNet

CONFIG = UNetConfig(model_channels=32, context_dim=24)
GROUND = Ground(CONFIG, SD1.diffusion.levels, {1: torch.zeros(1, 77, 24)})
EYES = (3, 8, 8, 8, 8, 8, 8, 8, 32)
PICTURE, MASK = torch.zeros(1, 64, 64, 3), torch.zeros(1, 30, 30)


@pytest.fixture(scope="module")
def unet() -> Any:
    with torch.device("meta"):
        return UNet(CONFIG).half()


def controls() -> tuple[tuple[Control, ...], Steer]:
    """A picture through each kind of network."""
    with torch.device("meta"):
        net, adapter = ControlNet(CONFIG, EYES).half(), T2IAdapter(AdapterConfig(3, (32, 64, 128, 128))).half()
        union = ControlNetUnion(CONFIG, EYES, kinds=4, sinusoids=8, layers=1, width=32).half()
    answers: list[Any] = [
        Asked(net, net, PICTURE, lambda: None), Asked(union, union, PICTURE, lambda: None, (1,)), Shown(adapter, PICTURE, 2),
    ]  # fmt: skip
    handles: list[Any] = [SimpleNamespace(pooled=pooled) for pooled in (False, True, False)]
    given = tuple(Control(handle, PICTURE, mask=MASK) for handle in handles)
    return given, Controlled(list(zip(given, answers, strict=True)), SD1.diffusion.levels)


def image_prompt(unet: UNet) -> ImagePrompt:
    sites: dict[Any, int] = {}
    for module in unet.modules():
        if isinstance(site := getattr(module, "site", None), Site) and site.text:
            sites[site.place, site.depth] = module.get_submodule("to_k").get_parameter("weight").shape[0]
    assert set(sites) == set(text_sites(CONFIG)), "all cross-attentions, and no other"
    pairs = tuple((torch.zeros(2, 4, sites[site]), torch.zeros(2, 4, sites[site])) for site in text_sites(CONFIG))
    return ImagePrompt(pairs, 0.5, mask=MASK)


def call(unet: UNet, steer: Steer, held: tuple[tuple[Control, ...], ...] = ((), ())) -> None:
    x = torch.zeros(2, 4, 16, 24, dtype=torch.float16, device="meta")
    texts: list[Any] = [SimpleNamespace(number=1 - i, controls=one, for_controls=None) for i, one in enumerate(held)]
    reading = Reading(torch.zeros(2, 77, 24, dtype=torch.float16, device="meta"))
    with torch.inference_mode():
        made = unet(
            x, torch.zeros(2, device="meta"), steer(Call(x, torch.zeros(2, device="meta"), 1.0, texts), reading)
        )
    assert made.shape == x.shape and made.dtype == x.dtype


STEERING: list[Steering] = [
    FreeU(1.1, 1.2, 0.9, 0.2, by_structure=True),
    HyperTile(64, 1, 1, scale_depth=False),
    TokenMerging(0.5),
    NormalizedAttention(5.0, 1.5, 0.5),
    DeepShrink(3, 2.0, end=1.0, smaller="bislerp"),
    SelfAttentionGuidance(1.0, 2.0),
    Hypernetwork({24: ((Layer(torch.zeros(24, 24), torch.zeros(24)),),) * 2}, 1.0),
]


@pytest.mark.parametrize("steering", STEERING, ids=lambda steering: type(steering).__name__)
def test_patches_of_attention(unet: UNet, steering: Steering) -> None:
    call(unet, steering.begin(GROUND).steer)


def test_a_picture_as_a_prompt(unet: UNet) -> None:
    call(unet, image_prompt(unet).begin(GROUND).steer)


@pytest.mark.parametrize("both", [True, False], ids=["of both prompts", "of one"])
def test_controls(unet: UNet, both: bool) -> None:
    given, steer = controls()
    call(unet, steer, (given if both else (), given))
