"""What a U-Net reads besides a latent and a time step, against diffusers' U-Net with the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.attention import Inner, Site, attend
from models.config import UNetConfig
from models.reading import Reading, Residuals, joined
from models.transformer import CrossAttention
from models.unet import UNet
from tests.models.oracles import diffusers_unet, randomized, relative_error

CONFIG = UNetConfig(model_channels=32, context_dim=24)
T = torch.tensor([999.0, 321.0])


def build() -> UNet:
    with torch.device("meta"):
        network: nn.Module = UNet(CONFIG)
    return randomized(network)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def unet() -> UNet:
    return build()


@pytest.fixture(scope="module")
def theirs(unet: UNet) -> Any:
    return diffusers_unet(unet)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X, CONTEXT = normal(2, 4, 16, 16), normal(2, 77, 24, seed=1)
CELLS = (16, 16, 16, 8, 8, 8, 4, 4, 4, 2, 2, 2)  # a side, after each input block
WIDTHS = (32, 32, 32, 32, 64, 64, 64, 128, 128, 128, 128, 128)


def maps(seed: int) -> tuple[Tensor, ...]:
    return tuple(normal(2, c, s, s, seed=seed + i) for i, (c, s) in enumerate(zip(WIDTHS, CELLS, strict=True)))


@torch.inference_mode()
def test_residuals_at_the_skips_and_in_the_middle_are_a_control_net_s(unet: UNet, theirs: Any) -> None:
    skips, middle = maps(5), normal(2, 128, 2, 2, seed=99)
    found = unet(X, T, Reading(CONTEXT, residuals=Residuals(skips=skips, middle=middle)))
    expected = theirs(
        X, T, CONTEXT, down_block_additional_residuals=skips, mid_block_additional_residual=middle
    ).sample  # fmt: skip
    assert relative_error(found, expected) < 1e-5
    assert relative_error(found, unet(X, T, Reading(CONTEXT))) > 0.01


@torch.inference_mode()
def test_residuals_of_input_blocks_are_an_adapter_s(unet: UNet, theirs: Any) -> None:
    features = maps(40)
    places = {i: features[i] for i in (2, 5, 8, 11)}
    found = unet(X, T, Reading(CONTEXT, residuals=Residuals(inputs=tuple(places.get(i) for i in range(12)))))
    expected = theirs(X, T, CONTEXT, down_intrablock_additional_residuals=list(places.values())).sample
    assert relative_error(found, expected) < 1e-5


@torch.inference_mode()
def test_channels_beside_the_latent(unet: UNet) -> None:
    with torch.device("meta"):
        wide: nn.Module = UNet(UNetConfig(in_channels=9, model_channels=32, context_dim=24))
    inpainting = randomized(wide)
    concat = normal(2, 5, 16, 16, seed=7)
    found = inpainting(X, T, Reading(CONTEXT, concat=concat))
    assert torch.equal(found, inpainting(torch.cat([X, concat], dim=1), T, Reading(CONTEXT)))


@torch.inference_mode()
def test_attention_is_done_by_whom_the_reading_says_at_every_site(unet: UNet) -> None:
    sites: list[Site] = []

    def noted(site: Site, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        sites.append(site)
        assert k.shape[1] == (77 if site.text else q.shape[1])
        return attend(site, q, k, v)

    assert torch.equal(unet(X, T, Reading(CONTEXT, attend=noted)), unet(X, T, Reading(CONTEXT)))
    assert len(sites) == len(set(sites)) == 32
    blocks = {(site.place.side, site.place.block) for site in sites}
    assert blocks == {
        *(("input", i) for i in (1, 2, 4, 5, 7, 8)),
        ("middle", 0),
        *(("output", i) for i in range(3, 12)),
    }
    assert {site.heads for site in sites} == {8}


@torch.inference_mode()
def test_what_is_done_around_a_layer_sees_its_inputs_and_its_output(unet: UNet) -> None:
    sites: list[Site] = []

    def doubled(site: Site, x: Tensor, keys: Tensor, values: Tensor, inner: Inner) -> Tensor:
        sites.append(site)
        assert (keys.shape[1:] == CONTEXT.shape[1:]) is site.text
        return 2 * inner(x, keys, values)

    other = build()
    for layer in other.modules():
        if isinstance(layer, CrossAttention):
            for weight in layer.to_out.parameters():
                weight.mul_(2)
    found = unet(X, T, Reading(CONTEXT, around=doubled))
    assert relative_error(found, other(X, T, Reading(CONTEXT))) < 1e-6
    assert len(set(sites)) == 32


@torch.inference_mode()
def test_output_blocks_get_what_the_reading_makes_of_their_two_inputs(unet: UNet) -> None:
    seen: list[tuple[int, int, int]] = []

    def noted(block: int, h: Tensor, skip: Tensor) -> Tensor:
        seen.append((block, h.shape[1], skip.shape[1]))
        return joined(block, h, skip)

    assert torch.equal(unet(X, T, Reading(CONTEXT, join=noted)), unet(X, T, Reading(CONTEXT)))
    assert seen[0] == (0, 128, 128) and seen[-1] == (11, 32, 32) and len(seen) == 12
    assert not torch.equal(
        unet(X, T, Reading(CONTEXT, join=lambda block, h, skip: joined(block, h, skip * 0))),
        unet(X, T, Reading(CONTEXT)),
    )
