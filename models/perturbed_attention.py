"""Perturbed-attention guidance (Ahn et al. 2024, arXiv:2403.17377): away from what a model draws when it looks at nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from models.attention import Site
from models.guidance import POSITIVE
from models.reading import Reading
from models.steering import Begun, Call, Finishing, Ground


@dataclass(frozen=True)
class PerturbedAttention:
    """D + scale (D_pos - D_perturbed), where pixels of the middle block see themselves alone (equation 16)."""

    scale: float

    def begin(self, ground: Ground) -> Begun:
        """See Steering."""
        return Begun(finish=self._finished if self.scale else None, needs=frozenset({POSITIVE}))

    def _finished(self, at: Finishing) -> Tensor:
        return at.guided + self.scale * (at.estimates[POSITIVE] - at.evaluate(at.x, POSITIVE, _looking_at_nothing))


def _looking_at_nothing(call: Call, reading: Reading) -> Reading:
    plain = reading.attend

    def attend(site: Site, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return v if site.place.side == "middle" and not site.text else plain(site, q, k, v)

    return replace(reading, attend=attend)
