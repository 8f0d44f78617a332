"""One step from noise to a picture, by our nodes and by diffusers' U-Net: what both make of the same weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from models.types import Cond, Conditioning, Latent, Model
from nodes.sampling import ksampler
from tests.models.oracles import diffusers_unet
from tests.nodes.conftest import Workplace
from tests.tiny_checkpoint import tiny_unet

SIGMA = 14.614641
CFG = 3.0
Given = Callable[[Tensor, Tensor], Mapping[str, Any]]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int) -> Conditioning:
    return Conditioning((Cond(normal(1, 77, 8, seed=seed), torch.zeros(1, 8)),))


POSITIVE, NEGATIVE = text(1), text(2)
LATENT = Latent(torch.zeros(1, 4, 8, 6))


def drawn(place: Workplace, model: Model, positive: Conditioning, negative: Conditioning, **changes: Any) -> Tensor:
    """The latent after one step to 0, whose result is the estimate itself."""
    given = {"seed": 5, "steps": 1, "cfg": CFG, "sampler_name": "euler", "scheduler": "normal", "latent_image": LATENT}
    made: Latent = ksampler(place.ctx(), model=model, positive=positive, negative=negative, **{**given, **changes})
    return made.samples


def expected(positive: Given, negative: Given, batch: int = 1, unet: Any = None) -> Tensor:
    """The same by diffusers' U-Net, given what other networks of theirs add: (x, context) -> arguments."""
    unet, sigma = unet or diffusers_unet(tiny_unet()), torch.tensor(SIGMA)
    noise = torch.randn(batch, 4, 8, 6, generator=torch.manual_seed(5))
    x, t = noise * (1 + sigma**2).sqrt(), torch.tensor([999.0]).expand(batch)
    scaled = x / (1 + sigma**2).sqrt()

    def eps(given: Conditioning, also: Given) -> Tensor:
        context = given.conds[0].tokens.expand(batch, -1, -1)
        return unet(scaled, t, context, **also(scaled, context)).sample

    away = eps(NEGATIVE, negative)
    return (x - sigma * (away + CFG * (eps(POSITIVE, positive) - away))) / 0.18215


def nothing(x: Tensor, context: Tensor) -> Mapping[str, Any]:
    return {}
