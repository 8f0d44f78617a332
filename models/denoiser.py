"""From a network that predicts noise to D(x, sigma), the only thing samplers know."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from models.schedules import NoiseLevels
from models.types import Conditioning
from models.unet import Tick, UNet

LATENT_SCALE = 0.18215  # 1 / the standard deviation of SD v1's latents (Rombach et al. 2022, appendix G)
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


class Guided:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598): D = D_neg + cfg * (D_pos - D_neg).

    A cfg of 1 leaves nothing of the negative text, so it is not evaluated. All texts go through the network in one
    call, unless their lengths are too different or they are to be kept `apart`, which takes less memory.
    """

    def __init__(
        self, denoiser: Denoiser, positive: Conditioning, negative: Conditioning, cfg: float, apart: bool = False
    ) -> None:
        self._denoiser = denoiser
        self._positive = _contexts(positive, denoiser.device)
        self._negative = [] if math.isclose(cfg, 1.0) else _contexts(negative, denoiser.device)
        self._cfg = cfg
        lengths = [c.shape[1] for c in self._negative + self._positive]
        self._length = math.lcm(*lengths)
        self._together = not apart and self._length <= LONGEST_REPEAT * min(lengths)

    @property
    def at_once(self) -> int:
        """How many texts one call of the network is for."""
        return len(self._negative) + len(self._positive) if self._together else 1

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x: [B, 4, h, w] at level sigma [] -> the guided estimate of the clean latent, [B, 4, h, w]."""
        estimates = self._evaluate(x, sigma, self._negative + self._positive)
        split = len(self._negative)
        positive = torch.stack(estimates[split:]).mean(dim=0)
        if not self._negative:
            return positive
        negative = torch.stack(estimates[:split]).mean(dim=0)
        return negative + self._cfg * (positive - negative)

    def _evaluate(self, x: Tensor, sigma: Tensor, contexts: list[Tensor]) -> list[Tensor]:
        """The estimate for each context."""
        if not self._together:
            return [self._denoiser(x, sigma, c.expand(len(x), -1, -1)) for c in contexts]
        # Attention's softmax does not change when its keys are repeated as a whole.
        joined = [c.repeat(1, self._length // c.shape[1], 1).expand(len(x), -1, -1) for c in contexts]
        batch = x.repeat(len(contexts), 1, 1, 1)
        return list(self._denoiser(batch, sigma, torch.cat(joined)).chunk(len(contexts)))


def _contexts(conditioning: Conditioning, device: torch.device) -> list[Tensor]:
    return [cond.tokens.to(device) for cond in conditioning.conds]
