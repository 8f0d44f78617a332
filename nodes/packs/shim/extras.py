"""`comfy_extras`: core nodes as classes, by whichever module packs import them from, and what else they import there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.noise import Noise
from nodes.packs.host import Host
from nodes.packs.objects.guider import TheirNoise, guider_class


def names(host: Host) -> Mapping[str, object]:
    """What all its modules hold."""
    guiders: Any = guider_class(host)

    class Guider_Basic(guiders):  # type: ignore[misc]
        """A model with one text."""

        def set_conds(self, positive: Any) -> None:
            """What to go towards."""
            self.inner_set_conds({"positive": positive, "negative": []})

    class Noise_RandomNoise(TheirNoise):
        """The noise of a seed."""

        def __init__(self, seed: int) -> None:
            super().__init__(Noise(int(seed) % 2**64))

    class Noise_EmptyNoise:
        """No noise."""

        seed = 0

        def generate_noise(self, input_latent: Mapping[str, Any]) -> Tensor:
            """Zeros, like the latents."""
            return torch.zeros_like(input_latent["samples"])

    classes: tuple[type, ...] = (Guider_Basic, Noise_RandomNoise, Noise_EmptyNoise)
    return {**host.classes, "composite": composite, **{cls.__name__: cls for cls in classes}}


def composite(
    destination: Tensor, source: Tensor, x: int, y: int, mask: Tensor | None = None, multiplier: int = 8,
    resize_source: bool = False,
) -> Tensor:  # fmt: skip
    """A picture or latent [B, C, h, w] laid upon another, which it is cut by. x, y: of its corner, in units of 1 / multiplier.

    mask: [b, H, W], how much of it is seen.
    """
    made = destination.clone()
    height, width = destination.shape[-2:]
    if resize_source:
        source = F.interpolate(source, size=(height, width), mode="bilinear")
    source = source[torch.arange(len(destination)) % len(source)].to(destination)
    left, top = x // multiplier, y // multiplier
    rows = slice(max(top, 0), min(top + source.shape[-2], height))
    columns = slice(max(left, 0), min(left + source.shape[-1], width))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return made
    shown = torch.ones_like(source[:, :1])
    if mask is not None:
        sized = F.interpolate(mask.reshape(-1, 1, *mask.shape[-2:]).to(source), size=source.shape[-2:], mode="bilinear")
        shown = sized[torch.arange(len(source)) % len(sized)]
    inside = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    part, seen, below = source[..., *inside], shown[..., *inside], made[..., rows, columns]
    made[..., rows, columns] = part * seen + below * (1 - seen)
    return made
