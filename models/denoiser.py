"""From a network to D(x, sigma), guided by texts: the only thing samplers know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.areas import Area, lender
from models.family import Diffusion
from models.guidance import NEGATIVE, POSITIVE, Combine, Guidance, cfg
from models.reading import Reading
from models.steps import Pair
from models.types import Conditioning
from models.unet import Tick, UNet

NOTHING = 1e-37  # the weight of no text: where none counts, the estimate is 0
LONGEST_REPEAT = 4  # contexts are joined in one batch when none need be repeated more often than this


class Denoiser:
    """The clean-latent estimate of a U-Net for a given text: D = prediction(unet(scaled x, t(sigma), text))."""

    def __init__(self, unet: UNet, diffusion: Diffusion, tick: Tick) -> None:
        self._unet = unet
        self._tick = tick
        self.levels = diffusion.levels
        self.prediction = diffusion.prediction
        weight = next(unet.parameters())
        self.device = weight.device
        self.dtype = weight.dtype

    def __call__(self, x: Tensor, sigma: Tensor, reading: Reading) -> Tensor:
        """x: [B, 4, h, w] float32 at level sigma [] -> [B, 4, h, w] float32."""
        t = self.levels.timestep(sigma).expand(len(x)).to(x.device)
        scaled = self.prediction.scaled(x, sigma).to(self.dtype)
        output = self._unet(scaled, t, replace(reading, context=reading.context.to(self.dtype)), self._tick)
        return self.prediction.denoised(output.float(), x, sigma)


@dataclass(frozen=True, eq=False)
class _Text:
    """A text on the device. area: None for the whole latent; number: which of the guider's texts it belongs to."""

    context: Tensor
    area: Area | None
    strength: float
    number: int


class Guided:
    """D(x, sigma) under guidance by several texts.

    All texts for the same part of the picture go through the network in one call, unless their lengths are too
    different or they are to be kept `apart`, which takes less memory. Where several conds of one text count, theirs is
    the mean of the estimates, weighted by strength; an area's fades at its edges.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        texts: Sequence[Conditioning],
        guidance: Guidance,
        combine: Combine = cfg,
        apart: bool = False,
    ) -> None:
        self._denoiser = denoiser
        self._conditionings = texts
        self._guidance = guidance
        self._combine = combine
        self._apart = apart
        self._placed: tuple[int, int] = (0, 0)
        self._texts: list[_Text] = []

    @property
    def at_once(self) -> int:
        """For how many texts one call of the network is, at most."""
        conds = [cond for number in self._guidance.needed for cond in self._conditionings[number].conds]
        return len(conds) if self._together([cond.tokens for cond in conds]) else 1

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x: [B, 4, h, w] at level sigma [] -> the guided estimate of the clean latent, [B, 4, h, w]."""
        return self._guidance(x, sigma, self._estimates(x, sigma, self._guidance.needed), self._combine)

    def pair(self, x: Tensor, sigma: Tensor) -> Pair:
        """The guided estimate, and that for the text to go away from."""
        estimates = self._estimates(x, sigma, self._guidance.needed | {POSITIVE, NEGATIVE})
        return Pair(self._guidance(x, sigma, estimates, self._combine), estimates[NEGATIVE])

    def _estimates(self, x: Tensor, sigma: Tensor, needed: frozenset[int]) -> dict[int, Tensor]:
        """For each numbered text the mean over its conds."""
        height, width = x.shape[-2:]
        if self._placed != (height, width):
            self._texts, self._placed = self._place(height, width), (height, width)
        sums = {number: torch.zeros_like(x) for number in needed}
        counts = {number: torch.full_like(x[:1, :1], NOTHING) for number in needed}
        counting = [text for text in self._texts if text.number in needed]
        for area in dict.fromkeys(text.area for text in counting):
            texts = [text for text in counting if text.area == area]
            part = area or Area(height, width, 0, 0)
            weight = part.ramps(height, width, x.device) if area else 1.0
            for text, estimate in zip(texts, self._evaluate(part.cut(x), sigma, texts), strict=True):
                part.cut(sums[text.number]).add_(estimate * (weight * text.strength))
                part.cut(counts[text.number]).add_(weight * text.strength)
        return {number: sums[number] / counts[number] for number in needed}

    def _place(self, height: int, width: int) -> list[_Text]:
        """All texts for a latent of that size, negative ones first; all of them have the same areas."""
        sides = [
            [
                _Text(
                    cond.tokens.to(self._denoiser.device),
                    cond.area.within(height, width) if cond.area else None,
                    cond.strength,
                    number,
                )
                for cond in conditioning.conds
            ]
            for number, conditioning in enumerate(self._conditionings)
        ]
        for given in sides:
            for other in sides:
                for text in list(given) if other is not given else []:
                    if text.area and (lent := lender(other, text.area)):
                        other.append(replace(text, context=lent.context, number=lent.number))
        texts = [text for side in reversed(sides) for text in side]
        return [text for text in texts if text.area is None or min(text.area.height, text.area.width) > 0]

    def _evaluate(self, x: Tensor, sigma: Tensor, texts: Sequence[_Text]) -> list[Tensor]:
        """The estimate for each text."""
        contexts = [text.context for text in texts]
        if not self._together(contexts):
            return [self._denoiser(x, sigma, Reading(c.expand(len(x), -1, -1))) for c in contexts]
        # Attention's softmax does not change when its keys are repeated as a whole.
        length = math.lcm(*(c.shape[1] for c in contexts))
        joined = [c.repeat(1, length // c.shape[1], 1).expand(len(x), -1, -1) for c in contexts]
        batch = x.repeat(len(contexts), 1, 1, 1)
        return list(self._denoiser(batch, sigma, Reading(torch.cat(joined))).chunk(len(contexts)))

    def _together(self, contexts: Sequence[Tensor]) -> bool:
        lengths = [c.shape[1] for c in contexts]
        return not self._apart and math.lcm(*lengths) <= LONGEST_REPEAT * min(lengths, default=1)
