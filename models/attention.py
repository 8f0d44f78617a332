"""Attention: what it computes, where a U-Net does it (Rombach et al. 2022, arXiv:2112.10752, section 3.3), and how it is changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_LONG = 4096
"""Keys from which on a CPU looks at them faster where each head's lie together; in float32 a thirtieth of a step at 512x512."""


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, causal: bool = False, mask: Tensor | None = None) -> Tensor:
    """Multi-head scaled dot-product attention. q: [B, N, C], k and v: [B, M, C] -> [B, N, C]. mask: which of [B, 1, N, M]
    is looked at."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # [B, heads, N, C / heads]
    if k.shape[2] >= _LONG and k.dtype == torch.float32 and k.device.type == "cpu":
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal).transpose(1, 2).flatten(2)


class Place(NamedTuple):
    """A transformer of the U-Net: in which numbered block of which side it stands. The middle block is number 0."""

    side: Literal["input", "middle", "output"]
    block: int


class Site(NamedTuple):
    """One attention of the U-Net. depth: of its block in its transformer; text: whether it looks at the text."""

    place: Place
    depth: int
    text: bool
    heads: int


Attend = Callable[[Site, Tensor, Tensor, Tensor], Tensor]
"""(site, q [B, N, C], k [B, M, C], v [B, M, C]) -> [B, N, C]."""


def attend(site: Site, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention as it was trained."""
    return attention(q, k, v, site.heads)


Inner = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A layer of attention from its inputs on: what queries, keys and values are made of -> [B, N, C]."""

Around = Callable[[Site, Tensor, Tensor, Tensor, Inner], Tensor]
"""(site, x [B, N, C], keys' input [B, M, D], values' input [B, M, D], inner) -> [B, N, C]: what is done around a layer."""


def around(site: Site, x: Tensor, keys: Tensor, values: Tensor, inner: Inner) -> Tensor:
    """Nothing but the layer itself."""
    return inner(x, keys, values)
