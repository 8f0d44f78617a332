"""Layers that give the same to the bit however many threads share the work, where torch's own do not on the CPU.

torch's GroupNorm of channels_last sums one part a thread, and its SiLU, GELU and sigmoid compute the last numbers of each
thread's part by another routine than all others. Networks in training use torch's own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_AREA = 1024
"""Pixels from which on torch's GroupNorm sums by threads."""
_SLICE = 2**17
"""Numbers of a sum. Two of them are squared at once, which with their squares stay in the cores' caches."""
_GRAIN = 32_768
"""Numbers up to which torch leaves the work to one thread."""
_VECTORS = 64
"""Numbers of which a multiple needs no other routine: two registers of 512 bits of bfloat16."""


def group_norm(channels: int, eps: float) -> GroupNorm:
    """GroupNorm with min(32, channels / 4) groups: SD v1's 32, and still a group of 4 in a narrow model,
    where 32 groups of one or two channels would normalise colour away."""
    return GroupNorm(min(32, channels // 4), channels, eps=eps)


class GroupNorm(nn.GroupNorm):
    """Group normalisation (Wu and He 2018, arXiv:1803.08494); of float32 on the CPU it is summed in one order."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> the same."""
        if not _is_summed_by_threads(x):
            return super().forward(x)
        scale, shift = self._line(x)
        return torch.addcmul(shift[:, :, None, None], x, scale[:, :, None, None])

    def _line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What each channel of each item is multiplied by, and what is added then: two of [B, C]."""
        of_groups = _moments(x.permute(0, 2, 3, 1).flatten(1, 2)).unflatten(2, (self.num_groups, -1))
        mean, square = of_groups.mean(3, keepdim=True)  # each [B, groups, 1]
        deviation = torch.addcmul(square, mean, mean, value=-1).clamp_(min=0).add_(self.eps).sqrt_()
        scale = self.weight.unflatten(0, (self.num_groups, -1)) / deviation
        shift = torch.addcmul(self.bias.unflatten(0, (self.num_groups, -1)), mean, scale, value=-1)
        return scale.flatten(1), shift.flatten(1)


class SiLU(nn.Module):
    """`silu` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same."""
        return silu(x)


def _moments(pixels: Tensor) -> Tensor:
    """The means of each channel, and of its square, over all pixels: [B, P, C] -> [2, B, C]."""
    count, rows = pixels.shape[1], max(1, _SLICE // pixels.shape[2])
    whole = count - count % rows
    parts = [*pixels[:, :whole].unflatten(1, (-1, rows)).split(2, dim=1)] if whole else []
    if whole < count:
        parts.append(pixels[:, None, whole:])
    squared = torch.empty(parts[0].shape)
    sums: list[Tensor] = []
    squares: list[Tensor] = []
    for part in parts:  # [B, 1 or 2, rows, C]
        sums.append(part.sum(2))
        squares.append(torch.mul(part, part, out=squared[:, : part.shape[1], : part.shape[2]]).sum(2))
    return torch.stack((torch.cat(sums, 1).sum(1), torch.cat(squares, 1).sum(1))).div_(count)


def _is_summed_by_threads(x: Tensor) -> bool:
    """Whether it is what torch's GroupNorm would sum so."""
    if x.dim() != 4 or x.dtype != torch.float32 or x.shape[2] * x.shape[3] < _AREA or not _is_ours(x):
        return False
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def silu(x: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x) (Elfwing et al. 2017, arXiv:1702.03118)."""
    if not _is_ours(x):
        return F.silu(x, inplace=inplace)
    return _evenly(torch.ops.aten.silu.out, x, x if inplace else torch.empty_like(x))


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return _evenly(torch.sigmoid, x, torch.empty_like(x)) if _is_ours(x) else torch.sigmoid(x)


def gelu(x: Tensor) -> Tensor:
    """x * Phi(x), Phi of the standard normal distribution (Hendrycks and Gimpel 2016, arXiv:1606.08415). x: [B, N, C]."""
    threads, rows = torch.get_num_threads(), x.shape[0] * x.shape[1]
    if not _is_ours(x) or rows % threads == 0 or rows < threads:
        return F.gelu(x)
    out = torch.empty(x.shape, dtype=x.dtype)
    given, made = x.flatten(0, 1), out.flatten(0, 1)
    for piece in (slice(rows - rows % threads), slice(rows - threads, None)):  # each thread has whole rows
        torch.ops.aten.gelu.out(given[piece], out=made[piece])
    return out


def _is_ours(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.is_grad_enabled()


def _evenly(function: Callable[..., Tensor], x: Tensor, out: Tensor) -> Tensor:
    """`out`, which `function` fills from `x` in pieces that threads divide evenly."""
    given, made = _flat(x), _flat(out)
    if given is None or made is None:
        return function(x, out=out)
    whole = _divided(len(given))
    function(given[:whole], out=made[:whole])
    if whole < len(given):
        function(given[whole:], out=made[whole:])
    return out


def _flat(x: Tensor) -> Tensor | None:
    """The same memory as one row, if it is one."""
    if x.is_contiguous():
        return x.view(-1)
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1).view(-1)
    return None


def _divided(count: int) -> int:
    """The most of `count` numbers that threads divide into multiples of _VECTORS: as many as have _GRAIN each."""
    while (parts := min(torch.get_num_threads(), -(-count // _GRAIN))) > 1 and (over := count % (_VECTORS * parts)):
        count -= over
    return count
