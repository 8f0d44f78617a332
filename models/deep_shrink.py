"""Deep shrink, after Kohya: while a picture takes shape, a U-Net's deeper blocks see its feature maps smaller."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from models.reading import Reading
from models.scaling import LATENT_METHODS
from models.steering import Begun, Call, Ground


@dataclass(frozen=True)
class DeepShrink:
    """What input block `block` makes is divided in size by `factor`, and enlarged again where the way up meets larger maps.

    So a model draws one subject at sizes at which it would draw it twice. start and end: the part of the way from noise to
    picture where it is done; after_skip: only what goes deeper is small, not what is handed across. smaller and larger:
    names of LATENT_METHODS.
    """

    block: int
    factor: float
    start: float = 0.0
    end: float = 0.35
    after_skip: bool = True
    smaller: str = "bicubic"
    larger: str = "bicubic"

    def begin(self, ground: Ground) -> Begun:
        """See Steering."""
        top, bottom = ground.levels.at(self.start), ground.levels.at(self.end)
        enlarge = LATENT_METHODS[self.larger]

        def steer(call: Call, reading: Reading) -> Reading:
            if not top >= call.sigma >= bottom:
                return reading
            handed, join = reading.passed, reading.join

            def passed(block: int, h: Tensor) -> tuple[Tensor, Tensor]:
                skip, h = handed(block, h)
                if block != self.block:
                    return skip, h
                small = self._small(h)
                return (skip, small) if self.after_skip else (small, small)

            def joined(block: int, h: Tensor, skip: Tensor) -> Tensor:
                if h.shape[-2:] != skip.shape[-2:]:
                    h = enlarge(h, skip.shape[-1], skip.shape[-2]).to(h)
                return join(block, h, skip)

            return replace(reading, passed=passed, join=joined)

        return Begun(steer)

    def _small(self, h: Tensor) -> Tensor:
        height, width = (max(1, round(side / self.factor)) for side in h.shape[-2:])
        return LATENT_METHODS[self.smaller](h, width, height).to(h)
