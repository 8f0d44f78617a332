"""IP-Adapter (Ye et al. 2023, arXiv:2308.06721): a picture as a prompt, by keys and values of its own in every cross-attention.

Attribute names are the published files' key names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.attention import attention
from models.config import Shapes

HEAD = 64  # channels of a head of the resampler


@dataclass(frozen=True)
class IPAdapterConfig:
    """An IP-Adapter. kind: vector: of the picture's one vector; patches: of all its patches, each for itself; resampler: of
    all its patches, gathered.

    seen: width of what the vision tower says; tokens: how many the picture becomes (0: as many as it has patches); width: of
    the text vectors; inner, layers: of the resampler; sites: for each layer of cross-attention its number in the file and
    its channels.
    """

    kind: Literal["vector", "patches", "resampler"]
    seen: int
    tokens: int
    width: int
    inner: int
    layers: int
    sites: tuple[tuple[int, int], ...]


class _OfVector(nn.Module):
    """The vector of a picture -> tokens."""

    def __init__(self, config: IPAdapterConfig) -> None:
        super().__init__()
        self.proj = nn.Linear(config.seen, config.tokens * config.width)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, P] -> [B, tokens, D]."""
        return self.norm(self.proj(x).unflatten(-1, (-1, self.norm.normalized_shape[0])))


class _OfPatches(nn.Module):
    """The vectors of a picture's patches -> tokens, each for itself."""

    def __init__(self, config: IPAdapterConfig) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.Linear(config.seen, config.seen),
            nn.GELU(),
            nn.Linear(config.seen, config.width),
            nn.LayerNorm(config.width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, P] -> [B, N, D]."""
        return self.proj(x)


class _Perceiver(nn.Module):
    """Latent tokens look at a picture's patches and at themselves (Jaegle et al. 2021, arXiv:2103.03206)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(width, 2 * width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        """x: [B, N, W], latents: [B, T, W] -> [B, T, W]."""
        latents = self.norm2(latents)
        k, v = self.to_kv(torch.cat([self.norm1(x), latents], dim=1)).chunk(2, dim=-1)
        return self.to_out(attention(self.to_q(latents), k, v, self.heads))


class _Resampler(nn.Module):
    """The vectors of a picture's patches -> a few tokens."""

    def __init__(self, config: IPAdapterConfig) -> None:
        super().__init__()
        inner = config.inner
        self.latents = nn.Parameter(torch.empty(1, config.tokens, inner))
        self.proj_in = nn.Linear(config.seen, inner)
        self.proj_out = nn.Linear(inner, config.width)
        self.norm_out = nn.LayerNorm(config.width)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    _Perceiver(inner),
                    nn.Sequential(
                        nn.LayerNorm(inner),
                        nn.Linear(inner, 4 * inner, bias=False),
                        nn.GELU(),
                        nn.Linear(4 * inner, inner, bias=False),
                    ),
                ]
            )
            for _ in range(config.layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, P] -> [B, tokens, D]."""
        x, latents = self.proj_in(x), self.latents.expand(len(x), -1, -1)
        for layer in self.layers:
            look, think = layer.children()
            latents = latents + look(x, latents)
            latents = latents + think(latents)
        return self.norm_out(self.proj_out(latents))


class _Site(nn.Module):
    """What one layer of cross-attention asks tokens of a picture."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.to_k_ip = nn.Linear(width, channels, bias=False)
        self.to_v_ip = nn.Linear(width, channels, bias=False)


class IPAdapter(nn.Module):
    """What a vision tower says of a picture -> keys and values for every cross-attention of a U-Net."""

    def __init__(self, config: IPAdapterConfig) -> None:
        super().__init__()
        self.config = config
        kinds = {"vector": _OfVector, "patches": _OfPatches, "resampler": _Resampler}
        self.image_proj: nn.Module = kinds[config.kind](config)
        self.ip_adapter = nn.ModuleDict({str(n): _Site(config.width, channels) for n, channels in config.sites})

    def tokens(self, seen: Tensor) -> Tensor:
        """seen: [B, P], the picture's vector, or [B, N, P], those of its patches -> [B, T, D]."""
        return self.image_proj(seen)

    def pairs(self, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values, each [B, T, C], for the cross-attentions on the way down, on the way up, and in the middle."""
        sites = [self.ip_adapter.get_submodule(str(number)) for number, _ in self.config.sites]
        return [(site.get_submodule("to_k_ip")(tokens), site.get_submodule("to_v_ip")(tokens)) for site in sites]


def ip_adapter_config(shapes: Shapes) -> IPAdapterConfig:
    """Read an adapter's shape. Raises KeyError, naming the tensor, when one that must be there is missing, and ValueError
    for one that sees faces by a network of another kind.
    """
    found = {
        int(match[1]): shape
        for name, shape in shapes.items()
        if (match := re.match(r"ip_adapter\.(\d+)\.to_k_ip", name))
    }
    sites = tuple((number, found[number][0]) for number in sorted(found))
    if "image_proj.latents" in shapes:
        layers = 1 + max(int(match[1]) for name in shapes if (match := re.match(r"image_proj\.layers\.(\d+)\.", name)))
        _, tokens, inner = shapes["image_proj.latents"]
        seen, width = shapes["image_proj.proj_in.weight"][1], shapes["image_proj.proj_out.weight"][0]
        return IPAdapterConfig("resampler", seen, tokens, width, inner, layers, sites)
    if any(".lora" in name or "_lora." in name or "perceiver_resampler" in name for name in shapes):
        raise ValueError("a part that reads what a face recognition network says, which is not supported")
    if "image_proj.proj.3.weight" in shapes:
        seen, width = shapes["image_proj.proj.0.weight"][1], shapes["image_proj.proj.3.weight"][0]
        return IPAdapterConfig("patches", seen, 0, width, 0, 0, sites)
    out, seen = shapes["image_proj.proj.weight"]
    width = shapes["image_proj.norm.weight"][0]
    return IPAdapterConfig("vector", seen, out // width, width, 0, 0, sites)
