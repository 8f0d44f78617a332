"""Changing a part of a picture: masks at sampling, and the channels that networks read beside the latent's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.levels import NoiseLevels
from models.steps import GuidedDenoise, Pair

MaskAt = Callable[[Tensor, Tensor], Tensor]
"""(mask [B, 1, h, w], sigma []) -> the mask that counts at that level."""

BLANK = (0.8223, -0.6876, 0.6364, 0.1380)  # a grey picture's latent, scaled: what an inpainting network sees of nothing


def fitted(mask: Tensor, batch: int, height: int, width: int) -> Tensor:
    """Masks for the items of a batch of latents. mask: [b, 1, H, W], 1 to change, of any size -> [batch, 1, height, width].

    Not rounded; a shorter batch of masks begins anew.
    """
    resized = F.interpolate(mask.float(), size=(height, width), mode="bilinear", align_corners=False)
    return resized[torch.arange(batch) % len(resized)]


def unchanged(mask: Tensor, sigma: Tensor) -> Tensor:
    """The mask itself, at every level."""
    return mask


@dataclass(frozen=True)
class Differential:
    """Differential diffusion (Levin and Fried 2023, arXiv:2306.00950): the higher a mask, the earlier its place may change.

    Between the levels `first` and `last` a threshold falls from 1 to 0 with the time step; the mask is 1 where it reaches
    it. strength: 1 takes that mask, 0 the given one.
    """

    levels: NoiseLevels
    first: float
    last: float
    strength: float = 1.0

    def __call__(self, mask: Tensor, sigma: Tensor) -> Tensor:
        """The mask that counts at a level."""
        now, begin, end = (
            float(self.levels.timestep(level))
            for level in (sigma.cpu(), torch.tensor(self.first), torch.tensor(max(self.last, self.levels.sigma_min)))
        )
        threshold = (now - end) / (begin - end) if begin > end else 0.0
        binary = (mask >= threshold).to(mask)
        return self.strength * binary + (1 - self.strength) * mask


class Masked:
    """D(x, sigma) that changes a latent inside a mask only; samplers see nothing of it.

    Outside, the network is shown the latent with its noise at that level, and the estimate is the latent itself. Where a
    sampler makes its latent larger, those of the mask follow; noise keeps its spread.
    """

    def __init__(
        self, denoise: GuidedDenoise, latent: Tensor, noise: Tensor, mask: Tensor, mask_at: MaskAt = unchanged
    ) -> None:
        """latent: [B, 4, h, w], scaled, without noise; noise: the same shape, what was added; mask: [B, 1, h, w]."""
        self._denoise = denoise
        self._given = latent, noise, mask
        self._latent, self._noise, self._mask, self._mask_at = latent, noise, mask, mask_at

    @property
    def levels(self) -> NoiseLevels:
        """The noise levels of the model."""
        return self._denoise.levels

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """[B, 4, h, w] -> [B, 4, h, w]."""
        mask = self._mask_at(self._sized(x), sigma)
        return self._kept(self._denoise(self._mixed(x, sigma, mask), sigma), mask)

    def pair(self, x: Tensor, sigma: Tensor) -> Pair:
        """The guided estimate, outside of the mask the latent, and the network's for the text to go away from."""
        mask = self._mask_at(self._sized(x), sigma)
        denoised, away = self._denoise.pair(self._mixed(x, sigma, mask), sigma)
        return Pair(self._kept(denoised, mask), away)

    def _sized(self, x: Tensor) -> Tensor:
        """The mask, once all is of the size of x."""
        height, width = x.shape[-2:]
        if self._latent.shape[-2:] != (height, width):
            latent, noise, mask = self._given
            self._latent = F.interpolate(latent, size=(height, width), mode="bilinear", align_corners=False)
            self._noise = F.interpolate(noise, size=(height, width), mode="nearest-exact")
            self._mask = fitted(mask, len(mask), height, width)
        return self._mask

    def _mixed(self, x: Tensor, sigma: Tensor, mask: Tensor) -> Tensor:
        return x * mask + (self._latent + self._noise * sigma) * (1 - mask)

    def _kept(self, denoised: Tensor, mask: Tensor) -> Tensor:
        return denoised * mask + self._latent * (1 - mask)


@dataclass(frozen=True, eq=False)
class Beside:
    """What a network with more channels than the latent's is to see of the picture.

    latent: [b, 4, h, w] as the VAE gives it, of the picture with what is to change made grey, or of the picture to edit;
    mask: [b, 1, H, W], 1 where it is to change. depth: [b, 1, H, W], larger where things are nearer, in any unit.
    """

    latent: Tensor | None = None
    mask: Tensor | None = None
    depth: Tensor | None = None


DEPTH = 1
"""How many channels more than the latent's those U-Nets read that are shown how far things are."""


def channels_beside(count: int, given: Beside | None, like: Tensor, scale: float) -> Tensor | None:
    """The channels that a U-Net with `count` more than the latent's reads, for latents `like` [B, 4, h, w]; None for 0.

    5: a rounded mask and the scaled latent (Stable Diffusion's inpainting networks); where nothing is given, all is to
    change. 4: the latent alone and not scaled (InstructPix2Pix, Brooks et al. 2023, arXiv:2211.09800), or zeros. 1: depth
    of -1..1, from what is farthest to what is nearest in its picture (Stable Diffusion 2's depth model), or zeros.
    """
    if count == 0:
        return None
    given = given or Beside()
    batch, _, height, width = like.shape
    if count == DEPTH:
        return torch.zeros_like(like[:, :1]) if given.depth is None else _spread(given.depth, like)
    if count == 4:
        return torch.zeros_like(like) if given.latent is None else _sized(given.latent, like)
    if given.latent is None or given.mask is None:
        mask, latent = torch.ones_like(like[:, :1]), torch.tensor(BLANK).to(like)[:, None, None].expand_as(like)
    else:
        mask, latent = fitted(given.mask.round(), batch, height, width).to(like), _sized(given.latent, like) * scale
    return torch.cat([mask, latent], dim=1)


def _spread(depth: Tensor, like: Tensor) -> Tensor:
    """Depth in the size of the latents, from -1 to 1 in each picture; 0 in one where all is equally far."""
    sized = F.interpolate(depth.float(), size=like.shape[-2:], mode="bicubic", align_corners=False)
    low, high = (edge(dim=(1, 2, 3), keepdim=True) for edge in (sized.amin, sized.amax))
    spread = torch.where(high > low, 2 * (sized - low) / (high - low).clamp(min=1e-12) - 1, torch.zeros_like(sized))
    return spread[torch.arange(len(like)) % len(spread)].to(like)


def _sized(latent: Tensor, like: Tensor) -> Tensor:
    if latent.shape[-2:] != like.shape[-2:]:
        latent = F.interpolate(latent, size=like.shape[-2:], mode="bilinear", align_corners=False)
    return latent[torch.arange(len(like)) % len(latent)].to(like)
