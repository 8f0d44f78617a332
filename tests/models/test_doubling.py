"""Doubling and convolving at once gives what one after the other gives."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from models.doubling import Upsample, doubled
from models.packed import PackedUpsample, can_pack, pack
from models.vae import AutoencoderKL
from tests.models.test_packed import VAE


@torch.inference_mode()
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (7, 5), (16, 24)])
def test_the_transposed_convolution_is_the_convolution_of_what_was_doubled(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer, x = Upsample(24).double(), torch.randn(2, 24, *size, dtype=torch.float64)
    assert torch.allclose(doubled(x, layer.conv.weight, layer.conv.bias), layer(x), atol=1e-12)


@pytest.mark.skipif(not can_pack(), reason="this torch has no oneDNN operations")
@torch.inference_mode()
def test_a_packed_decoder_doubles_and_convolves_at_once_and_holds_its_weight_once() -> None:
    torch.manual_seed(0)
    vae = AutoencoderKL(replace(VAE, ch=128))
    packed = copy.deepcopy(vae)
    pack(packed)
    layers = [layer for layer in packed.modules() if isinstance(layer, PackedUpsample)]
    assert len(layers) == len(VAE.ch_mult) - 1
    z = torch.randn(1, 4, 6, 5)
    first = packed.decode(z)
    assert torch.allclose(first, vae.decode(z), atol=1e-5)
    assert torch.equal(packed.decode(z), first)
    assert all(layer.conv.weight.shape[2:] == (3, 3) for layer in layers)


@pytest.mark.skipif(not can_pack(), reason="this torch has no oneDNN operations")
@torch.inference_mode()
def test_a_weight_that_is_read_later_is_read_once_and_one_that_streams_each_time() -> None:
    torch.manual_seed(0)
    plain, x, reads = Upsample(8), torch.randn(1, 8, 4, 4), 0
    weight, lent = plain.conv.weight.detach().clone(), torch.empty_like(plain.conv.weight)

    def read() -> torch.Tensor:
        nonlocal reads
        reads += 1
        return lent.copy_(weight)

    expected = plain(x)
    later, streamed = PackedUpsample(copy.deepcopy(plain)), PackedUpsample(copy.deepcopy(plain))
    later.conv.read_later(read, torch.float32)
    for _ in range(2):
        assert torch.allclose(later(x), expected, atol=1e-6)
        lent.zero_()  # what was read need not outlive the call
    assert reads == 1
    streamed.conv.read_each_time(read, torch.float32, torch.device("cpu"))
    for _ in range(2):
        assert torch.equal(streamed(x), later(x))
    assert reads == 3
