"""Networks whose weights are packed for oneDNN give what the plain ones give."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TypeVar, cast
from unittest.mock import patch

import pytest
import torch
from torch import nn

from models.checkpoint import load_part, read_header
from models.clip import TextModel
from models.config import ClipConfig, UNetConfig, VaeConfig
from models.packed import Packed, PackedConv2d, can_pack, pack
from models.reading import Reading
from models.unet import UNet
from models.vae import AutoencoderKL
from tests.tiny_checkpoint import WIDTH, Format, save, tiny_networks, tiny_state

pytestmark = pytest.mark.skipif(not can_pack(), reason="this torch has no oneDNN operations")

UNET = UNetConfig(model_channels=32, channel_mult=(1, 2), num_res_blocks=1, transformer_depth=(1, 1), context_dim=24)
VAE = VaeConfig(ch=32, ch_mult=(1, 2, 2), num_res_blocks=1)
CPU = torch.device("cpu")
Network = TypeVar("Network", bound=nn.Module)
TEXT = ClipConfig(width=64, layers=2, intermediate=128, vocab=100)


@torch.inference_mode()
def test_packed_networks_give_what_plain_ones_give() -> None:
    torch.manual_seed(0)
    unet, vae, text = UNet(UNET), AutoencoderKL(VAE), TextModel(TEXT)
    context, t = torch.randn(2, 77, 24), torch.tensor([3.0, 900.0])
    for latent in (torch.randn(2, 4, 16, 8), torch.randn(2, 4, 9, 5)):
        assert _error(unet, _packed(unet), latent, t, Reading(context)) < 1e-5
    tokens = torch.randint(100, (3, 77))
    assert _error(text, _packed(text), tokens) < 1e-5
    packed_vae, picture, z = _packed(vae), torch.randn(1, 3, 24, 40), torch.randn(2, 4, 3, 5)
    assert _relative(packed_vae.encode(picture), vae.encode(picture)) < 1e-5
    assert _relative(packed_vae.decode(z), vae.decode(z)) < 1e-5


@torch.inference_mode()
def test_a_packed_network_takes_pictures_of_any_size_in_any_order() -> None:
    torch.manual_seed(0)
    vae = AutoencoderKL(VAE)
    packed = _packed(vae)
    for height, width in ((3, 5), (8, 8), (16, 2), (3, 5), (8, 8)):
        z = torch.randn(1, 4, height, width)
        assert _relative(packed.decode(z), vae.decode(z)) < 1e-5


@pytest.mark.skipif(not can_pack(torch.bfloat16), reason="this processor has no bfloat16")
@torch.inference_mode()
def test_packed_networks_work_in_bfloat16() -> None:
    torch.manual_seed(0)
    unet = UNet(UNET).bfloat16()
    given = torch.randn(2, 4, 16, 8).bfloat16(), torch.tensor([3.0, 900.0]), Reading(torch.randn(2, 77, 24).bfloat16())
    assert _error(unet, _packed(unet), *given) < 0.03


@torch.inference_mode()
@pytest.mark.parametrize(("dtype", "near"), [(torch.float16, 0.005), (torch.bfloat16, 0.03)])
def test_plain_networks_in_16_bits_give_nearly_what_32_bits_give(dtype: torch.dtype, near: float) -> None:
    torch.manual_seed(0)
    unet = UNet(UNET)
    x, t, context = torch.randn(2, 4, 16, 8), torch.tensor([3.0, 900.0]), torch.randn(2, 77, 24)
    expected = unet(x, t, Reading(context))
    assert 0 < _relative(unet.to(dtype)(x.to(dtype), t, Reading(context.to(dtype))), expected) < near


def test_every_layer_is_packed_and_holds_as_many_bytes_as_before() -> None:
    vae = AutoencoderKL(VAE)
    packed = _packed(vae)
    plain = [m for m in vae.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len([m for m in packed.modules() if isinstance(m, Packed)]) == len(plain)
    assert not [m for m in packed.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    packed.decode(torch.randn(1, 4, 3, 5))
    assert len([weight for weight in packed.parameters() if weight.is_mkldnn]) > 20
    assert _numbers(packed) == _numbers(vae)


@torch.inference_mode()
def test_a_convolution_is_packed_for_a_size_that_lasts_and_gives_the_same_bits() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(32, 16, 3, padding=1).requires_grad_(False)
    large, small = torch.randn(1, 32, 16, 16), torch.randn(1, 32, 8, 8)
    kept, packed = {x: PackedConv2d(conv)(x) for x in (large, small)}, PackedConv2d(conv)
    order = []
    for x in (large, small, large, small, small, small, large):
        assert torch.equal(packed(x), kept[x])
        order.append(packed.weight.is_mkldnn)
    assert order == [True, False, False, False, True, True, False]  # no packing where sizes alternate


@pytest.mark.parametrize("file_format", ["safetensors", "zip", "legacy"])
@pytest.mark.parametrize("stored", [torch.float16, torch.float32])
@torch.inference_mode()
def test_weights_read_layer_by_layer_are_those_read_at_once(
    tmp_path: Path, file_format: Format, stored: torch.dtype
) -> None:
    path = save(tiny_state(tiny_networks(), stored), tmp_path / "tiny", file_format)
    plain, packed = (
        cast(UNet, load_part(read_header(path), "model", dtype=torch.float32, device=CPU, packed=packing))
        for packing in (False, True)
    )
    given = torch.randn(2, 4, 8, 8), torch.tensor([3.0, 900.0]), Reading(torch.randn(2, 77, WIDTH))
    assert _numbers(packed) == _numbers(plain)
    assert torch.equal(packed(*given), _packed(plain)(*given))


def test_layers_that_onednn_would_read_otherwise_stay_as_they_are() -> None:
    kept = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"))
    pack(kept)
    assert [type(layer) for layer in kept] == [nn.Conv2d, nn.Conv2d]


def test_a_torch_without_the_operations_is_noticed() -> None:
    with patch.object(torch.backends.mkldnn, "is_available", return_value=False):
        assert not can_pack()


def _packed(network: Network) -> Network:
    network = copy.deepcopy(network.eval().requires_grad_(False))
    pack(network)
    return network


def _error(plain: nn.Module, packed: nn.Module, *given: torch.Tensor | Reading) -> float:
    return _relative(packed(*given), plain(*given))


def _relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).float().norm() / b.float().norm())


def _numbers(network: nn.Module) -> int:
    return sum(t.numel() for t in (*network.parameters(), *network.buffers()))
