"""T2I-Adapter's style model (Mou et al. 2023, arXiv:2302.08453): what CLIP sees in a picture -> words for the text's end.

Attribute names are the published file's key names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.attention import attention
from models.config import Shapes

HEADS = 8


@dataclass(frozen=True)
class StyleConfig:
    """A style model. The defaults are the published one's."""

    width: int = 1024
    context: int = 768
    layers: int = 3
    tokens: int = 8


class _Attention(nn.Module):
    """Self-attention, its three projections in one tensor."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, W] -> [B, N, W]."""
        q, k, v = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        return self.out_proj(attention(q, k, v, HEADS))


class _Mlp(nn.Module):
    """Two linear layers around the cheap GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, W] -> [B, N, W]."""
        h = self.c_fc(x)
        return self.c_proj(h * torch.sigmoid(1.702 * h))


class ClipBlock(nn.Module):
    """Attention and MLP, each behind a norm and added to what came in, by the names of OpenAI's CLIP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = _Attention(width)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = _Mlp(width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, W] -> [B, N, W]."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class StyleAdapter(nn.Module):
    """The vectors of a picture's patches -> words."""

    def __init__(self, config: StyleConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer_layes = nn.Sequential(
            *(ClipBlock(config.width) for _ in range(config.layers))
        )  # the file's spelling
        self.style_embedding = nn.Parameter(torch.empty(1, config.tokens, config.width))
        self.ln_post = nn.LayerNorm(config.width)
        self.ln_pre = nn.LayerNorm(config.width)
        self.proj = nn.Parameter(torch.empty(config.width, config.context))

    def forward(self, seen: Tensor) -> Tensor:
        """seen: [B, N, W], the vision tower's last hidden state -> [B, tokens, D]."""
        x = torch.cat([seen, self.style_embedding.expand(len(seen), -1, -1)], dim=1)
        x = self.transformer_layes(self.ln_pre(x))
        return self.ln_post(x[:, -self.config.tokens :]) @ self.proj


def style_config(shapes: Shapes) -> StyleConfig:
    """Read a style model's shape. Raises KeyError, naming the tensor, when one that must be there is missing."""
    layers = 1 + max(
        (int(match[1]) for name in shapes if (match := re.match(r"transformer_layes\.(\d+)\.", name))), default=0
    )
    width, context = shapes["proj"]
    return StyleConfig(width, context, layers, shapes["style_embedding"][1])
