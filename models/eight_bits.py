"""Weights kept in 8 bits: whole numbers in runs that share a scale, widened whenever a layer computes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

RUN = 64
"""Numbers that share a scale."""


@dataclass(frozen=True)
class EightBits:
    """A weight of `shape`: numbers [n, RUN] int8 times scales [n, 1] bfloat16, one after the other; the last run is filled up
    with zeros. A product needs no more digits than bfloat16 has, but for its last rounding.
    """

    numbers: Tensor
    scales: Tensor
    shape: torch.Size

    @property
    def nbytes(self) -> int:
        return self.numbers.nbytes + self.scales.nbytes

    def widened(self, dtype: torch.dtype) -> Tensor:
        """The weight as `dtype`, on the same device."""
        made = torch.empty(self.numbers.shape, dtype=dtype, device=self.numbers.device)
        made.copy_(self.numbers).mul_(self.scales.to(dtype))
        return made.flatten()[: self.shape.numel()].view(self.shape)


def in_eight_bits(weight: Tensor) -> EightBits:
    """The nearest to a weight of any shape and dtype, on the same device: wrong by half a scale at most, which is the largest
    number of a run / 127, rounded up to bfloat16.
    """
    exact = torch.zeros(_runs(weight.numel()), RUN, device=weight.device)
    exact.view(-1)[: weight.numel()] = weight.flatten()
    scales = (exact.abs().amax(dim=1, keepdim=True) / 127 * (1 + 2**-8)).bfloat16()
    exact /= torch.where(scales > 0, scales, 1).float()
    return EightBits(exact.round_().clamp_(-127, 127).to(torch.int8), scales, weight.shape)


def bytes_of(numbers: int) -> int:
    """Bytes that as many numbers take."""
    return _runs(numbers) * (RUN + torch.bfloat16.itemsize)


def _runs(numbers: int) -> int:
    return math.ceil(numbers / RUN)
