"""From a network that predicts noise to D(x, sigma), the only thing samplers know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.areas import Area, lender
from models.schedules import NoiseLevels
from models.types import Conditioning
from models.unet import Tick, UNet

LATENT_SCALE = 0.18215  # 1 / the standard deviation of SD v1's latents (Rombach et al. 2022, appendix G)
NOTHING = 1e-37  # the weight of no text: where none counts, the estimate is 0
LONGEST_REPEAT = 4  # contexts are joined in one batch when none need be repeated more often than this


class Denoiser:
    """The clean-latent estimate of an eps-predicting U-Net for given text.

    eps = unet(x / sqrt(sigma ** 2 + 1), t(sigma), text); D = x - sigma * eps.
    """

    def __init__(self, unet: UNet, levels: NoiseLevels, tick: Tick) -> None:
        self._unet = unet
        self._tick = tick
        self.levels = levels
        weight = next(unet.parameters())
        self.device = weight.device
        self.dtype = weight.dtype

    def __call__(self, x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        """x: [B, 4, h, w] float32 at level sigma [], context: [B, T, D] -> [B, 4, h, w] float32."""
        t = self.levels.timestep(sigma).expand(len(x)).to(x.device)
        scaled = (x / (sigma**2 + 1).sqrt()).to(self.dtype)
        eps = self._unet(scaled, t, context.to(self.dtype), self._tick).float()
        return x - eps * sigma


@dataclass(frozen=True, eq=False)
class _Text:
    """A text on the device. area: None for the whole latent; away: whether it is what to guide away from."""

    context: Tensor
    area: Area | None
    strength: float
    away: bool


class Guided:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598): D = D_neg + cfg * (D_pos - D_neg).

    A cfg of 1 leaves nothing of the negative text, so it is not evaluated. All texts for the same part of the picture
    go through the network in one call, unless their lengths are too different or they are to be kept `apart`, which
    takes less memory. Where several texts count, theirs is the mean of the estimates, weighted by strength; an area's
    fades at its edges.
    """

    def __init__(
        self, denoiser: Denoiser, positive: Conditioning, negative: Conditioning, cfg: float, apart: bool = False
    ) -> None:
        self._denoiser = denoiser
        self._positive = positive
        self._negative = negative
        self._cfg = cfg
        self._one_sided = math.isclose(cfg, 1.0)
        self._apart = apart
        self._placed: tuple[int, int] = (0, 0)
        self._texts: list[_Text] = []

    @property
    def at_once(self) -> int:
        """For how many texts one call of the network is, at most."""
        conds = [*([] if self._one_sided else self._negative.conds), *self._positive.conds]
        return len(conds) if self._together([cond.tokens for cond in conds]) else 1

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x: [B, 4, h, w] at level sigma [] -> the guided estimate of the clean latent, [B, 4, h, w]."""
        height, width = x.shape[-2:]
        if self._placed != (height, width):
            self._texts, self._placed = self._place(height, width), (height, width)
        sums = [torch.zeros_like(x) for _ in range(2)]
        counts = [torch.full_like(x[:1, :1], NOTHING) for _ in range(2)]
        for area in dict.fromkeys(text.area for text in self._texts):
            texts = [text for text in self._texts if text.area == area]
            part = area or Area(height, width, 0, 0)
            weight = part.ramps(height, width, x.device) if area else 1.0
            for text, estimate in zip(texts, self._evaluate(part.cut(x), sigma, texts), strict=True):
                part.cut(sums[text.away]).add_(estimate * (weight * text.strength))
                part.cut(counts[text.away]).add_(weight * text.strength)
        positive, negative = (total / count for total, count in zip(sums, counts, strict=True))
        return positive if self._one_sided else negative + self._cfg * (positive - negative)

    def _place(self, height: int, width: int) -> list[_Text]:
        """All texts for a latent of that size, negative ones first; both sides have the same areas."""

        def side(conditioning: Conditioning, away: bool) -> list[_Text]:
            return [
                _Text(
                    cond.tokens.to(self._denoiser.device),
                    cond.area.within(height, width) if cond.area else None,
                    cond.strength,
                    away,
                )
                for cond in conditioning.conds
            ]

        positive, negative = side(self._positive, False), side(self._negative, True)
        for given, other in ((positive, negative), (negative, positive)):
            for text in list(given):
                if text.area and (lent := lender(other, text.area)):
                    other.append(replace(text, context=lent.context, away=lent.away))
        texts = positive if self._one_sided else negative + positive
        return [text for text in texts if text.area is None or min(text.area.height, text.area.width) > 0]

    def _evaluate(self, x: Tensor, sigma: Tensor, texts: Sequence[_Text]) -> list[Tensor]:
        """The estimate for each text."""
        contexts = [text.context for text in texts]
        if not self._together(contexts):
            return [self._denoiser(x, sigma, c.expand(len(x), -1, -1)) for c in contexts]
        # Attention's softmax does not change when its keys are repeated as a whole.
        length = math.lcm(*(c.shape[1] for c in contexts))
        joined = [c.repeat(1, length // c.shape[1], 1).expand(len(x), -1, -1) for c in contexts]
        batch = x.repeat(len(contexts), 1, 1, 1)
        return list(self._denoiser(batch, sigma, torch.cat(joined)).chunk(len(contexts)))

    def _together(self, contexts: Sequence[Tensor]) -> bool:
        lengths = [c.shape[1] for c in contexts]
        return not self._apart and math.lcm(*lengths) <= LONGEST_REPEAT * min(lengths, default=1)
