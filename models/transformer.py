"""The transformer of the U-Net (Rombach et al. 2022, arXiv:2112.10752, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.attention import Place, Site
from models.reading import Reading
from models.repeatable import gelu, group_norm


class CrossAttention(nn.Module):
    """Attention of pixels to the text, or to themselves."""

    def __init__(self, channels: int, context_dim: int, site: Site) -> None:
        super().__init__()
        self.site = site
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context_dim, channels, bias=False)
        self.to_v = nn.Linear(context_dim, channels, bias=False)
        self.to_out = nn.Sequential(nn.Linear(channels, channels))

    def forward(self, x: Tensor, context: Tensor, reading: Reading) -> Tensor:
        """x: [B, N, C], context: [B, M, D] -> [B, N, C]."""

        def inner(x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            return self.to_out(reading.attend(self.site, self.to_q(x), self.to_k(keys), self.to_v(values)))

        return reading.around(self.site, x, context, context, inner)


class GEGLU(nn.Module):
    """Gated GELU (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, inner]."""
        h, gate = self.proj(x).chunk(2, dim=-1)
        return h * gelu(gate)


class FeedForward(nn.Module):
    """GEGLU of four times the width, and back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        return self.net(x)


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention to the text, feed-forward; each added to what came in."""

    def __init__(self, channels: int, context_dim: int, heads: int, place: Place, depth: int) -> None:
        super().__init__()
        self.attn1 = CrossAttention(channels, channels, Site(place, depth, False, heads))
        self.ff = FeedForward(channels)
        self.attn2 = CrossAttention(channels, context_dim, Site(place, depth, True, heads))
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)

    def forward(self, x: Tensor, reading: Reading) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        h = self.norm1(x)
        x = x + self.attn1(h, h, reading)
        x = x + self.attn2(self.norm2(x), reading.context, reading)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the pixels of a feature map."""

    def __init__(
        self, channels: int, context_dim: int, heads: int, depth: int, place: Place, linear: bool = False
    ) -> None:
        """linear: the projections around the blocks are linear layers, which compute what 1x1 convolutions do."""
        super().__init__()
        self.norm = group_norm(channels, eps=1e-6)
        self.linear = linear
        self.proj_in = nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(channels, context_dim, heads, place, i) for i in range(depth)
        )
        self.proj_out = nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, reading: Reading) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        size = x.shape[-2:]
        h = self.norm(x)
        h = self.proj_in(_pixels(h)) if self.linear else _pixels(self.proj_in(h))
        for block in self.transformer_blocks:
            h = block(h, reading)
        return x + (_map(self.proj_out(h), size) if self.linear else self.proj_out(_map(h, size)))


def _pixels(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H * W, C]."""
    return x.flatten(2).transpose(1, 2)


def _map(h: Tensor, size: torch.Size) -> Tensor:
    """[B, H * W, C] -> [B, C, *size]."""
    return h.transpose(1, 2).unflatten(2, size)
