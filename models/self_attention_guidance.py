"""Self-attention guidance (Hong et al. 2022, arXiv:2210.00939): away from a picture that is blurred where the model looks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from models.attention import Site
from models.guidance import NEGATIVE
from models.reading import Reading
from models.steering import Begun, Call, Finishing, Ground, unsteered

KERNEL = 9  # cells a side of the blur
SMALLEST = 4  # cells a side of latents that are too small for it
ABOVE = 1.0  # how much of all attention a place gets that is looked at: its even share


@dataclass(frozen=True)
class SelfAttentionGuidance:
    """D + scale (blurred - D_neg(x + blurred - D_neg)), where `blurred` is D_neg, blurred where the middle block looks.

    (Algorithm 1, for two texts.) sigma: of the blur, in cells.
    """

    scale: float
    sigma: float

    def begin(self, ground: Ground) -> Begun:
        """See Steering."""
        if not self.scale:
            return Begun()
        seen = _Seen()
        return Begun(seen.steer, lambda at: self._finished(at, seen), frozenset({NEGATIVE}))

    def _finished(self, at: Finishing, seen: _Seen) -> Tensor:
        negative = at.estimates[NEGATIVE]
        if seen.looked_at is None or min(at.x.shape[-2:]) <= SMALLEST:
            return at.guided
        degraded = blurred_where(negative, seen.looked_at, self.sigma)
        return at.guided + self.scale * (degraded - at.evaluate(at.x + degraded - negative, NEGATIVE, unsteered))


class _Seen:
    """Where the middle block looked for the negative text when it was last asked. [B, 1, h, w], 1 where it did."""

    def __init__(self) -> None:
        self.looked_at: Tensor | None = None

    def steer(self, call: Call, reading: Reading) -> Reading:
        rows = [
            i * call.each + j for i, text in enumerate(call.texts) if text.number == NEGATIVE for j in range(call.each)
        ]
        if not rows:
            return reading
        plain, first = reading.attend, rows[: call.each]

        def attend(site: Site, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if site.place.side == "middle" and not site.text and site.depth == 0:
                self.looked_at = looked_at(q[first], k[first], site.heads).view(-1, 1, *call.size(q.shape[1]))
            return plain(site, q, k, v)

        return replace(reading, attend=attend)


def looked_at(q: Tensor, k: Tensor, heads: int) -> Tensor:
    """1 for places that get more than their share of attention, by the mean over heads. [B, N, C] -> [B, N]."""
    q, k = (x.unflatten(-1, (heads, -1)).transpose(1, 2).float() for x in (q, k))
    attention = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1)
    return (attention.mean(1).sum(1) > ABOVE).float()


def blurred_where(x: Tensor, mask: Tensor, sigma: float) -> Tensor:
    """x [B, C, H, W] with a Gaussian blur of KERNEL cells where a mask [B, 1, h, w] is 1; mirrored at its edges."""
    channels = x.shape[1]
    places = torch.arange(KERNEL, device=x.device, dtype=x.dtype) - KERNEL // 2
    weights = torch.exp(-((places / max(sigma, 1e-6)) ** 2) / 2)
    weights = weights / weights.sum()
    kernel = (weights[:, None] * weights).expand(channels, 1, KERNEL, KERNEL)
    blurred = F.conv2d(F.pad(x, (KERNEL // 2,) * 4, mode="reflect"), kernel, groups=channels)
    where = F.interpolate(mask, size=x.shape[-2:], mode="nearest").to(x)
    return blurred * where + x * (1 - where)
