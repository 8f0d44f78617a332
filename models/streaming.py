"""Layers whose weights are read at every call: from their file, for networks larger than memory, or from a narrower format."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Read = Callable[[], Tensor]
"""What gives a layer's weight, on its device and in its dtype; what one call gave need not outlive the next."""


class Streamed(nn.Module):
    """A Linear or a Conv2d that computes what it did, to the bit, and holds no weight but its bias."""

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.streams = False
        self.held_bytes = 0
        self._read: Read = lambda: self.weight

    def read_each_time(self, read: Read, dtype: torch.dtype, device: torch.device, held_bytes: int = 0) -> None:
        """Call `read` at every call; what it reads from takes `held_bytes` of memory. The weight is one NaN from now on,
        seen in its shape, which takes none."""
        self.weight = placeholder(self.weight.shape, dtype, device)
        self._read, self.streams, self.held_bytes = read, True, held_bytes


class StreamedLinear(Streamed):
    """A Linear."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return F.linear(x, self._read(), self.bias)


class StreamedConv2d(Streamed):
    """A Conv2d."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(conv)
        self._stride, self._padding, self._dilation, self._groups = (
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, out, H', W']."""
        return F.conv2d(x, self._read(), self.bias, self._stride, self._padding, self._dilation, self._groups)


def stream(network: nn.Module) -> None:
    """Replace the Linear and Conv2d layers below `network` by such that can read their weights at every call."""
    for name, child in network.named_children():
        match child:
            case nn.Linear():
                setattr(network, name, StreamedLinear(child))
            case nn.Conv2d(padding_mode="zeros"):
                setattr(network, name, StreamedConv2d(child))
            case _:
                stream(child)


def placeholder(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> nn.Parameter:
    """One NaN, seen in a shape."""
    nothing = torch.tensor(math.nan, dtype=dtype, device=device).expand(shape)
    return nn.Parameter(nothing, requires_grad=False)
