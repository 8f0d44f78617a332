"""From a seed to noise: the one place that decides which generator draws what, and in which order.

Everything is drawn on the CPU, so a seed gives one picture on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from models.brownian import BrownianPath

NoiseStream = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x, sigma, sigma_next) -> standard normal noise of x's shape, on its device, for the way between the two levels []."""


class StepNoise(Protocol):
    """What samplers may draw from while they take their steps."""

    def stream(self) -> NoiseStream:
        """Noise that is new at every call, whatever the levels."""

    def path(self, x: Tensor, sigmas: Tensor) -> NoiseStream:
        """Noise that belongs to the levels: the increments of one Brownian path over all of `sigmas`."""


@dataclass(frozen=True)
class Noise:
    """The noise of one seed (0 to 2**64 - 1). Blank, it adds none to begin with; what samplers add stays the seed's."""

    socket: ClassVar[str] = "NOISE"
    seed: int
    blank: bool = False

    def initial(self, shape: tuple[int, ...], places: Sequence[int] | None = None) -> Tensor:
        """The noise that sampling starts from: one draw for the whole batch. [B, 4, h, w] float32 on the CPU.

        places: for each item its place in a batch that is drawn one after the other. That is the same noise where an
        item has a multiple of 16 numbers; torch draws 16 at a time, so for others (sides such as 520) it is not.
        """
        if self.blank:
            return torch.zeros(shape)
        generator = _generator(self.seed)
        if places is None:
            return torch.randn(shape, generator=generator)
        drawn: dict[int, Tensor] = {}
        for place in range(max(places) + 1):
            item = torch.randn((1, *shape[1:]), generator=generator)
            if place in places:
                drawn[place] = item
        return torch.cat([drawn[place] for place in places])

    def stream(self) -> NoiseStream:
        """The noise that samplers add between steps, from a generator of its own, seeded with the next seed.

        The same seed would draw the initial noise once more, and what is added to noise it equals comes out too strong.
        """
        generator = _generator((self.seed + 1) % 2**64)
        return lambda x, sigma, sigma_next: torch.randn(x.shape, generator=generator).to(x)

    def path(self, x: Tensor, sigmas: Tensor) -> NoiseStream:
        """The increments of the seed's Brownian path in sigma, each over the root of its length.

        More or fewer steps draw from the same path, so that their pictures are alike. x: [B, C, H, W]; sigmas: all levels
        that will be asked for lie between the highest and the lowest above 0 of these.
        """
        positive = sigmas[sigmas > 0]
        path = BrownianPath(tuple(x.shape), float(positive.min()), float(positive.max()), self.seed)

        def increment(x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
            difference = path(float(sigma), float(sigma_next))
            return (difference / float((sigma_next - sigma).abs().sqrt())).to(x)

        return increment


def _generator(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)
