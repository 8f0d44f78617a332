"""Linear and Conv2d layers whose weights are packed once for oneDNN, for networks that run on the CPU.

torch hands a plain Linear to a library that is slow on some processors, and re-orders a convolution's weights at
every call; packed, both are done once: at a layer's first call, since the best order of a convolution's weights hangs
on the size of what it reads. Until then its weight may stay in a file. This is the only file that uses operations
torch does not document: where they are missing, networks stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.doubling import Upsample, doubled
from models.streaming import placeholder

TOKENS = 512  # rows of a typical Linear's input; only a hint for the layout
WIDE = 256
"""Channels from which on a doubling and its convolution are one. With fewer it is no faster, and oneDNN sums by threads."""


def can_pack(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this torch has the operations, and this processor those for weights of `dtype`."""
    names = ("_linear_pointwise", "_reorder_linear_weight", "_convolution_pointwise", "_reorder_convolution_weight")
    if not torch.backends.mkldnn.is_available() or not all(hasattr(torch.ops.mkldnn, name) for name in names):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pack(network: nn.Module) -> None:
    """Replace the Linear and Conv2d layers below `network` by such that pack their weights when they are first called,
    one after the other: no more than one weight is ever in memory twice. The network is not trained any more."""
    for name, child in network.named_children():
        match child:
            case Upsample() if child.conv.in_channels >= WIDE:
                setattr(network, name, PackedUpsample(child))
            case nn.Linear():
                setattr(network, name, PackedLinear(child))
            case nn.Conv2d(groups=1, padding_mode="zeros", padding=(int(), int())):
                setattr(network, name, PackedConv2d(child))
            case _:
                pack(child)


class Packed(nn.Module):
    """A layer of fixed weights, which it packs at its first call."""

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.streams = False
        self.held_bytes = 0
        self._read: Callable[[], Tensor] | None = None

    def read_later(self, read: Callable[[], Tensor], dtype: torch.dtype) -> None:
        """Call `read` for the weight when it is to be packed; what it gives is needed only until then. Up to that the
        weight is one NaN, seen in its shape, which takes no memory."""
        self.weight = placeholder(self.weight.shape, dtype, torch.device("cpu"))
        self._read = read

    def read_each_time(
        self, read: Callable[[], Tensor], dtype: torch.dtype, device: torch.device, held_bytes: int = 0
    ) -> None:
        """As `read_later`, but at every call, and nothing is kept but what `read` reads from, which takes `held_bytes`."""
        self.read_later(read, dtype)
        self.streams, self.held_bytes = True, held_bytes

    def _plain(self) -> Tensor:
        return self._read().reshape(self.weight.shape) if self._read else self.weight.detach().contiguous()

    def _keep(self, weight: Tensor) -> None:
        self.weight, self._read = _fixed(weight), None


class PackedLinear(Packed):
    """A Linear of fixed weights."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        weight: Tensor = self.weight
        if not weight.is_mkldnn:
            weight = torch.ops.mkldnn._reorder_linear_weight(self._plain(), TOKENS)
            if not self.streams:
                self._keep(weight)
        return torch.ops.mkldnn._linear_pointwise(x, weight, self.bias, "none", [], "")


class PackedConv2d(Packed):
    """A Conv2d of fixed weights; works in channels-last order, and makes it so for the layers behind it.

    Weights in an order other than the one oneDNN wants for an input's size are re-ordered at every call, and blocked
    ones take it many times as long as the convolution itself. So another size packs them anew once it comes twice in a
    row; where sizes alternate, as with prompts for areas, they stay unpacked. Either way gives the same bits.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(conv)
        self._geometry = (list(conv.padding), list(conv.stride), list(conv.dilation), 1)
        self._packed_for: torch.Size | None = None
        self._last: torch.Size | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, out, H', W']."""
        x = x.contiguous(memory_format=torch.channels_last)
        if not self.streams:
            if self._packed_for != x.shape:
                self._order(x.shape, pack=self._last in (None, x.shape))
            self._last = x.shape
        weight: Tensor = self.weight
        if self.streams:
            weight = torch.ops.mkldnn._reorder_convolution_weight(self._plain(), *self._geometry, list(x.shape))
        return torch.ops.mkldnn._convolution_pointwise(x, weight, self.bias, *self._geometry, "none", [], "")

    def _order(self, size: torch.Size, pack: bool) -> None:
        if self._packed_for is not None:
            self._keep(self.weight.to_dense())
            self._packed_for = None
        if pack:
            self._keep(torch.ops.mkldnn._reorder_convolution_weight(self._plain(), *self._geometry, list(size)))
            self._packed_for = size


class PackedUpsample(nn.Module):
    """An Upsample of fixed weights: doubled and convolved at once."""

    def __init__(self, layer: Upsample) -> None:
        super().__init__()
        self.conv = _Doubling(layer.conv)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, 2 H, 2 W]."""
        return self.conv(x)


class _Doubling(Packed):
    """A convolution of what is doubled first. It holds the nine taps of its weight and widens them at every call, so
    that it is in memory once."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(conv)
        self._is_read = False

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, 2 H, 2 W]."""
        weight = self.weight if self._is_read else self._plain()
        if not (self._is_read or self.streams):
            self._keep(weight.clone())
            self._is_read = True
        return doubled(x.contiguous(memory_format=torch.channels_last), weight, self.bias)


def _fixed(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight, requires_grad=False)
