"""UPSCALE_MODEL as packs hold it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.types import UpscaleModel
from models.upscaler import build_upscaler
from nodes.packs.objects.handles import Handle


class PackUpscaler(Handle[UpscaleModel]):
    """An UPSCALE_MODEL. Calling it enlarges pictures [B, 3, H, W] in 0..1 as a whole: packs cut them into tiles."""

    input_channels = 3
    output_channels = 3

    @property
    def scale(self) -> int:
        """Pixels a side for each pixel."""
        with torch.device("meta"):
            return build_upscaler(self._own.weights.shapes(self._own.part)).config.scale

    @property
    def model(self) -> PackUpscaler:
        """The object itself: the network's weights are where it computes, when it does."""
        return self

    def to(self, *_: Any, **__: Any) -> PackUpscaler:
        """Nothing: where its weights lie is decided elsewhere."""
        return self

    cpu = cuda = eval = to

    def __call__(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 3, scale H, scale W], where x lies."""
        with self._host.context.services.use(self._own, "upscale_model") as network:
            height, width = x.shape[-2:]
            side, scale = network.config.unshuffle, network.config.scale
            padded = F.pad(x, (0, -width % side, 0, -height % side), mode="replicate")
            made: Tensor = network(padded.to(next(network.parameters())))
        return made[..., : height * scale, : width * scale].to(x)
