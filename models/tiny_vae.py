"""TAESD (Ollin Boer Bohan 2023) as an autoencoder: its encoder, and both halves in the place of a checkpoint's own.

https://github.com/madebyollin/taesd. Attribute names are those of its own files, `taesd_encoder`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.config import Shapes, VaeConfig
from models.tiny_decoder import Block, TinyDecoder
from models.vae import Tick

CERTAIN = -30.0
"""The logarithm of the variance of latents that have none."""


class TinyEncoder(nn.Sequential):
    """Pictures of 0..1, [B, 3, H, W] -> latents as samplers see them, [B, 4, H / 8, W / 8]."""

    def __init__(self, channels: int, width: int) -> None:
        def halved() -> list[nn.Module]:
            blocks = [Block(width), Block(width), Block(width)]
            return [nn.Conv2d(width, width, 3, padding=1, stride=2, bias=False), *blocks]

        first = [nn.Conv2d(3, width, 3, padding=1), Block(width)]
        super().__init__(*first, *halved(), *halved(), *halved(), nn.Conv2d(width, channels, 3, padding=1))


def build_tiny_encoder(shapes: Shapes) -> TinyEncoder:
    """The encoder of these shapes. Raises KeyError, naming the tensor, when its first or its last one is missing."""
    return TinyEncoder(shapes["14.weight"][0], shapes["0.weight"][0])


@dataclass(frozen=True)
class TinyAutoencoder:
    """Both halves, in the terms of the large autoencoder. scale: what latents are multiplied by for samplers."""

    encoder: TinyEncoder
    decoder: TinyDecoder
    scale: float

    @property
    def config(self) -> VaeConfig:
        """The shape of a large one that needs no less memory."""
        last = self.decoder[-1]
        assert isinstance(last, nn.Conv2d)
        return VaeConfig(ch=last.in_channels, ch_mult=(1, 1, 1, 1))

    def parameters(self) -> Iterator[nn.Parameter]:
        """Its weights."""
        yield from self.decoder.parameters()
        yield from self.encoder.parameters()

    def encode(self, x: Tensor, tick: Tick = lambda: None) -> Tensor:
        """x: [B, 3, H, W] in -1..1, sides multiples of 8 -> [B, 8, h, w]: mean, then log variance, of none."""
        tick()
        mean = self.encoder((x + 1) / 2) / self.scale
        return torch.cat([mean, torch.full_like(mean, CERTAIN)], dim=1)

    def decode(self, z: Tensor, tick: Tick = lambda: None) -> Tensor:
        """z: [B, 4, h, w], unscaled -> [B, 3, H, W], about -1..1."""
        tick()
        return self.decoder(z * self.scale) * 2 - 1
