"""UniPC: a predictor whose own estimate corrects it, at no evaluation more."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import factorial

import torch
from torch import Tensor

from models.steps import Denoise, Step

LOWEST = 1e-3  # the level that sampling ends at instead of 0, where log sigma has no end


def sample_uni_pc(denoise: Denoise, x: Tensor, sigmas: Tensor, bh2: bool = False) -> Iterator[Step]:
    """Multistep UniPC-3 with data prediction, fourth order for one evaluation a step.

    Zhao et al. 2023 (arXiv:2302.04867), Algorithms 1 and 2 with B(h) = h, or exp(h) - 1 for `bh2`. In sigma's terms
    its alpha drops out. The estimate at the next level is made of the predicted latent, corrects that, and serves the
    next step as it is. The order falls to 1 towards the end; the last step is not corrected and ends at 0.001, not 0.
    """
    sigmas = sigmas.where(sigmas > 0, LOWEST)
    last = len(sigmas) - 2
    most = max(min(3, last), 1)
    past: deque[tuple[float, Tensor]] = deque(maxlen=most)  # (log sigma, estimate), newest first
    denoised = denoise(x, sigmas[0])
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        past.appendleft((float(sigma.double().log()), denoised))
        h = float((sigma.double() / sigma_next).log())
        order = min(most, i + 1, last - i + 1)
        known = list(past)[1:order]
        places = [(past[0][0] - place) / h for place, _ in known]
        bends = [(old - denoised) / r for r, (_, old) in zip(places, known, strict=True)]
        scale = float(torch.tensor(-h, dtype=torch.float64).expm1()) if bh2 else -h
        base = sigma_next / sigma * x + (1 - sigma_next / sigma) * denoised
        x = base - scale * _weighted(_weights(places, h, scale), bends)
        estimate = denoised
        if i < last:
            denoised = denoise(x, sigma_next)
            corrected = [*bends, denoised - estimate]
            x = base - scale * _weighted(_weights([*places, 1.0], h, scale), corrected)
        yield Step(i, sigma, x, estimate)


def _weights(places: Sequence[float], h: float, scale: float) -> list[float]:
    """The weights of the estimate's slopes towards `places`, in units of h from here (their equation 5).

    They make the step exact for an estimate that is a polynomial in log sigma. For a single slope the paper takes 1/2.
    """
    if len(places) < 2:
        return [0.5] * len(places)
    phi = torch.tensor(-h, dtype=torch.float64).expm1() / -h - 1
    moments = []
    for k in range(1, len(places) + 1):
        moments.append(phi * factorial(k) / scale)
        phi = phi / -h - 1 / factorial(k + 1)
    powers = torch.linalg.vander(torch.tensor(places, dtype=torch.float64)).T
    return torch.linalg.solve(powers, torch.stack(moments)).tolist()


def _weighted(weights: Sequence[float], bends: Sequence[Tensor]) -> Tensor | float:
    return sum((weight * bend for weight, bend in zip(weights, bends, strict=True)), start=0.0)
