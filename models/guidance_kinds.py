"""Kinds of guidance beside the plain one: what is changed before two estimates are combined, instead of it, and after.

Estimates are of the clean latent, D. The noise that a network predicts is (x - D) / sigma, so a difference of estimates
is one of noises times -sigma: what papers say of a direction holds of both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from models.guidance import BETWEEN, NEGATIVE, POSITIVE, Combine, Estimates, Scaled

CELLS = (1, 2, 3)  # all numbers of one item


@dataclass(frozen=True)
class Projected:
    """Adaptive projected guidance (Sadat et al. 2024, arXiv:2410.02416, Algorithm 1).

    The difference of the estimates is taken apart: what is parallel to the positive one, which makes colours too strong,
    counts `eta` times. threshold: its longest length, 0 for any; momentum: how much of the differences of earlier steps
    goes into it, mostly below 0.
    """

    eta: float
    threshold: float
    momentum: float

    def begun(self) -> Combine:
        """With a memory of its own, for the steps of one sampling."""
        return _ProjectedSteps(self)

    def __call__(self, estimates: Estimates, scale: float) -> Tensor:
        """The guided estimate, of a step that is none's next."""
        return self.guided(estimates, scale, estimates.positive - estimates.negative)

    def guided(self, estimates: Estimates, scale: float, difference: Tensor) -> Tensor:
        """The guided estimate for a difference that may hold those of earlier steps."""
        if self.threshold > 0:
            length = torch.linalg.vector_norm(difference, dim=CELLS, keepdim=True)
            difference = difference * (self.threshold / length).clamp(max=1)
        parallel = along(difference, estimates.positive)
        return estimates.positive + (scale - 1) * (difference - parallel + self.eta * parallel)


@dataclass
class _ProjectedSteps:
    """The same, step after step. A level that rises begins anew."""

    settings: Projected
    sigma: float = 0.0
    average: Tensor | float = field(default=0.0, repr=False)

    def __call__(self, estimates: Estimates, scale: float) -> Tensor:
        """The guided estimate, [B, C, h, w]."""
        sigma = float(estimates.sigma)
        past = self.average if sigma <= self.sigma else 0.0
        difference = estimates.positive - estimates.negative + self.settings.momentum * past
        self.sigma, self.average = sigma, difference
        return self.settings.guided(estimates, scale, difference)


def zero_star(estimates: Estimates, scale: float) -> Tensor:
    """CFG-Zero*: the negative noise is first scaled to come as near to the positive one as it can.

    Fan et al. 2025 (arXiv:2503.18886), equation 12 and Algorithm 1, without their empty first steps: those leave out what
    a network of flows does worst, and this is not one.
    """
    positive, negative = (estimates.x - d for d in (estimates.positive, estimates.negative))
    negative = along(positive, negative)
    return estimates.x - (negative + scale * (positive - negative))


def damped(estimates: Estimates, scale: float) -> Estimates:
    """Tangential damping: of the negative noise what lies along the direction both estimates share.

    Kwon et al. 2025 (arXiv:2503.18137), equation 9: the first right singular vector of the two noises, one above the other.
    """
    noises = torch.stack([(estimates.x - d).flatten(1) for d in (estimates.positive, estimates.negative)], dim=1)
    shared = torch.linalg.svd(noises, full_matrices=False).Vh[:, :1]
    kept = noises[:, 1:] @ shared.mT @ shared
    return replace(estimates, negative=estimates.x - kept.reshape(estimates.x.shape))


def normed(estimates: Estimates, scale: float, guided: Tensor, strength: float) -> Tensor:
    """The guided estimate, nowhere longer than the positive one: cell by cell, over the channels.

    Qwen-Image's pipeline in diffusers gives it the positive one's length; here it is only shortened. strength: how much of
    the way, from 0, where nothing changes, to 1.
    """
    longest, length = (d.norm(dim=1, keepdim=True) for d in (estimates.positive, guided))
    shorter = (longest / length.clamp(min=1e-8)).clamp(max=1)
    return guided * (1 + strength * (shorter - 1))


def scaled_noise(estimates: Estimates, scale: float, guided: Tensor, factor: float) -> Tensor:
    """The guided estimate with the noise taken from x divided by `factor` (Ning et al. 2024, arXiv:2308.15321, section 5).

    A network saw exact latents in training, not those that it makes itself: it takes a little too much away.
    """
    return estimates.x - (estimates.x - guided) / factor


def frequencies_scaled(estimates: Estimates, scale: float, low: float, high: float, cutoff: int) -> Estimates:
    """The difference of the estimates with its low and its high frequencies times a factor each (FreSca).

    Huang et al. 2025 (arXiv:2504.02154), equation 6: low are those within `cutoff` of 0 on both axes.
    """
    difference = estimates.positive - estimates.negative
    spectrum = torch.fft.fftshift(torch.fft.fft2(difference), dim=(-2, -1))
    height, width = spectrum.shape[-2:]
    factor = torch.full((height, width), high, device=spectrum.device)
    rows, columns = (slice(max(side // 2 - cutoff, 0), side // 2 + cutoff) for side in (height, width))
    factor[rows, columns] = low
    filtered = torch.fft.ifft2(torch.fft.ifftshift(spectrum * factor, dim=(-2, -1))).real
    return replace(estimates, positive=estimates.negative + filtered)


@dataclass(frozen=True)
class Operated:
    """The difference of the estimates, changed by what can be done to a latent."""

    operation: Callable[[Tensor], Tensor]

    def __call__(self, estimates: Estimates, scale: float) -> Estimates:
        """The positive estimate is put where the changed difference leads."""
        difference = self.operation(estimates.positive - estimates.negative)
        return replace(estimates, positive=estimates.negative + difference)


@dataclass(frozen=True)
class PerpNeg(Scaled):
    """Away from the negative text only as far as that does not lead back to the positive one.

    Armandpour et al. 2023 (arXiv:2304.04968), equation 4. Text 2 is the empty one, from which both lead.
    """

    strength_negative: float

    @property
    def needed(self) -> frozenset[int]:
        """All three."""
        return frozenset({POSITIVE, NEGATIVE, BETWEEN})

    @property
    def strength(self) -> float:
        """The scale."""
        return self.scale

    def __call__(self, x: Tensor, sigma: Tensor, estimates: Mapping[int, Tensor], combine: Combine) -> Tensor:
        """[B, C, h, w]. Lengths and products are those of the whole batch."""
        empty = estimates[BETWEEN]
        positive, negative = estimates[POSITIVE] - empty, estimates[NEGATIVE] - empty
        share = (negative * positive).sum() / positive.square().sum().clamp(min=1e-20)
        perpendicular = negative - share * positive
        return combine(
            Estimates(x, sigma, empty + positive - self.strength_negative * perpendicular, empty), self.scale
        )


def along(x: Tensor, direction: Tensor) -> Tensor:
    """What of each item of x lies along a direction."""
    product = (x * direction).sum(dim=CELLS, keepdim=True)
    return direction * (product / direction.square().sum(dim=CELLS, keepdim=True).clamp(min=1e-20))
