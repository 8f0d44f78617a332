"""DeepCache (Ma et al. 2023, arXiv:2312.00858): what the deep part of a U-Net makes is kept for some steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from models.reading import Reading
from models.steering import Begun, Call, Ground
from models.turns import Turns


@dataclass(frozen=True)
class DeepCache:
    """The deep part is computed in every `interval`-th step; the others take it from the last one (section 3.2).

    branch: how many input blocks are computed always, besides the first, each with the output block that reads it: the
    skip branch 0 is the cheapest. start and end: the part of the way from noise to picture where it is done.
    """

    interval: int
    branch: int = 0
    start: float = 0.0
    end: float = 1.0

    def begin(self, ground: Ground) -> Begun:
        """See Steering."""
        top, bottom = ground.levels.at(self.start), ground.levels.at(self.end)
        turns = Turns()
        kept: dict[int, Tensor] = {}

        def steer(call: Call, reading: Reading) -> Reading:
            if not top >= call.sigma >= bottom:
                return reading
            step, which = turns.next(call.sigma)

            def deep(compute: Callable[[], Tensor]) -> Tensor:
                held = kept.get(which)
                if step % self.interval == 0 or held is None or len(held) != len(call.x):
                    held = kept[which] = compute()
                return held

            return replace(reading, shallow=self.branch + 1, deep=deep)

        return Begun(steer)
