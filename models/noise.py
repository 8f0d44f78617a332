"""From a seed to noise: the one place that decides which generator draws what, and in which order.

Everything is drawn on the CPU, so a seed gives one picture on every device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

NoiseStream = Callable[[Tensor], Tensor]
"""Called with the current latent, returns fresh standard normal noise of its shape, on its device."""


@dataclass(frozen=True)
class Noise:
    """The noise of one seed (0 to 2**64 - 1). Blank, it adds none to begin with; what samplers add stays the seed's."""

    socket: ClassVar[str] = "NOISE"
    seed: int
    blank: bool = False

    def initial(self, shape: tuple[int, ...]) -> Tensor:
        """The noise that sampling starts from: one draw for the whole batch. [B, 4, h, w] float32 on the CPU."""
        if self.blank:
            return torch.zeros(shape)
        return torch.randn(shape, generator=_generator(self.seed))

    def stream(self) -> NoiseStream:
        """The noise that samplers add between steps, from a generator of its own, seeded with the next seed.

        The same seed would draw the initial noise once more, and what is added to noise it equals comes out too strong.
        """
        generator = _generator((self.seed + 1) % 2**64)
        return lambda x: torch.randn(x.shape, generator=generator).to(x)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)
