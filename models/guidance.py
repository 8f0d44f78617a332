"""Guidance: how the estimates for several texts become one. All of it can be pickled.

A guider's texts are numbered: 0 is what to go towards, 1 what to go away from, others as its kind of guidance says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self, runtime_checkable

from torch import Tensor

POSITIVE, NEGATIVE, BETWEEN = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Estimates:
    """What classifier-free guidance combines: two estimates of the clean latent, each [B, C, h, w], for x at `sigma`."""

    x: Tensor
    sigma: Tensor
    positive: Tensor
    negative: Tensor


Combine = Callable[[Estimates, float], Tensor]
"""(estimates, cfg) -> the guided estimate, [B, C, h, w]."""


def cfg(estimates: Estimates, scale: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598): D_neg + scale * (D_pos - D_neg)."""
    return estimates.negative + scale * (estimates.positive - estimates.negative)


@runtime_checkable
class Remembering(Protocol):
    """A way to combine that goes by earlier steps too."""

    def begun(self) -> Combine:
        """The same with a memory, which is still empty."""


Before = Callable[[Estimates, float], Estimates]
"""What changes the two estimates before they are combined."""
After = Callable[[Estimates, float, Tensor], Tensor]
"""(estimates, cfg, guided) -> the guided estimate, changed."""


@dataclass(frozen=True)
class Override:
    """A scale for a part of the way from noise to picture, whatever is asked of the sampler."""

    scale: float
    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True)
class Guiding:
    """How a model combines two estimates: some functions before, one that combines, some after, each in its order.

    overrides: scales of its own; where several hold, the last one counts.
    """

    before: tuple[Before, ...] = ()
    combine: Combine = cfg
    after: tuple[After, ...] = ()
    overrides: tuple[Override, ...] = ()

    def begun(self) -> Guiding:
        """The same for the steps of one sampling: what remembers earlier steps gets a memory."""
        return replace(self, combine=self.combine.begun()) if isinstance(self.combine, Remembering) else self

    def __call__(self, estimates: Estimates, scale: float) -> Tensor:
        """The guided estimate, [B, C, h, w]."""
        for change in self.before:
            estimates = change(estimates, scale)
        guided = self.combine(estimates, scale)
        for finish in self.after:
            guided = finish(estimates, scale, guided)
        return guided


PLAIN = Guiding()


class Guidance(Protocol):
    """A way to steer by the estimates for numbered texts."""

    @property
    def needed(self) -> frozenset[int]:
        """The numbers of the texts that are evaluated."""

    @property
    def strength(self) -> float:
        """How many times the difference between two estimates it takes at most."""

    def at(self, level: float) -> Guidance:
        """What it is at a noise level."""

    def with_scale(self, scale: float) -> Guidance:
        """The same at another scale; those that have two keep theirs."""

    def __call__(self, x: Tensor, sigma: Tensor, estimates: Mapping[int, Tensor], combine: Combine) -> Tensor:
        """The guided estimate, [B, C, h, w]. combine: classifier-free guidance as the model has it."""


@dataclass(frozen=True)
class Steady:
    """A guidance that is the same at all levels, and has no scale that could be another."""

    def at(self, level: float) -> Self:
        """Itself."""
        return self

    def with_scale(self, scale: float) -> Self:
        """Itself."""
        return self


@dataclass(frozen=True)
class Scaled(Steady):
    """A guidance with one scale."""

    scale: float

    def with_scale(self, scale: float) -> Self:
        """With that scale."""
        return replace(self, scale=scale)


@dataclass(frozen=True)
class Cfg(Scaled):
    """Towards text 0 and away from text 1. A scale of 1 leaves nothing of the latter, so it is not evaluated."""

    @property
    def needed(self) -> frozenset[int]:
        """Both, or the first alone."""
        return frozenset({POSITIVE}) if math.isclose(self.scale, 1.0) else frozenset({POSITIVE, NEGATIVE})

    @property
    def strength(self) -> float:
        """The scale."""
        return self.scale

    def __call__(self, x: Tensor, sigma: Tensor, estimates: Mapping[int, Tensor], combine: Combine) -> Tensor:
        """[B, C, h, w]."""
        if self.needed == {POSITIVE}:
            return estimates[POSITIVE]
        return combine(Estimates(x, sigma, estimates[POSITIVE], estimates[NEGATIVE]), self.scale)


def rescaled(estimates: Estimates, scale: float, multiplier: float) -> Tensor:
    """Guidance whose result deviates as the positive text's does (Lin et al. 2023, arXiv:2305.08891, section 3.4).

    In the terms of v, as the paper has it; of the result so scaled and the plain one it takes the share `multiplier`.
    """
    sigma = estimates.sigma
    root, x = (sigma**2 + 1).sqrt(), estimates.x / (sigma**2 + 1)
    positive, negative = ((x - d) * root / sigma for d in (estimates.positive, estimates.negative))
    v = negative + scale * (positive - negative)
    spreads = (part.std(dim=(1, 2, 3), keepdim=True) for part in (positive, v))
    v = multiplier * (v * next(spreads) / next(spreads)) + (1 - multiplier) * v
    return x - v * sigma / root


@dataclass(frozen=True)
class DualCfg(Steady):
    """Towards text 0 from text 2, and from there away from text 1, each with a scale of its own.

    nested: what the first makes of texts 0 and 2 is guided away from text 1 as a whole.
    """

    first: float
    second: float
    nested: bool = False

    @property
    def needed(self) -> frozenset[int]:
        """All three."""
        return frozenset({POSITIVE, NEGATIVE, BETWEEN})

    @property
    def strength(self) -> float:
        """The larger scale."""
        return max(self.first, self.second)

    def __call__(self, x: Tensor, sigma: Tensor, estimates: Mapping[int, Tensor], combine: Combine) -> Tensor:
        """[B, C, h, w]."""
        positive, negative, between = (estimates[number] for number in (POSITIVE, NEGATIVE, BETWEEN))
        if self.nested:
            made = combine(Estimates(x, sigma, positive, between), self.first)
            return negative + self.second * (made - negative)
        return combine(Estimates(x, sigma, between, negative), self.second) + self.first * (positive - between)


@dataclass(frozen=True)
class Overridden(Steady):
    """A guidance that is another one between some levels. others: (guidance, top, bottom); the last that holds counts."""

    usual: Guidance
    others: tuple[tuple[Guidance, float, float], ...]

    @property
    def needed(self) -> frozenset[int]:
        """All that are at any level."""
        return self.usual.needed.union(*(other.needed for other, _, _ in self.others))

    @property
    def strength(self) -> float:
        """The largest of all."""
        return max(self.usual.strength, *(other.strength for other, _, _ in self.others))

    def at(self, level: float) -> Guidance:  # type: ignore[override]
        """What holds at a level."""
        holding = [other for other, top, bottom in self.others if top >= level >= bottom]
        return holding[-1] if holding else self.usual

    def __call__(self, x: Tensor, sigma: Tensor, estimates: Mapping[int, Tensor], combine: Combine) -> Tensor:
        """[B, C, h, w]."""
        return self.at(float(sigma))(x, sigma, estimates, combine)


def overridden(guidance: Guidance, overrides: Sequence[Override], level_at: Callable[[float], float]) -> Guidance:
    """A guidance with the scales that a model has of its own. level_at: the noise level after a share of the way."""
    others = [(guidance.with_scale(one.scale), level_at(one.start), level_at(one.end)) for one in overrides]
    return Overridden(guidance, tuple(others)) if others else guidance
