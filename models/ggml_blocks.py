"""Quantised numbers as GGML packs them: blocks of a few small integers that share their scales -> float32.

What a block holds, and in which order, is the format's: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h. Each
product is rounded as there, so that numbers are equal to those of other programs to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

_PIECE = 2**18  # numbers expanded at once, few enough to stay in the processor's cache


@dataclass(frozen=True)
class Block:
    """One kind of block: `size` bytes that stand for `numbers` numbers. `name` is the format's, by which it is found."""

    name: str
    numbers: int
    size: int

    def bytes_of(self, numbers: int) -> int:
        """How many bytes as many whole blocks take as hold `numbers`."""
        return -(-numbers // self.numbers) * self.size


def expanded(stored: Tensor, block: Block, dtype: torch.dtype) -> Tensor:
    """What blocks stand for. stored: [n * block.size] uint8 on any device -> [n * block.numbers] of `dtype` on the same."""
    blocks = stored.view(-1, block.size)
    made = torch.empty(len(blocks), block.numbers, dtype=dtype, device=stored.device)
    expand_into(made, blocks, block)
    return made.flatten()


def expand_into(made: Tensor, blocks: Tensor, block: Block) -> None:
    """Fill `made`, [n, block.numbers], with what `blocks`, [n, block.size], stand for."""
    expand = _EXPANSIONS[block.name]
    step = _PIECE // block.numbers if blocks.device.type == "cpu" else max(1, len(blocks))
    for piece, stored in zip(made.split(step), blocks.split(step), strict=True):
        piece.copy_(expand(stored))


def _half(stored: Tensor) -> Tensor:
    """Pairs of bytes as float16, in float32."""
    return stored.contiguous().view(torch.float16).float()


def _nibbles(stored: Tensor, run: int) -> Tensor:
    """[n, k] bytes -> [n, 2 k] numbers of 4 bits: of each run of bytes the low halves, then the high ones."""
    runs = stored.reshape(len(stored), -1, run)
    return torch.stack((runs & 15, runs >> 4), dim=2).flatten(1)


def _bits(stored: Tensor, run: int, width: int) -> Tensor:
    """[n, k] bytes -> [n, 8 / width * k] numbers of `width` bits: of each run of bytes the lowest of each, then the next."""
    runs = stored.reshape(len(stored), -1, 1, run)
    shifts = torch.arange(0, 8, width, dtype=torch.uint8, device=stored.device).view(1, 1, -1, 1)
    return ((runs >> shifts) & (2**width - 1)).flatten(1)


def _fifth_bits(stored: Tensor) -> Tensor:
    """[n, 4] bytes -> [n, 32] numbers 0 or 16: bit i is the fifth of number i."""
    shifts = torch.arange(8, dtype=torch.uint8, device=stored.device)
    return (((stored[:, :, None] >> shifts) & 1) << 4).flatten(1)


def _q4_0(blocks: Tensor) -> Tensor:
    return _half(blocks[:, :2]) * (_nibbles(blocks[:, 2:], 16).float() - 8)


def _q4_1(blocks: Tensor) -> Tensor:
    return _half(blocks[:, :2]) * _nibbles(blocks[:, 4:], 16).float() + _half(blocks[:, 2:4])


def _q5_0(blocks: Tensor) -> Tensor:
    return _half(blocks[:, :2]) * ((_nibbles(blocks[:, 6:], 16) | _fifth_bits(blocks[:, 2:6])).float() - 16)


def _q5_1(blocks: Tensor) -> Tensor:
    numbers = (_nibbles(blocks[:, 8:], 16) | _fifth_bits(blocks[:, 4:8])).float()
    return _half(blocks[:, :2]) * numbers + _half(blocks[:, 2:4])


def _q8_0(blocks: Tensor) -> Tensor:
    return blocks[:, 2:].contiguous().view(torch.int8).float() * _half(blocks[:, :2])


def _q2_k(blocks: Tensor) -> Tensor:
    scales, rest = blocks[:, :16], blocks[:, 16:]
    of_numbers = _half(rest[:, 64:66]) * (scales & 15).float()
    lowest = _half(rest[:, 66:68]) * (scales >> 4).float()
    return _by_runs(_bits(rest[:, :64], 32, 2).float(), of_numbers, lowest)


def _q3_k(blocks: Tensor) -> Tensor:
    high, low, packed = blocks[:, :32], blocks[:, 32:96], blocks[:, 96:108]
    lower = torch.cat((packed[:, :8] & 15, packed[:, :8] >> 4), dim=1)
    scales = lower | _bits(packed[:, 8:], 4, 2) << 4
    of_numbers = _half(blocks[:, 108:110]) * (scales.float() - 32)
    numbers = _bits(low, 32, 2).float() - 4 * (1 - _bits(high, 32, 1).float())
    return _by_runs(numbers, of_numbers)


def _q4_k(blocks: Tensor) -> Tensor:
    return _by_runs(_nibbles(blocks[:, 16:], 32).float(), *_scales_of_k(blocks))


def _q5_k(blocks: Tensor) -> Tensor:
    numbers = _nibbles(blocks[:, 48:], 32) | _bits(blocks[:, 16:48], 32, 1) << 4
    return _by_runs(numbers.float(), *_scales_of_k(blocks))


def _q6_k(blocks: Tensor) -> Tensor:
    numbers = _nibbles(blocks[:, :128], 64) | _bits(blocks[:, 128:192], 32, 2) << 4
    scales = blocks[:, 192:208].contiguous().view(torch.int8).float()
    return _by_runs(numbers.float() - 32, _half(blocks[:, 208:210]) * scales)


def _scales_of_k(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Of Q4_K and Q5_K, whose eight runs of 32 have a scale and a lowest value each, of 6 bits, in 12 bytes: [n, 8] twice."""
    scale, lowest, both = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = torch.cat((scale & 63, (both & 15) | ((scale >> 2) & 48)), dim=1)
    lows = torch.cat((lowest & 63, (both >> 4) | ((lowest >> 2) & 48)), dim=1)
    return _half(blocks[:, :2]) * scales.float(), _half(blocks[:, 2:4]) * lows.float()


def _by_runs(numbers: Tensor, scales: Tensor, lowest: Tensor | None = None) -> Tensor:
    """Scale the runs of each block. numbers: [n, 256]; scales, lowest: [n, runs]."""
    runs = numbers.view(*scales.shape, -1) * scales[:, :, None]
    return (runs if lowest is None else runs - lowest[:, :, None]).flatten(1)


_EXPANSIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "Q4_0": _q4_0,
        "Q4_1": _q4_1,
        "Q5_0": _q5_0,
        "Q5_1": _q5_1,
        "Q8_0": _q8_0,
        "Q2_K": _q2_k,
        "Q3_K": _q3_k,
        "Q4_K": _q4_k,
        "Q5_K": _q5_k,
        "Q6_K": _q6_k,
    }
)

BLOCKS: Mapping[int, Block] = MappingProxyType(
    {
        2: Block("Q4_0", 32, 18),
        3: Block("Q4_1", 32, 20),
        6: Block("Q5_0", 32, 22),
        7: Block("Q5_1", 32, 24),
        8: Block("Q8_0", 32, 34),
        10: Block("Q2_K", 256, 84),
        11: Block("Q3_K", 256, 110),
        12: Block("Q4_K", 256, 144),
        13: Block("Q5_K", 256, 176),
        14: Block("Q6_K", 256, 210),
    }
)
"""The kinds of blocks by the numbers that files have for them."""
