"""T2I-Adapter (Mou et al. 2023, arXiv:2302.08453): a small network that sees a picture once, and adds to a U-Net's way down.

Attribute names are the published files' key names.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from models.config import Shapes

ADAPTER_ROOT = "body.0.block1.weight"
LIGHT_ROOT = "body.0.body.0.block1.weight"
CELL, XL_CELL = 8, 16
"""Pixels a side that one cell of the first feature map has seen side by side; SDXL's adapters skip its first level."""


@dataclass(frozen=True)
class AdapterConfig:
    """A T2I-Adapter. The defaults are those of SD v1's large ones.

    channels: of the pictures it sees; widths: of its feature maps; blocks: residual blocks for each. light: of narrow
    blocks, `inner` channels each, between convolutions of single pixels. kernel: of a block's second convolution. cell: pixels
    a side for one cell of the first map.
    """

    channels: int = 3
    widths: tuple[int, ...] = (320, 640, 1280, 1280)
    blocks: int = 2
    inner: tuple[int, ...] = ()
    kernel: int = 1
    cell: int = CELL

    def halves(self, level: int) -> bool:
        """Whether the map of this level has half the sides of the one before it."""
        return level == 2 if self.cell == XL_CELL else level > 0

    def sites(self, blocks: int) -> tuple[int, ...]:
        """Behind which of a U-Net's input blocks its maps are added, of a U-Net with so many residual blocks a level; that of
        SDXL has one map left, for its middle block."""
        ends = [level * (blocks + 1) + blocks for level in range(len(self.widths))]  # of the levels
        return (ends[0] + 1, *ends[1:-1]) if self.cell == XL_CELL else tuple(ends)

    @property
    def light(self) -> bool:
        """Whether it is one of the small ones."""
        return bool(self.inner)


class _Block(nn.Module):
    """Two convolutions, added to what came in. down: on half the sides; a first convolution where widths differ."""

    def __init__(self, channels: int, width: int, kernel: int, down: bool = False) -> None:
        super().__init__()
        self._down = down
        self.in_conv: nn.Module = nn.Identity()
        if channels != width:
            self.in_conv = nn.Conv2d(channels, width, 1)
        self.block1 = nn.Conv2d(width, width, 3, padding=1)
        self.block2 = nn.Conv2d(width, width, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C', h, w], or half the sides, rounded up."""
        x = self.in_conv(_halved(x) if self._down else x)
        return x + self.block2(F.relu(self.block1(x)))


class _LightStage(nn.Module):
    """Narrow blocks between convolutions of single pixels."""

    def __init__(self, channels: int, width: int, inner: int, blocks: int, down: bool) -> None:
        super().__init__()
        self._down = down
        self.in_conv = nn.Conv2d(channels, inner, 1)
        self.body = nn.Sequential(*(_Block(inner, inner, 3) for _ in range(blocks)))
        self.out_conv = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C', h, w], or half the sides, rounded up."""
        return self.out_conv(self.body(self.in_conv(_halved(x) if self._down else x)))


class T2IAdapter(nn.Module):
    """Pictures -> feature maps for a U-Net's levels."""

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        seen = config.channels * config.cell**2
        self.body = nn.ModuleList()
        if config.light:
            entering = (seen, *config.widths)
            for i, (width, inner) in enumerate(zip(config.widths, config.inner, strict=True)):
                self.body.append(_LightStage(entering[i], width, inner, config.blocks, down=config.halves(i)))
            return
        self.conv_in = nn.Conv2d(seen, config.widths[0], 3, padding=1)
        entering = (config.widths[0], *config.widths)
        for i, width in enumerate(config.widths):
            for j in range(config.blocks):
                self.body.append(
                    _Block(width if j else entering[i], width, config.kernel, down=config.halves(i) and j == 0)
                )

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """[b, channels, 8 h, 8 w] in 0..1 -> a map for each level: [b, C, h, w], then half the sides each. Of SDXL's, pictures of
        16 h and 16 w make two maps of [b, C, h, w] and two of half the sides."""
        h = F.pixel_unshuffle(pictures, self.config.cell)
        if self.config.light:
            maps = []
            for stage in self.body:
                h = stage(h)
                maps.append(h)
            return maps
        h, maps = self.conv_in(h), []
        for i, block in enumerate(self.body):
            h = block(h)
            if i % self.config.blocks == self.config.blocks - 1:
                maps.append(h)
        return maps


def _halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2, ceil_mode=True)


def adapter_config(shapes: Shapes) -> AdapterConfig:
    """Read an adapter's shape. Raises KeyError, naming the tensor, when one that must be there is missing."""
    count = 1 + max(int(match[1]) for name in shapes if (match := re.match(r"body\.(\d+)\.", name)))
    if LIGHT_ROOT in shapes:
        outs = [shapes[f"body.{i}.out_conv.weight"] for i in range(count)]
        blocks = sum(1 for name in shapes if re.fullmatch(r"body\.0\.body\.\d+\.block1\.weight", name))
        channels = shapes["body.0.in_conv.weight"][1] // CELL**2
        return AdapterConfig(channels, tuple(out[0] for out in outs), blocks, tuple(out[1] for out in outs), 3)
    blocks = AdapterConfig.blocks
    widths = tuple(shapes[f"body.{i}.block1.weight"][0] for i in range(0, count, blocks))
    kernel, seen = shapes["body.0.block2.weight"][-1], shapes["conv_in.weight"][1]
    cell = (
        CELL if seen % XL_CELL**2 else XL_CELL
    )  # 64 or 192 of SD v1's, of one channel or of three; 256 or 768 of SDXL's
    return AdapterConfig(seen // cell**2, widths, blocks, kernel=kernel, cell=cell)


def renamed_adapter(names: Collection[str]) -> dict[str, str]:
    """Our names -> those of a file in the layout of diffusers, or of a small adapter; empty if it is neither."""
    prefix = next((p for p in ("adapter.", "") if f"{p}body.0.resnets.0.block1.weight" in names), None)
    if prefix is None:
        light = next((p for p in ("adapter.", "") if p + LIGHT_ROOT in names), None)
        return {} if light is None else {name.removeprefix(light): name for name in names}
    inside = [name.removeprefix(prefix) for name in names]
    is_light = "body.0.out_conv.weight" in inside
    return {_published(name, is_light): prefix + name for name in inside}


def _published(name: str, light: bool) -> str:
    if light:
        return name.replace(".resnets.", ".body.")
    if match := re.fullmatch(r"body\.(\d+)\.(?:resnets\.(\d+)\.)?(.+)", name):
        return f"body.{int(match[1]) * AdapterConfig.blocks + int(match[2] or 0)}.{match[3]}"
    return name
