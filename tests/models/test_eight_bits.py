"""Weights in 8 bits: as near as half a step, whatever their size, and of the size that is told."""

from __future__ import annotations

import pytest
import torch

from models.eight_bits import RUN, bytes_of, in_eight_bits

SHAPES = [(1,), (RUN,), (320, 4, 3, 3), (77, 5)]


@pytest.mark.parametrize("shape", SHAPES)
def test_each_number_is_within_half_a_step_of_its_run(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * torch.logspace(-6, 3, shape[0]).view(
        -1, *[1] * (len(shape) - 1)
    )
    rounded = in_eight_bits(weight)
    made = rounded.widened(torch.float32)
    assert made.shape == weight.shape
    steps = rounded.scales.float().expand(-1, RUN).flatten()[: weight.numel()].view(shape)
    assert ((made - weight).abs() <= 0.5001 * steps).all()
    largest = torch.nn.functional.pad(weight.flatten(), (0, -weight.numel() % RUN)).view(-1, RUN).abs().amax(1)
    assert (rounded.scales.flatten().float() <= largest / 127 * 1.012).all()
    assert rounded.nbytes == bytes_of(weight.numel())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_narrow_format_gets_the_same_numbers_rounded_once(dtype: torch.dtype) -> None:
    rounded = in_eight_bits(torch.randn(64, 64, generator=torch.Generator().manual_seed(2)))
    assert torch.equal(rounded.widened(dtype), rounded.widened(torch.float32).to(dtype))


def test_zeros_stay_zeros() -> None:
    rounded = in_eight_bits(torch.zeros(3, 70))
    assert not rounded.widened(torch.float32).any()
