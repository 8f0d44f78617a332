"""Where in the picture a text counts, and how much there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor

FEATHER = 8  # cells at most over which an area fades at its edges


@dataclass(frozen=True)
class Area:
    """A rectangle of a latent, in cells."""

    height: int
    width: int
    top: int
    left: int

    def within(self, height: int, width: int) -> Area:
        """What of it lies in a latent of that size; nothing of it may."""
        return replace(
            self,
            height=max(0, min(self.height, height - self.top)),
            width=max(0, min(self.width, width - self.left)),
        )

    def contains(self, other: Area) -> bool:
        """Whether all of `other` lies in it."""
        down = self.top <= other.top and other.top + other.height <= self.top + self.height
        return down and self.left <= other.left and other.left + other.width <= self.left + self.width

    def cut(self, x: Tensor) -> Tensor:
        """A view of x [..., H, W]."""
        return x[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def ramps(self, height: int, width: int, device: torch.device) -> Tensor:
        """[self.height, self.width]: 1, less towards those edges that lie inside a latent of that size."""
        down = _ramp(self.height, self.top > 0, self.top + self.height < height, device)
        across = _ramp(self.width, self.left > 0, self.left + self.width < width, device)
        return down[:, None] * across


@dataclass(frozen=True)
class Share:
    """A rectangle in shares of a latent's sides, 0..1."""

    height: float
    width: float
    top: float
    left: float

    def within(self, height: int, width: int) -> Area:
        """The cells of a latent of that size, one at least."""
        cells = Area(
            max(1, round(self.height * height)),
            max(1, round(self.width * width)),
            round(self.top * height),
            round(self.left * width),
        )
        return cells.within(height, width)


def bounds(mask: Tensor) -> Area:
    """The rectangle around what of masks [b, h, w] is not 0, FEATHER cells a side at least; at the corner if all is 0."""
    rows, columns = ((mask.abs().amax(dim=0) > 0).any(dim=axis).nonzero().flatten().tolist() for axis in (1, 0))
    if not rows:
        return Area(FEATHER, FEATHER, 0, 0)
    return Area(
        max(FEATHER, rows[-1] - rows[0] + 1), max(FEATHER, columns[-1] - columns[0] + 1), rows[0], columns[0]
    )  # fmt: skip


class _Placed(Protocol):
    """What may have an area."""

    @property
    def area(self) -> Area | None: ...


P = TypeVar("P", bound=_Placed)


def lender(texts: list[P], area: Area) -> P | None:
    """The text for `area` among those of the other side of guidance, so that both sides are seen in the same cut.

    The one with the smallest area around it, else one for the whole picture. None if there is none, or if that one
    already has exactly this area.
    """
    around = [text for text in texts if text.area is not None and text.area.contains(area)]
    found = min(around, key=_size, default=next((text for text in texts if text.area is None), None))
    return None if found is None or found.area == area else found


def _size(text: _Placed) -> int:
    return text.area.height * text.area.width if text.area else 0


def _ramp(size: int, fades_in: bool, fades_out: bool, device: torch.device) -> Tensor:
    ramp = torch.ones(size, device=device)
    cells = min(FEATHER, size // 4)
    rising = torch.arange(1, cells + 1, device=device) / max(cells, 1)
    if fades_in:
        ramp[:cells] *= rising
    if fades_out:
        ramp[size - cells :] *= rising.flip(0)
    return ramp
