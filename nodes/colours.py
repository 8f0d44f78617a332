"""Nodes that change the colours of pictures: how bright they are, how much they differ, and as those of another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Protocol

import torch
from torch import Tensor

from graph.sockets import Choice, Float, Int
from graph.spec import Cases, Named, Tip, node
from models.colour_transfer import HISTOGRAM, TRANSFERS, transferred
from models.types import Image
from nodes.services import Context

FACTOR = Float(0.0, 2.0, step=0.01, tooltip="1 changes nothing, less is less, more is more.")
Pictures = Annotated[Image, Tip("The pictures.")]
Changed = Annotated[Image, Named("image"), Tip("The changed pictures.")]


@node("AdjustBrightness", category="image/adjust", title="Adjust Brightness")
def adjust_brightness(ctx: Context, *, image: Pictures, factor: Annotated[float, FACTOR] = 1.0) -> Changed:
    """Make pictures brighter or darker."""
    return _recoloured(image, lambda colours: colours * factor)


@node("AdjustContrast", category="image/adjust", title="Adjust Contrast")
def adjust_contrast(ctx: Context, *, image: Pictures, factor: Annotated[float, FACTOR] = 1.0) -> Changed:
    """Make light and dark of pictures differ more or less."""
    return _recoloured(image, lambda colours: (colours - 0.5) * factor + 0.5)


def _recoloured(image: Image, change: Callable[[Tensor], Tensor]) -> Image:
    """The pictures with other colours, in 0..1; what is transparent stays so."""
    colours, rest = image.pixels[..., :3], image.pixels[..., 3:]
    return Image(torch.cat([change(colours).clamp(0, 1), rest], dim=-1))


class Baseline(Protocol):
    """Which of the pictures say what their colours are like before."""

    def of(self, pixels: Tensor, i: int) -> Tensor:
        """[n, H, W, 3] for picture i of [B, H, W, 3]."""


@dataclass(frozen=True)
class PerFrame:
    """Each for itself."""

    def of(self, pixels: Tensor, i: int) -> Tensor:
        """The picture itself."""
        return pixels[i : i + 1]


@dataclass(frozen=True)
class Uniform:
    """All together."""

    def of(self, pixels: Tensor, i: int) -> Tensor:
        """All of them."""
        return pixels


@dataclass(frozen=True)
class TargetFrame:
    """One for all."""

    target_index: Annotated[int, Int(0, 10_000, tooltip="Which one, counted from 0.")] = 0

    def of(self, pixels: Tensor, i: int) -> Tensor:
        """That one; the last if there are fewer."""
        return pixels[min(self.target_index, len(pixels) - 1)][None]


BASELINES: Mapping[str, type[Baseline]] = MappingProxyType(
    {"per_frame": PerFrame, "uniform": Uniform, "target_frame": TargetFrame}
)


@node("ColorTransfer", category="image/adjust", title="Color Transfer")
def color_transfer(
    ctx: Context,
    *,
    image_target: Annotated[Image, Tip("The pictures whose colours are to change.")],
    image_ref: Annotated[Image | None, Tip("The picture whose colours they get.")] = None,
    method: Annotated[
        str,
        Choice(
            (*TRANSFERS, HISTOGRAM),
            typed=True,
            tooltip="By mean and spread, also of their mixtures, or value by value.",
        ),
    ] = "reinhard_lab",
    source_stats: Annotated[
        Baseline, Cases({}, BASELINES), Tip("Which pictures say what colours are like before.")
    ] = "per_frame",  # type: ignore[assignment]  # as documents write it
    strength: Annotated[
        float, Float(0.0, 10.0, step=0.01, tooltip="How far towards those colours; 1: all of the way.")
    ] = 1.0,
) -> Changed:
    """Give pictures the colours of another."""
    if image_ref is None or strength == 0:
        return image_target
    given, wanted = image_target.pixels[..., :3], image_ref.pixels[..., :3]
    changed = []
    for i, picture in enumerate(given):
        ctx.check()
        reference = wanted[min(i, len(wanted) - 1)][None] if isinstance(source_stats, PerFrame) else wanted
        made = transferred(picture, source_stats.of(given, i), reference, method)
        changed.append(picture + strength * (made - picture))
    colours = torch.stack(changed).clamp(0, 1)
    return Image(torch.cat([colours, image_target.pixels[..., 3:]], dim=-1))
