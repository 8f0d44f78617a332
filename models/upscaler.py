"""Networks that enlarge pictures: ESRGAN's (Wang et al. 2018, arXiv:1809.00219) and Real-ESRGAN's compact one.

Real-ESRGAN (Wang et al. 2021, arXiv:2107.10833) uses both. Pictures are in 0..1; the names are those of its files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import Shapes

TILE, MARGIN = 192, 32  # pixels; a tile is computed with what lies around it, and cut out

_OLD = (  # how the first ESRGAN's files, which count layers, call what the later ones name
    (r"model\.0\.", "conv_first."),
    (r"model\.1\.sub\.(\d+)\.(RDB|rdb)([123])\.conv(\d)\.0\.", r"body.\1.rdb\3.conv\4."),
    (r"model\.1\.sub\.\d+\.(weight|bias)", r"conv_body.\1"),
)
_BETWEEN = (  # and those of the years between
    (r"RRDB_trunk\.(\d+)\.RDB([123])\.", r"body.\1.rdb\2."),
    (r"trunk_conv\.", "conv_body."),
    (r"upconv(\d)\.", r"conv_up\1."),
    (r"HRconv\.", "conv_hr."),
)


@dataclass(frozen=True)
class UpscalerConfig:
    """scale: pixels a side for each pixel. blocks: of ESRGAN's network; layers between the first and the last convolution
    of the compact one. growth: channels that a dense block's convolution adds; 0: the compact network. unshuffle: pixels a
    side that are put into channels first."""

    scale: int
    width: int
    blocks: int
    growth: int
    unshuffle: int = 1


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees all that the ones before it made."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, growth, 3, padding=1)
        self.conv2 = nn.Conv2d(width + growth, growth, 3, padding=1)
        self.conv3 = nn.Conv2d(width + 2 * growth, growth, 3, padding=1)
        self.conv4 = nn.Conv2d(width + 3 * growth, growth, 3, padding=1)
        self.conv5 = nn.Conv2d(width + 4 * growth, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        seen = [x]
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen.append(F.leaky_relu(conv(torch.cat(seen, 1)), 0.2))
        return x + 0.2 * self.conv5(torch.cat(seen, 1))


class ResidualInResidual(nn.Module):
    """Three dense blocks and a way around them (section 3.1)."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(width, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        return x + 0.2 * self.rdb3(self.rdb2(self.rdb1(x)))


class Upscaler(nn.Module):
    """What both networks have in common. Calling it: [B, 3, H, W] in 0..1 -> [B, 3, scale H, scale W]."""

    def __init__(self, config: UpscalerConfig) -> None:
        super().__init__()
        self.config = config

    def enlarge(self, picture: Tensor, tick: Callable[[], None] = lambda: None) -> Tensor:
        """[H, W, 3] in 0..1 -> [scale H, scale W, 3] in 0..1, float32 on the CPU; large ones in tiles that overlap."""
        height, width = picture.shape[:2]
        scale, side = self.config.scale, self.config.unshuffle
        x = picture.movedim(-1, 0)[None].to(next(self.parameters()))
        x = F.pad(x, (0, -width % side, 0, -height % side), mode="replicate")

        made = torch.empty(3, x.shape[-2] * scale, x.shape[-1] * scale)
        for top, left in product(range(0, x.shape[-2], TILE), range(0, x.shape[-1], TILE)):
            tick()
            above, before = max(0, top - MARGIN), max(0, left - MARGIN)
            part = self(x[..., above : top + TILE + MARGIN, before : left + TILE + MARGIN])[0].float().cpu()
            core = part[:, (top - above) * scale :, (left - before) * scale :][:, : TILE * scale, : TILE * scale]
            made[:, top * scale :, left * scale :][:, : TILE * scale, : TILE * scale] = core
        return made[:, : height * scale, : width * scale].movedim(0, -1).clamp(0, 1)


class RRDBNet(Upscaler):
    """ESRGAN's network: blocks at the picture's size, then it is doubled, and doubled again."""

    def __init__(self, config: UpscalerConfig) -> None:
        super().__init__(config)
        width = config.width
        self.conv_first = nn.Conv2d(3 * config.unshuffle**2, width, 3, padding=1)
        self.body = nn.ModuleList(ResidualInResidual(width, config.growth) for _ in range(config.blocks))
        self.conv_body = nn.Conv2d(width, width, 3, padding=1)
        doublings = (config.scale * config.unshuffle).bit_length() - 1
        for i in range(1, doublings + 1):
            self.add_module(f"conv_up{i}", nn.Conv2d(width, width, 3, padding=1))
        self.doublings = doublings
        self.conv_hr = nn.Conv2d(width, width, 3, padding=1)
        self.conv_last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """See Upscaler."""
        x = self.conv_first(F.pixel_unshuffle(x, self.config.unshuffle))
        h = x
        for block in self.body:
            h = block(h)
        h = x + self.conv_body(h)
        for i in range(1, self.doublings + 1):
            h = F.leaky_relu(self.get_submodule(f"conv_up{i}")(F.interpolate(h, scale_factor=2.0, mode="nearest")), 0.2)
        return self.conv_last(F.leaky_relu(self.conv_hr(h), 0.2))


class CompactNet(Upscaler):
    """Real-ESRGAN's network for videos: convolutions at the picture's size, whose channels become pixels at the end."""

    def __init__(self, config: UpscalerConfig) -> None:
        super().__init__(config)
        width = config.width
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.PReLU(width)]
        for _ in range(config.blocks):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.PReLU(width)]
        self.body = nn.ModuleList([*layers, nn.Conv2d(width, 3 * config.scale**2, 3, padding=1)])

    def forward(self, x: Tensor) -> Tensor:
        """See Upscaler."""
        h = x
        for layer in self.body:
            h = layer(h)
        return F.pixel_shuffle(h, self.config.scale) + F.interpolate(
            x, scale_factor=float(self.config.scale), mode="nearest"
        )


def build_upscaler(shapes: Shapes) -> Upscaler:
    """The network that tensors of these names and shapes are of. Raises KeyError, naming the tensor, when one that must be
    there is missing, and ValueError when it is neither."""
    if "conv_first.weight" in shapes:
        width, channels = shapes["conv_first.weight"][:2]
        unshuffle = math.isqrt(channels // 3)
        blocks = 1 + max((int(m[1]) for name in shapes if (m := re.match(r"body\.(\d+)\.", name))), default=-1)
        growth = shapes["body.0.rdb1.conv1.weight"][0]
        doublings = sum(f"conv_up{i}.weight" in shapes for i in range(1, 6))
        if 3 * unshuffle**2 != channels or shapes["conv_last.weight"][0] != 3 or 2**doublings % unshuffle:
            raise ValueError("an upscaler of pictures that are not in colour")
        return RRDBNet(UpscalerConfig(2**doublings // unshuffle, width, blocks, growth, unshuffle))
    last = max(int(name.split(".")[1]) for name in shapes)
    width, channels = shapes["body.0.weight"][:2]
    scale = math.isqrt(shapes[f"body.{last}.weight"][0] // 3)
    if channels != 3 or 3 * scale**2 != shapes[f"body.{last}.weight"][0] or last % 2:
        raise ValueError("an upscaler of another kind")
    return CompactNet(UpscalerConfig(scale, width, last // 2 - 1, 0))


def upscaler_name(name: str) -> str:
    """The name of a tensor in Real-ESRGAN's files, from that in older ones."""
    name = name.removeprefix("module.")
    for pattern, new in (*_OLD, *_BETWEEN):
        if re.match(pattern, name):
            return re.sub("^" + pattern, new, name)
    if match := re.fullmatch(r"model\.(\d+)\.(weight|bias)", name):
        return f"layer{match[1]}.{match[2]}"
    return name


def renamed_upscaler(names: Collection[str]) -> dict[str, str]:
    """The names of an upscaler's tensors in Real-ESRGAN's files -> those in the file; nothing if it is none."""
    found = {upscaler_name(name): name for name in names}
    tail = sorted({int(m[1]) for name in found if (m := re.match(r"layer(\d+)\.", name))})
    new = [*(f"conv_up{i}" for i in range(1, len(tail) - 1)), "conv_hr", "conv_last"]
    for number, layer in zip(tail, new[-len(tail) :] if tail else [], strict=True):
        for end in ("weight", "bias"):
            if f"layer{number}.{end}" in found:
                found[f"{layer}.{end}"] = found.pop(f"layer{number}.{end}")
    is_esrgan = "conv_first.weight" in found and "body.0.rdb1.conv1.weight" in found
    is_compact = {"body.0.weight", "body.1.weight", "body.2.weight"} <= found.keys() and len(
        found["body.0.weight"]
    ) < 24
    return found if is_esrgan or is_compact else {}
