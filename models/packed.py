"""Linear and Conv2d layers whose weights are packed once for oneDNN, for networks that run on the CPU.

torch hands a plain Linear to a library that is slow on some processors, and re-orders a convolution's weights at
every call; packed, both are done once. This is the only file that uses operations torch does not document: where
they are missing, networks stay as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

TOKENS = 512  # rows of a typical Linear's input; only a hint for the layout


def can_pack() -> bool:
    """Whether this torch has the operations."""
    operations = ("_linear_pointwise", "_reorder_linear_weight", "_convolution_pointwise")
    return (
        torch.backends.mkldnn.is_available()
        and all(hasattr(torch.ops.mkldnn, name) for name in operations)
        and hasattr(torch.ops.aten, "mkldnn_reorder_conv2d_weight")
    )


def pack(network: nn.Module) -> None:
    """Replace the Linear and Conv2d layers below `network`, one after the other: no more than one weight is ever
    in memory twice. The network is on the CPU and is not trained any more."""
    for name, child in network.named_children():
        match child:
            case nn.Linear():
                setattr(network, name, PackedLinear(child))
            case nn.Conv2d(groups=1, padding_mode="zeros", padding=(int(), int())):
                setattr(network, name, PackedConv2d(child))
            case _:
                pack(child)


class PackedLinear(nn.Module):
    """A Linear of fixed weights."""

    packed: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias
        weight = linear.weight.detach().contiguous()
        self.register_buffer("packed", torch.ops.mkldnn._reorder_linear_weight(weight, TOKENS))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")


class PackedConv2d(nn.Module):
    """A Conv2d of fixed weights; works in channels-last order, and makes it so for the layers behind it."""

    packed: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.bias = conv.bias
        self._geometry = (list(conv.padding), list(conv.stride), list(conv.dilation), 1)
        weight = conv.weight.detach().to_mkldnn()
        self.register_buffer("packed", torch.ops.aten.mkldnn_reorder_conv2d_weight(weight, *self._geometry))

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, out, H', W']."""
        x = x.contiguous(memory_format=torch.channels_last)
        return torch.ops.mkldnn._convolution_pointwise(x, self.packed, self.bias, *self._geometry, "none", [], "")
