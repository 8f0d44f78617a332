"""Normalized attention guidance (Chen et al. 2025, arXiv:2505.21179): away from a negative text within cross-attention."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.attention import Inner, Site
from models.guidance import NEGATIVE
from models.reading import Reading
from models.steering import Begun, Call, Ground


@dataclass(frozen=True)
class NormalizedAttention:
    """What pixels see in the positive text, extrapolated from what the same pixels see in the negative one (equation 7),
    kept from growing long (8 and 9), and blended with what they saw (10).

    It costs one more attention to a text, not an evaluation, and so serves models that are sampled without guidance.
    scale: of the extrapolation; tau: how many times as long, by the sum of absolute values, a pixel's vector may become;
    alpha: the share of the result.
    """

    scale: float
    tau: float
    alpha: float

    def begin(self, ground: Ground) -> Begun:
        """See Steering. Without a negative text nothing changes."""
        if NEGATIVE not in ground.texts or self.alpha == 0:
            return Begun()
        words = ground.texts[NEGATIVE]

        def steer(call: Call, reading: Reading) -> Reading:
            rows = [i for i in range(len(call.x)) if call.texts[i // call.each].number != NEGATIVE]
            if not rows:
                return reading
            chosen, around, attend = torch.tensor(rows, device=call.x.device), reading.around, reading.attend
            away = words.to(reading.context).expand(len(call.x), -1, -1)
            length = reading.context.shape[1]

            def with_both(site: Site, x: Tensor, keys: Tensor, values: Tensor, inner: Inner) -> Tensor:
                if site.text:
                    keys, values = (torch.cat([each, away], dim=1) for each in (keys, values))
                return around(site, x, keys, values, inner)

            def guided(site: Site, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                if not site.text:
                    return attend(site, q, k, v)
                seen = attend(site, q, k[:, :length], v[:, :length])
                avoided = attend(site, q, k[:, length:], v[:, length:])
                return seen.index_copy(0, chosen, self.combined(seen[chosen], avoided[chosen]))

            return replace(reading, around=with_both, attend=guided)

        return Begun(steer)

    def combined(self, seen: Tensor, avoided: Tensor) -> Tensor:
        """What pixels see of the positive and of the negative text, [B, N, C] -> what they go on with."""
        further = seen * self.scale - avoided * (self.scale - 1)
        before, after = (each.abs().sum(dim=-1, keepdim=True) for each in (seen, further))
        further = further * (self.tau * before / after.clamp(min=1e-7)).clamp(max=1)
        return self.alpha * further + (1 - self.alpha) * seen
