"""SA-Solver: stochastic Adams methods, a predictor and a corrector, for a share of noise that is chosen level by level.

Xue et al. 2023 (arXiv:2309.05019), in the data-predicting form and in lambda = -log sigma. With tau the share of noise,
between two levels (their equation 14, in the scale in which the clean latent is not shrunk):

    x_t = exp(-(1 + tau^2) h) x_s + integral of (1 + tau^2) exp(-(1 + tau^2) (lambda_t - lambda)) D dlambda + noise,

h = lambda_t - lambda_s, the noise sigma_t sqrt(1 - exp(-2 tau^2 h)) xi. tau is constant over a step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from torch import Tensor

from models.multistep import lagrange
from models.noise import NoiseStream
from models.steps import GuidedDenoise, Step


@dataclass(frozen=True)
class SASettings:
    """How SA-Solver works.

    eta: tau between `start` and `end`, shares of the way from noise to picture; elsewhere there is no noise. predictor,
    corrector: the orders, lowered towards both ends; corrector 0: none. pece: ask the model again after the correction.
    simple: of order 2, take the estimate's slope as a difference of two, as the authors do for few steps.
    """

    eta: float = 1.0
    start: float = 0.2
    end: float = 0.8
    s_noise: float = 1.0
    predictor: int = 3
    corrector: int = 4
    pece: bool = False
    simple: bool = False


@dataclass(frozen=True, eq=False)
class _Begun:
    """What a step was begun with: the corrector takes it once more."""

    x: Tensor
    at: float  # lambda
    tau: float
    noise: Tensor | float  # with its strength


def sample_sa_solver(
    denoise: GuidedDenoise, x: Tensor, sigmas: Tensor, noise: NoiseStream, settings: SASettings | None = None
) -> Iterator[Step]:
    """SA-Solver, Algorithm 1 of the paper; one evaluation a step, or two with `pece`.

    Draws once a step that ends where tau is above 0. A step to 0 goes to the estimate.
    """
    settings = settings or SASettings()
    top, bottom = denoise.levels.at(settings.start), denoise.levels.at(settings.end)
    last = len(sigmas) - 2
    known: list[tuple[float, Tensor]] = []  # (lambda, estimate), newest first
    begun: _Begun | None = None
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        now = -math.log(float(sigma))
        if begun is not None and settings.corrector:
            order = min(settings.corrector, i + 1, last + 1 - i)
            x = _stepped(begun, now, [(now, denoised), *known][:order], settings.simple)
            if settings.pece:
                denoised = denoise(x, sigma)
        known = [(now, denoised), *known][: max(settings.predictor, settings.corrector)]
        if sigma_next > 0:
            tau = settings.eta if top >= sigma_next >= bottom else 0.0
            then = -math.log(float(sigma_next))
            spread = math.sqrt(-math.expm1(-2 * tau**2 * (then - now))) * settings.s_noise if tau else 0.0
            drawn = noise(x, sigma, sigma_next) * (sigma_next * spread) if spread else 0.0
            begun = _Begun(x, now, tau, drawn)
            order = max(min(settings.predictor, i + 1, last - i), 1)
            x = _stepped(begun, then, known[:order], settings.simple)
        else:
            x = denoised
        yield Step(i, sigma, x, denoised)


def _stepped(begun: _Begun, end: float, points: Sequence[tuple[float, Tensor]], simple: bool) -> Tensor:
    """From the beginning of a step to `end`, for estimates on a polynomial through `points`."""
    rate, h = 1 + begun.tau**2, end - begun.at
    if simple and len(points) == 2:  # the slope counts as it does in the limit of a short step
        (newer, _), (older, _) = points
        slope = rate * h * h / 2 / (newer - older)
        weights = [slope, -slope]
        weights[0 if newer == begun.at else 1] -= math.expm1(-rate * h)
    else:
        weights = adams_weights([place for place, _ in points], begun.at, end, rate)
    x = begun.x * math.exp(-rate * h)
    for weight, (_, estimate) in zip(weights, points, strict=True):
        x = x + estimate * weight
    return x + begun.noise


def adams_weights(places: Sequence[float], start: float, end: float, rate: float) -> list[float]:
    """What the estimates at `places` add over a step in lambda: integrals of their Lagrange polynomials times the decay.

    Gauss-Legendre quadrature, to rounding.
    """
    nodes, shares = np.polynomial.legendre.leggauss(32)
    at = (start + end) / 2 + nodes * (end - start) / 2
    decay = rate * np.exp(-rate * (end - at)) * shares * (end - start) / 2
    return [float(weight) for weight in lagrange(np.array(places), at) @ decay]
