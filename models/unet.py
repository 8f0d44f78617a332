"""The U-Net that predicts the noise (Ho et al. 2020, arXiv:2006.11239; Rombach et al. 2022, arXiv:2112.10752).

Attribute names are the checkpoint's key names below `model.diffusion_model.`, so `load_state_dict` needs no map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.attention import Place
from models.config import UNetConfig
from models.reading import Reading
from models.repeatable import SiLU, group_norm
from models.sinusoids import timestep_embedding
from models.transformer import SpatialTransformer

Tick = Callable[[], None]
"""Called before each block; raising from it is how a run is interrupted."""


class ResBlock(nn.Module):
    """Two convolutions, with the time step added between them."""

    def __init__(self, channels: int, out_channels: int, time_channels: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            group_norm(channels, eps=1e-5), SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time_channels, out_channels))
        self.out_layers = nn.Sequential(
            group_norm(out_channels, eps=1e-5),
            SiLU(),
            nn.Identity(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        self.skip_connection: nn.Module = nn.Identity()
        if channels != out_channels:
            self.skip_connection = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x: [B, C, H, W], time: [B, T] -> [B, C', H, W]."""
        h = self.in_layers(x) + self.emb_layers(time)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class Downsample(nn.Module):
    """Halve both sides by a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, ceil(H / 2), ceil(W / 2)]."""
        return self.op(x)


class Upsample(nn.Module):
    """Enlarge to a given size, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, C, h, w] -> [B, C, *size]; `size` is the skip's, which an odd side makes less than twice ours."""
        return self.conv(F.interpolate(x, size=size, mode="nearest"))


class InputSide(nn.Module):
    """The half of a U-Net that goes down, to its middle block: all that a control network has of it, too."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        base = config.model_channels
        time = 4 * base
        self.time_embed = nn.Sequential(nn.Linear(base, time), nn.SiLU(), nn.Linear(time, time))
        if config.vector_dim:
            read = nn.Sequential(nn.Linear(config.vector_dim, time), nn.SiLU(), nn.Linear(time, time))
            self.label_emb = nn.Sequential(read)
        self.input_blocks = nn.ModuleList([_stage(nn.Conv2d(config.in_channels, base, 3, padding=1))])
        self.widths = [base]  # of what each input block makes
        channels = base
        levels = list(zip(config.channel_mult, config.transformer_depth, strict=True))
        for level, (mult, depth) in enumerate(levels):
            for _ in range(config.num_res_blocks):
                block = ResBlock(channels, mult * base, time)
                channels = mult * base
                place = Place("input", len(self.input_blocks))
                self.input_blocks.append(_stage(block, *_transformer(config, channels, depth, place)))
                self.widths.append(channels)
            if level + 1 < len(levels):
                self.input_blocks.append(_stage(Downsample(channels)))
                self.widths.append(channels)
        self.middle_block = _stage(
            ResBlock(channels, channels, time),
            *_transformer(config, channels, config.middle_depth, Place("middle", 0)),
            ResBlock(channels, channels, time),
        )

    def times(self, t: Tensor, dtype: torch.dtype, vector: Tensor | None = None) -> Tensor:
        """What residual blocks see of the time steps and of a vector. t: [B] in 0..999 -> [B, 4 * model_channels].

        Raises ValueError if the network reads a vector, and none is given.
        """
        time: Tensor = self.time_embed(timestep_embedding(t, self.config.model_channels).to(dtype))
        if not self.config.vector_dim:
            return time
        if vector is None:
            raise ValueError("this U-Net reads a vector beside the text, and was given none")
        return time + self.label_emb(vector)

    def down(self, x: Tensor, time: Tensor, reading: Reading, tick: Tick) -> Iterator[tuple[Tensor, Tensor]]:
        """What each input block makes of x [B, 4, h, w], one after the other: for the way up, and for the next block."""
        h = x if reading.concat is None else torch.cat([x, reading.concat], dim=1)
        for i, stage in enumerate(self.input_blocks):
            tick()
            skip, h = reading.passed(i, _plus(_run(stage, h, time, reading), reading.residuals.inputs, i))
            yield skip, h

    def middle(self, h: Tensor, time: Tensor, reading: Reading, tick: Tick) -> Tensor:
        """What the middle block makes of the last input block's result."""
        tick()
        return _run(self.middle_block, h, time, reading)


class UNet(InputSide):
    """What a network that has read the text tells of a noisy latent: its noise, unless it was trained to tell otherwise."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        base, skips = config.model_channels, list(self.widths)
        channels = skips[-1]
        self.output_blocks = nn.ModuleList()
        levels = list(zip(config.channel_mult, config.transformer_depth, strict=True))
        for level, (mult, depth) in reversed(list(enumerate(levels))):
            for i in range(config.num_res_blocks + 1):
                parts: list[nn.Module] = [ResBlock(channels + skips.pop(), mult * base, 4 * base)]
                channels = mult * base
                parts += _transformer(config, channels, depth, Place("output", len(self.output_blocks)))
                if level > 0 and i == config.num_res_blocks:
                    parts.append(Upsample(channels))
                self.output_blocks.append(_stage(*parts))
        self.out = nn.Sequential(
            group_norm(channels, eps=1e-5), SiLU(), nn.Conv2d(channels, config.out_channels, 3, padding=1)
        )

    def forward(self, x: Tensor, t: Tensor, reading: Reading, tick: Tick = lambda: None) -> Tensor:
        """x: [B, 4, h, w] latents, t: [B] time steps in 0..999 -> [B, 4, h, w]."""
        time, added = reading.timed(self.times(t, x.dtype, reading.vector)), reading.residuals
        down = enumerate(self.down(x, time, reading, tick))
        skips: list[Tensor] = []

        def lower(h: Tensor, most: int | None) -> Tensor:
            for i, (skip, h) in islice(down, most):  # noqa: B007 - the last one goes on
                skips.append(_plus(skip, added.skips, i))
            return h

        def higher(h: Tensor, left: int) -> Tensor:
            for i in range(len(self.output_blocks) - len(skips), len(self.output_blocks) - left):
                tick()
                h = reading.join(i, h, skips.pop())
                size = skips[-1].shape[-2:] if skips else None
                h = _run(self.output_blocks[i], h, time, reading, size)
            return h

        def deep() -> Tensor:
            middle = self.middle(lower(h, None), time, reading, tick)
            return higher(_plus(reading.settled(middle), (added.middle,), 0), reading.shallow)

        h = lower(x, reading.shallow)
        return self.out(higher(reading.deep(deep), 0))


def _transformer(config: UNetConfig, channels: int, depth: int, place: Place) -> list[nn.Module]:
    if not depth:
        return []
    return [SpatialTransformer(channels, config.context_dim, config.heads(channels), depth, place, config.linear)]


def _plus(h: Tensor, residuals: Sequence[Tensor | None], i: int) -> Tensor:
    residual = residuals[i] if i < len(residuals) else None
    return h if residual is None else h + residual


def _stage(*parts: nn.Module) -> nn.ModuleList:
    return nn.ModuleList(parts)


def _run(
    stage: nn.Module, h: Tensor, time: Tensor, reading: Reading, size: tuple[int, int] | torch.Size | None = None
) -> Tensor:
    """Run the parts of one numbered block, giving each what it needs."""
    for part in stage.children():
        match part:
            case ResBlock():
                h = part(h, time)
            case SpatialTransformer():
                h = part(h, reading)
            case Upsample():
                h = part(h, size)
            case _:
                h = part(h)
    return h
