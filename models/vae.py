"""The autoencoder between pixels and latents (Esser et al. 2021, arXiv:2012.09841; Rombach et al. 2022).

Attribute names are the checkpoint's key names below `first_stage_model.`, so `load_state_dict` needs no map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.attention import attention
from models.config import VaeConfig
from models.doubling import Upsample
from models.repeatable import group_norm, silu

Tick = Callable[[], None]


def _silu(x: Tensor) -> Tensor:
    """SiLU of what nobody else reads: in place, so that the largest feature maps are held once less. Gradients need
    both."""
    return silu(x, inplace=not torch.is_grad_enabled())


def _sum(x: Tensor, y: Tensor) -> Tensor:
    """x + y, where nobody else reads `x`: in place for the same reason."""
    return x + y if torch.is_grad_enabled() else x.add_(y)


class ResnetBlock(nn.Module):
    """Two convolutions around a skip."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = group_norm(channels, eps=1e-6)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels, eps=1e-6)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if channels != out_channels:
            self.nin_shortcut = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H, W]."""
        h = self.conv2(_silu(self.norm2(self.conv1(_silu(self.norm1(x))))))  # unnamed, each is gone once it is read
        return _sum(h, self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttnBlock(nn.Module):
    """Self-attention with one head over all pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, eps=1e-6)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        h = self.norm(x)
        q, k, v = (part(h).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v))  # [B, H * W, C]
        h = attention(q, k, v, heads=1).transpose(1, 2).unflatten(2, x.shape[-2:])
        return _sum(self.proj_out(h), x)


class Middle(nn.Module):
    """The lowest resolution: block, attention, block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels)
        self.attn_1 = AttnBlock(channels)
        self.block_2 = ResnetBlock(channels, channels)

    def forward(self, x: Tensor, tick: Tick) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        for part in self.children():
            tick()
            x = part(x)
        return x


class Downsample(nn.Module):
    """Halve both sides; the padding is right and below only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H / 2, W / 2]."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Level(nn.Module):
    """The blocks of one resolution; `downsample` or `upsample` is there where the next one differs."""

    downsample: Downsample
    upsample: Upsample

    def __init__(self, channels: int, out_channels: int, blocks: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(out_channels if i else channels, out_channels) for i in range(blocks))


def _steps(levels: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """What to call, one after the other. A level that called its own blocks would hold its input for all of them."""
    for level in levels:
        for part in level.children():
            yield from part if isinstance(part, nn.ModuleList) else (part,)


class Encoder(nn.Module):
    """Pixels -> the moments of a normal distribution over latents."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        channels = config.ch
        self.conv_in = nn.Conv2d(config.in_channels, channels, 3, padding=1)
        self.down = nn.ModuleList()
        for i, mult in enumerate(config.ch_mult):
            level = Level(channels, mult * config.ch, config.num_res_blocks)
            channels = mult * config.ch
            if i + 1 < len(config.ch_mult):
                level.downsample = Downsample(channels)
            self.down.append(level)
        self.mid = Middle(channels)
        self.norm_out = group_norm(channels, eps=1e-6)
        self.conv_out = nn.Conv2d(channels, 2 * config.z_channels, 3, padding=1)

    def forward(self, x: Tensor, tick: Tick) -> Tensor:
        """[B, 3, H, W] -> [B, 2 * z, H / f, W / f]."""
        h = self.conv_in(x)
        for step in _steps(self.down):
            tick()
            h = step(h)
        h = self.mid(h, tick)
        return self.conv_out(_silu(self.norm_out(h)))


class Decoder(nn.Module):
    """Latents -> pixels."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        channels = config.ch_mult[-1] * config.ch
        self.conv_in = nn.Conv2d(config.z_channels, channels, 3, padding=1)
        self.mid = Middle(channels)
        levels: list[Level] = []
        for i, mult in reversed(list(enumerate(config.ch_mult))):
            level = Level(channels, mult * config.ch, config.num_res_blocks + 1)
            channels = mult * config.ch
            if i > 0:
                level.upsample = Upsample(channels)
            levels.append(level)
        self.up = nn.ModuleList(reversed(levels))  # numbered from the highest resolution, run from the lowest
        self.norm_out = group_norm(channels, eps=1e-6)
        self.conv_out = nn.Conv2d(channels, config.in_channels, 3, padding=1)

    def forward(self, z: Tensor, tick: Tick) -> Tensor:
        """[B, z, h, w] -> [B, 3, h * f, w * f]."""
        h = self.mid(self.conv_in(z), tick)
        for step in _steps(reversed(list(self.up))):
            tick()
            h = step(h)
        return self.conv_out(_silu(self.norm_out(h)))


class Autoencoder(Protocol):
    """What goes between pixels and latents; see AutoencoderKL."""

    @property
    def config(self) -> VaeConfig: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def encode(self, x: Tensor, tick: Tick = ...) -> Tensor: ...
    def decode(self, z: Tensor, tick: Tick = ...) -> Tensor: ...


class AutoencoderKL(nn.Module):
    """The variational autoencoder. Neither direction applies the latent scale (0.18215 for SD v1)."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * config.z_channels, 2 * config.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)

    def encode(self, x: Tensor, tick: Tick = lambda: None) -> Tensor:
        """x: [B, 3, H, W] in -1..1, sides multiples of the factor -> [B, 8, h, w]: mean, then log variance."""
        return self.quant_conv(self.encoder(x, tick))

    def decode(self, z: Tensor, tick: Tick = lambda: None) -> Tensor:
        """z: [B, 4, h, w], unscaled -> [B, 3, H, W], about -1..1."""
        return self.decoder(self.post_quant_conv(z), tick)
