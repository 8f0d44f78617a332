"""What steers a U-Net besides its texts: functions from what a call of it reads to what it reads instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from models.reading import Reading


class Steered(Protocol):
    """One of the texts that a call is for."""

    @property
    def number(self) -> int:
        """Which of the guider's texts it belongs to."""

    @property
    def controls(self) -> Sequence[object]:
        """The controls that count with it."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a U-Net. x: [B, 4, h, w] latents as it gets them; t: [B]; sigma: their level; texts: of equal parts of
    the batch, one after the other."""

    x: Tensor
    t: Tensor
    sigma: float
    texts: Sequence[Steered]

    @property
    def each(self) -> int:
        """How many items of the batch are for one text."""
        return len(self.x) // max(1, len(self.texts))


Steer = Callable[[Call, Reading], Reading]
"""What a U-Net reads at a call -> what it reads when it is steered so."""


def unsteered(call: Call, reading: Reading) -> Reading:
    """As it is."""
    return reading


def all_of(steers: Sequence[Steer]) -> Steer:
    """One after the other."""

    def steer(call: Call, reading: Reading) -> Reading:
        for one in steers:
            reading = one(call, reading)
        return reading

    return steer
