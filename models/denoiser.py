"""From a network to D(x, sigma), guided by texts: the only thing samplers know."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle

import torch
from torch import Tensor

from models.areas import Area, bounds, lender
from models.family import SD1, Diffusion, Family
from models.guidance import NEGATIVE, POSITIVE, Combine, Guidance, cfg
from models.inpainting import Beside, channels_beside, fitted
from models.levels import NoiseLevels
from models.reading import Reading, of_one_length
from models.steering import (
    Around,
    Begun,
    Call,
    Estimates,
    Estimating,
    Finishing,
    Inside,
    Predict,
    Steer,
    Steered,
    Wrap,
    unsteered,
    wrapped,
)
from models.steps import Denoise, Pair
from models.types import Cond, Conditioning, Control
from models.unet import Tick, UNet

NOTHING = 1e-37  # the weight of no text: where none counts, the estimate is 0
LONGEST_REPEAT = 4  # contexts are joined in one batch when none need be repeated more often than this


class Denoiser:
    """The clean-latent estimate of a U-Net for a given text: D = prediction(unet(scaled x, t(sigma), text))."""

    def __init__(
        self,
        unet: UNet,
        diffusion: Diffusion,
        tick: Tick,
        steer: Steer = unsteered,
        wraps: Sequence[Wrap] = (),
        arounds: Sequence[Around] = (),
    ) -> None:
        self._unet = unet
        self._tick = tick
        self._steer = steer
        self._wraps = wraps
        self._inside: Inside = self._network
        for around in arounds:
            self._inside = partial(around, self._inside)
        self.levels = diffusion.levels
        self.prediction = diffusion.prediction
        weight = next(unet.parameters())
        self.device = weight.device
        self.dtype = weight.dtype

    def __call__(
        self, x: Tensor, sigma: Tensor, reading: Reading, texts: Sequence[Steered] = (), also: Steer = unsteered
    ) -> Tensor:
        """x: [B, 4, h, w] float32 at level sigma [] -> [B, 4, h, w] float32. texts: of equal parts of the batch; also: what
        steers this call besides."""
        evaluate = wrapped(partial(self._evaluate, also), self._wraps)
        return evaluate(x, sigma, reading, texts)

    def _evaluate(self, also: Steer, x: Tensor, sigma: Tensor, reading: Reading, texts: Sequence[Steered]) -> Tensor:
        t = self.levels.timestep(sigma).expand(len(x)).to(x.device)
        scaled = self.prediction.scaled(x, sigma).to(self.dtype)
        concat = None if reading.concat is None else reading.concat.to(self.dtype)
        vector = None if reading.vector is None else reading.vector.to(self.dtype)
        reading = replace(reading, context=reading.context.to(self.dtype), concat=concat, vector=vector)
        call = Call(scaled, t, float(sigma), texts)
        reading = also(call, self._steer(call, reading))
        output = self._inside(scaled, t, reading)
        return self.prediction.denoised(output.float(), x, sigma)

    def _network(self, x: Tensor, t: Tensor, reading: Reading) -> Tensor:
        output: Tensor = self._unet(x, t, reading, self._tick)
        return output


@dataclass(frozen=True, eq=False)
class _Text:
    """A text on the device, for latents of one size.

    area: None for the whole latent; weight: [b, 1, h, w] or a number; number: which of the guider's texts it belongs to;
    top and bottom: the levels between which it counts; vector: [1, V], what networks read besides that want it; controls:
    what steers the network with it.
    """

    context: Tensor
    vector: Tensor | None
    area: Area | None
    weight: Tensor | float
    fades: bool
    number: int
    top: float
    bottom: float
    beside: Beside | None
    controls: tuple[Control, ...]
    for_controls: Tensor | None


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
        family: Family = SD1,
        channels: int = 0,
        steering: Sequence[Begun] = (),
    ) -> None:
        """channels: how many the network reads beside those of a latent of its family. steering: what uses its estimates
        once more, and what is done around them, which makes `wanted` of `estimates`."""
        self._denoiser = denoiser
        self._conditionings = texts
        self._guidance = guidance
        self._combine = combine
        self._apart = apart
        self._family = family
        self._channels = channels
        self._finishes = [begun.finish for begun in steering if begun.finish]
        self._asked = frozenset[int]().union(*(begun.needs for begun in steering))
        self.wanted: Estimates = self.estimates
        for begun in steering:
            if begun.around_estimates is not None:
                self.wanted = partial(begun.around_estimates, self.wanted)
        self._placed: tuple[int, int] = (0, 0)
        self._texts: list[_Text] = []

    @property
    def levels(self) -> NoiseLevels:
        """The noise levels of the model."""
        return self._denoiser.levels

    @property
    def at_once(self) -> int:
        """For how many texts one call of the network is, at most."""
        conds = [cond for number in self._guidance.needed | self._asked for cond in self._conditionings[number].conds]
        return len(conds) if self._together([cond.tokens for cond in conds]) else 1

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x: [B, 4, h, w] at level sigma [] -> the guided estimate of the clean latent, [B, 4, h, w]."""
        guidance = self._guidance.at(float(sigma))
        return self._guided(x, sigma, self.wanted(x, sigma, guidance.needed | self._asked), guidance)

    def pair(self, x: Tensor, sigma: Tensor) -> Pair:
        """The guided estimate, and that for the text to go away from."""
        guidance = self._guidance.at(float(sigma))
        estimates = self.wanted(x, sigma, guidance.needed | self._asked | {POSITIVE, NEGATIVE})
        return Pair(self._guided(x, sigma, estimates, guidance), estimates[NEGATIVE])

    def _guided(self, x: Tensor, sigma: Tensor, estimates: Mapping[int, Tensor], guidance: Guidance) -> Tensor:
        guided = guidance(x, sigma, estimates, self._combine)

        def evaluate(x: Tensor, number: int, steer: Steer) -> Tensor:
            return self.estimates(x, sigma, frozenset({number}), steer)[number]

        for finish in self._finishes:
            guided = finish(Finishing(x, guided, estimates, evaluate))
        return guided

    def estimates(self, x: Tensor, sigma: Tensor, needed: frozenset[int], also: Steer = unsteered) -> dict[int, Tensor]:
        """For each numbered text the mean over its conds, [B, 4, h, w]. also: what steers the calls for it besides."""
        height, width = x.shape[-2:]
        if self._placed != (height, width):
            self._texts, self._placed = self._place(height, width), (height, width)
        sums = {number: torch.zeros_like(x) for number in needed}
        counts = {number: torch.full_like(x[:, :1], NOTHING) for number in needed}
        level = float(sigma)
        counting = [text for text in self._texts if text.number in needed and text.top >= level >= text.bottom]
        for area in dict.fromkeys(text.area for text in counting):
            texts = [text for text in counting if text.area == area]
            part = area or Area(height, width, 0, 0)
            ramps = part.ramps(height, width, x.device) if area else 1.0
            for text, estimate in zip(texts, self._evaluate(part.cut(x), sigma, texts, also), strict=True):
                weight = text.weight if isinstance(text.weight, float) else _of_batch(part.cut(text.weight), len(x))
                if text.fades:
                    weight = weight * ramps
                part.cut(sums[text.number]).add_(estimate * weight)
                part.cut(counts[text.number]).add_(weight)
        return {number: sums[number] / counts[number] for number in needed}

    def _place(self, height: int, width: int) -> list[_Text]:
        """All texts for a latent of that size, negative ones first; all of them have the same areas."""
        sides = [
            [self._on_latent(cond, number, height, width) for cond in conditioning.conds]
            for number, conditioning in enumerate(self._conditionings)
        ]
        sides[NEGATIVE:] = [_controlled(side, sides[POSITIVE]) for side in sides[NEGATIVE:]]
        for given in sides:
            for other in sides:
                for text in list(given) if other is not given else []:
                    if text.area and (lent := lender(other, text.area)):
                        other.append(replace(text, context=lent.context, vector=lent.vector, number=lent.number))
        texts = [text for side in reversed(sides) for text in side]
        return [text for text in texts if text.area is None or min(text.area.height, text.area.width) > 0]

    def _on_latent(self, cond: Cond, number: int, height: int, width: int) -> _Text:
        device, levels = self._denoiser.device, self._denoiser.levels
        weight: Tensor | float = cond.strength
        area = cond.area.within(height, width) if cond.area else None
        if cond.mask is not None:
            mask = fitted(cond.mask[:, None], len(cond.mask), height, width)
            weight = mask.to(device) * cond.strength
            area = bounds(mask[:, 0]).within(height, width) if cond.bounded else area
        factor, vector = self._family.latent.factor, None
        if self._family.vector:
            sizes = width * factor, height * factor
            vector = self._family.vector(cond.pooled, cond.said, *sizes, number == NEGATIVE).to(device)
        return _Text(
            cond.tokens.to(device), vector, area, weight, area is not None and cond.mask is None, number,
            levels.at(cond.start), levels.at(cond.end), cond.beside, cond.controls,
            None if cond.for_controls is None else cond.for_controls.to(device),
        )  # fmt: skip

    def _evaluate(self, x: Tensor, sigma: Tensor, texts: Sequence[_Text], also: Steer) -> list[Tensor]:
        """The estimate for each text."""
        contexts = [text.context for text in texts]
        scale, batch = self._family.latent.scale, len(x)
        besides = [channels_beside(self._channels, text.beside, x, scale) for text in texts]
        vectors = [None if text.vector is None else text.vector.expand(batch, -1) for text in texts]
        if not self._together(contexts):
            return [
                self._denoiser(x, sigma, Reading(c.expand(batch, -1, -1), concat=beside, vector=vector), [text], also)
                for text, c, beside, vector in zip(texts, contexts, besides, vectors, strict=True)
            ]
        joined = [context.expand(batch, -1, -1) for context in of_one_length(contexts)]
        reading = Reading(torch.cat(joined), concat=_one_after_another(besides), vector=_one_after_another(vectors))
        return list(self._denoiser(x.repeat(len(contexts), 1, 1, 1), sigma, reading, texts, also).chunk(len(contexts)))

    def _together(self, contexts: Sequence[Tensor]) -> bool:
        lengths = [c.shape[1] for c in contexts]
        return not self._apart and math.lcm(*lengths) <= LONGEST_REPEAT * min(lengths, default=1)


class Predicted:
    """D(x, sigma) as what is done around the guided one has it; the last is the outermost."""

    def __init__(self, guided: Estimating, predicts: Sequence[Predict]) -> None:
        self._guided = guided
        self._denoise: Denoise = guided
        for predict in predicts:
            self._denoise = partial(predict, guided, self._denoise)

    @property
    def levels(self) -> NoiseLevels:
        """The noise levels of the model."""
        return self._guided.levels

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x: [B, 4, h, w] at level sigma [] -> the estimate of the clean latent, [B, 4, h, w]."""
        return self._denoise(x, sigma)

    def pair(self, x: Tensor, sigma: Tensor) -> Pair:
        """That, and the estimate for the text to go away from."""
        return Pair(self(x, sigma), self._guided.estimates(x, sigma, frozenset({NEGATIVE}))[NEGATIVE])


def with_negative_of(
    theirs: Estimates, ours: Estimates, x: Tensor, sigma: Tensor, needed: frozenset[int]
) -> dict[int, Tensor]:
    """The estimates, where another model's is that for the text to go away from, such as a weaker one's (Karras et al. 2024,
    arXiv:2406.02507)."""
    found = ours(x, sigma, needed - {NEGATIVE})
    return found | theirs(x, sigma, frozenset({NEGATIVE})) if NEGATIVE in needed else found


def _one_after_another(tensors: Sequence[Tensor | None]) -> Tensor | None:
    """Tensors along their batch; None, where there is none."""
    given = [tensor for tensor in tensors if tensor is not None]
    return torch.cat(given) if given else None


def _of_batch(weight: Tensor, batch: int) -> Tensor:
    """[b, 1, h, w] -> [batch, 1, h, w]; fewer begin anew."""
    return weight[torch.arange(batch, device=weight.device) % len(weight)]


def _controlled(side: list[_Text], positive: list[_Text]) -> list[_Text]:
    """Texts for the whole picture, with the positive ones' controls that count for all, where none has its own."""
    whole = [text for text in side if text.area is None]
    lent = [text.controls for text in positive if any(control.for_all for control in text.controls)]
    if not lent or any(text.controls for text in whole):
        return side
    given = cycle(lent)
    return [replace(text, controls=next(given)) if text.area is None else text for text in side]
