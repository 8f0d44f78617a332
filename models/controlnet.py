"""ControlNet (Zhang et al. 2023, arXiv:2302.05543): a copy of a U-Net's way down that sees a picture, and adds to the U-Net.

Attribute names are the published files' key names. A Control-LoRA is the same with the U-Net's own way down, changed by
low-rank factors: its file holds them and the `ControlEnds`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import Shapes, UNetConfig, unet_config
from models.reading import NO_RESIDUALS, Reading, Residuals
from models.repeatable import SiLU
from models.sinusoids import timestep_embedding
from models.style_adapter import ClipBlock
from models.unet import InputSide, Tick

HALVING = (
    4,
    8,
    12,
)  # the places of those convolutions in `input_hint_block` that halve both sides: eight pixels a cell


class ControlEnds(nn.Module):
    """What a control network has besides a U-Net's way down: eyes for the hint, and ways out that begin as zeros.

    hint_widths: channels before, between and behind the convolutions that see the hint. widths: of the input blocks.
    """

    def __init__(self, hint_widths: tuple[int, ...], widths: tuple[int, ...]) -> None:
        super().__init__()
        self.input_hint_block = _eyes(hint_widths)
        self.zero_convs = _ways_out(widths)
        self.middle_block_out = nn.Sequential(nn.Conv2d(widths[-1], widths[-1], 1))


class ControlNet(InputSide):
    """A control network with a way down of its own."""

    def __init__(self, config: UNetConfig, hint_widths: tuple[int, ...]) -> None:
        super().__init__(config)
        self.input_hint_block = _eyes(hint_widths)
        self.zero_convs = _ways_out(tuple(self.widths))
        self.middle_block_out = nn.Sequential(nn.Conv2d(self.widths[-1], self.widths[-1], 1))


class _KindEmbedding(nn.Module):
    """Two linear layers, by diffusers' names."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(channels, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C] -> [B, W]."""
        return self.linear_2(F.silu(self.linear_1(x)))


class ControlNetUnion(ControlNet):
    """A control network for pictures of several kinds (ControlNet++, of xinsir's), which is told which kind a hint is of.

    Its transformer looks from the hint to the latent of the same item; diffusers' looks across the items of a batch, so that a
    picture there hangs on its neighbours. kinds: how many it knows; sinusoids: channels by which each is told; layers: of the transformer between hint and latent.
    """

    def __init__(
        self, config: UNetConfig, hint_widths: tuple[int, ...], kinds: int, sinusoids: int, layers: int, width: int
    ) -> None:
        super().__init__(config, hint_widths)
        self.task_embedding = nn.Parameter(torch.empty(kinds, width))
        self.transformer_layes = nn.ModuleList(ClipBlock(width) for _ in range(layers))  # the files' own spelling
        self.spatial_ch_projs = nn.Linear(width, config.model_channels)
        self.control_add_embedding = _KindEmbedding(kinds * sinusoids, 4 * config.model_channels)
        self._sinusoids = sinusoids

    def told(self, kinds: Sequence[int]) -> Tensor:
        """What the time steps' vector is added to for hints of some kinds, [1, 4 * model_channels]."""
        flags = torch.zeros(len(self.task_embedding), device=self.task_embedding.device)
        flags[list(kinds)] = 1
        return self.control_add_embedding(
            timestep_embedding(flags, self._sinusoids).flatten()[None].to(self.task_embedding)
        )

    def beside(self, latent: Tensor, hint: Tensor, kinds: Sequence[int]) -> Tensor:
        """The hint as it is added to the latent's first feature map; both [B, C, h, w]."""
        of_kind = self.task_embedding[list(kinds)].sum(0)
        x = torch.stack([hint.mean((2, 3)) + of_kind, latent.mean((2, 3))], dim=1)
        for layer in self.transformer_layes:
            x = layer(x)
        return hint + self.spatial_ch_projs(x[:, 0])[:, :, None, None]


def _eyes(widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels, out_channels in pairwise(widths):
        stride = 2 if len(layers) in HALVING else 1
        layers += [nn.Conv2d(channels, out_channels, 3, stride, padding=1), SiLU()]
    return nn.Sequential(*layers[:-1])


def _ways_out(widths: tuple[int, ...]) -> nn.ModuleList:
    return nn.ModuleList(nn.Sequential(nn.Conv2d(width, width, 1)) for width in widths)


def control(
    side: InputSide,
    ends: ControlNet | ControlEnds,
    x: Tensor,
    t: Tensor,
    hint: Tensor,
    reading: Reading,
    tick: Tick = lambda: None,
    kinds: Sequence[int] = (),
) -> Residuals:
    """What a control network adds to a U-Net's feature maps.

    side: the way down; ends: what has the rest, which a ControlNet is both. x: [B, 4, h, w] latents as the U-Net gets them,
    t: [B] time steps, hint: [B, C, h, w], what `input_hint_block` makes of pictures [B, 3, 8 h, 8 w] in 0..1.
    kinds: what a network for several kinds is told of the hint.
    """
    time = side.times(t, x.dtype, reading.vector)
    if isinstance(ends, ControlNetUnion):
        time = time + ends.told(kinds)
        hint = ends.beside(side.input_blocks[0].get_submodule("0")(x), hint, kinds)
    reading = replace(reading, residuals=replace(NO_RESIDUALS, inputs=(hint,)))
    skips, h = list[Tensor](), x
    for (_, h), out in zip(side.down(x, time, reading, tick), ends.zero_convs, strict=True):
        skips.append(out(h))
    return Residuals(skips=tuple(skips), middle=ends.middle_block_out(side.middle(h, time, reading, tick)))


def build_controlnet(shapes: Shapes) -> ControlNet:
    """A control network of these shapes. Raises KeyError, naming the tensor, when one that must be there is missing."""
    config, eyes = control_config(shapes), hint_widths(shapes)
    if "task_embedding" not in shapes:
        return ControlNet(config, eyes)
    kinds, width = shapes["task_embedding"]
    sinusoids = shapes["control_add_embedding.linear_1.weight"][1] // kinds
    return ControlNetUnion(config, eyes, kinds, sinusoids, 1 + _last(shapes, r"transformer_layes\.(\d+)\."), width)


def control_config(shapes: Shapes) -> UNetConfig:
    """Read a control network's shape, which has no way out. Raises KeyError, naming the tensor, as `unet_config`."""
    channels, latent = shapes["input_blocks.0.0.weight"][:2]
    return unet_config({**shapes, "out.2.weight": (latent, channels, 3, 3)})


def hint_widths(shapes: Shapes) -> tuple[int, ...]:
    """Channels before, between and behind the convolutions that see the hint. Raises KeyError."""
    places = range(0, 1 + _last(shapes, r"input_hint_block\.(\d+)\."), 2)
    weights = [shapes[f"input_hint_block.{i}.weight"] for i in places]
    return (weights[0][1], *(weight[0] for weight in weights))


def way_widths(shapes: Shapes) -> tuple[int, ...]:
    """Channels of the input blocks, by their ways out. Raises KeyError."""
    return tuple(shapes[f"zero_convs.{i}.0.weight"][0] for i in range(1 + _last(shapes, r"zero_convs\.(\d+)\.")))


def _last(shapes: Shapes, pattern: str) -> int:
    return max((int(match[1]) for name in shapes if (match := re.match(pattern, name))), default=-1)
