"""What steers a U-Net besides its texts: what a call of it reads is changed, and its estimates are used once more."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from models.config import UNetConfig
from models.levels import NoiseLevels
from models.reading import Reading
from models.steps import Denoise, GuidedDenoise


class Steered(Protocol):
    """One of the texts that a call is for."""

    @property
    def number(self) -> int:
        """Which of the guider's texts it belongs to."""

    @property
    def controls(self) -> Sequence[object]:
        """The controls that count with it."""

    @property
    def for_controls(self) -> Tensor | None:
        """The text that their networks read instead of the U-Net's, [1, T, D]."""


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

    def size(self, tokens: int) -> tuple[int, int]:
        """Height and width of the feature map that has so many places: the latent's, halved until they fit."""
        height, width = self.x.shape[-2:]
        while height * width > tokens:
            height, width = math.ceil(height / 2), math.ceil(width / 2)
        return height, width


Steer = Callable[[Call, Reading], Reading]
"""What a U-Net reads at a call -> what it reads when it is steered so."""


Evaluation = Callable[[Tensor, Tensor, Reading, Sequence[Steered]], Tensor]
"""(x [B, 4, h, w] at level sigma [], sigma, reading, texts of equal parts of the batch) -> the estimate of the clean latent."""

Wrap = Callable[[Evaluation, Tensor, Tensor, Reading, Sequence[Steered]], Tensor]
"""What is done around an evaluation, which it is given: once, several times, or with something else to read."""


def wrapped(evaluate: Evaluation, wraps: Sequence[Wrap]) -> Evaluation:
    """The evaluation with all of them around it, the last one outermost."""
    for wrap in wraps:
        evaluate = partial(wrap, evaluate)
    return evaluate


Inside = Callable[[Tensor, Tensor, Reading], Tensor]
"""(x as the network gets it, t [B], reading) -> what it answers."""

Around = Callable[[Inside, Tensor, Tensor, Reading], Tensor]
"""What is done around the network itself, which it is given."""

MaskAt = Callable[[Tensor, Tensor], Tensor]
"""(mask [B, 1, h, w], sigma []) -> the mask that counts at that level."""


class Estimating(GuidedDenoise, Protocol):
    """The guided estimate, and those that it is made of."""

    def estimates(self, x: Tensor, sigma: Tensor, needed: frozenset[int], also: Steer = ...) -> dict[int, Tensor]:
        """One for each of these texts, steered besides."""


Estimates = Callable[[Tensor, Tensor, frozenset[int]], dict[int, Tensor]]
"""(x [B, 4, h, w], sigma [], numbers of texts) -> an estimate of the clean latent for each."""

AroundEstimates = Callable[[Estimates, Tensor, Tensor, frozenset[int]], dict[int, Tensor]]
"""What is done around the estimates that guidance combines."""


Predict = Callable[[Estimating, Denoise, Tensor, Tensor], Tensor]
"""(what all is made of, the guided estimate so far, x, sigma) -> the estimate that the sampler gets."""


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


Evaluate = Callable[[Tensor, int, Steer], Tensor]
"""(x [B, 4, h, w], number of a text, steer) -> one estimate more of the clean latent, at the level that sampling is at."""


@dataclass(frozen=True, eq=False)
class Finishing:
    """What may change a guided estimate. estimates: by the numbers of their texts."""

    x: Tensor
    guided: Tensor
    estimates: Mapping[int, Tensor]
    evaluate: Evaluate


Finish = Callable[[Finishing], Tensor]
"""-> the guided estimate, changed, [B, 4, h, w]."""


@dataclass(frozen=True, eq=False)
class Begun:
    """What steers one sampling. needs: numbers of the texts whose estimates `finish` wants, whatever guidance does. wrap: what
    is done around each evaluation, around: around the network itself, predict: around the guided estimate; the last one's is
    the outermost. mask_at: how a mask counts at each level; around_estimates: around those that guidance combines."""

    steer: Steer = unsteered
    finish: Finish | None = None
    needs: frozenset[int] = frozenset()
    wrap: Wrap | None = None
    around: Around | None = None
    predict: Predict | None = None
    mask_at: MaskAt | None = None
    around_estimates: AroundEstimates | None = None


@dataclass(frozen=True)
class Ground:
    """What a sampling stands on: the shape of its U-Net, its noise levels, and what its texts say, by their numbers, as far
    as they say anything: the first cond of each, [1, T, D]; sigmas: the levels that will be visited."""

    unet: UNetConfig
    levels: NoiseLevels
    texts: Mapping[int, Tensor] = field(default_factory=dict)
    sigmas: Tensor = field(default_factory=lambda: torch.zeros(0))


class Steering(Protocol):
    """What changes how the U-Net of a model is called. Frozen and picklable; what it remembers, it remembers of one
    sampling alone."""

    def begin(self, ground: Ground) -> Begun:
        """Get ready for a sampling."""
