"""SA-Solver: its weights, its orders, what noise does to Gaussian data, and the authors' formula for few steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
import scipy.integrate
import torch
from torch import Tensor

from models.levels import NoiseLevels
from models.noise import NoiseStream
from models.sa_solver import SASettings, adams_weights, sample_sa_solver
from models.steps import Step
from tests.models.flow import SPREAD, Unguided, curved, flow, gaussian, silence, start

ALWAYS = {"start": 0.0, "end": 1.0}  # noise at all levels


def equal(n: int) -> Tensor:
    """[n + 1] float64: equal steps in log sigma."""
    return torch.linspace(math.log(12), math.log(0.05), n + 1, dtype=torch.float64).exp()


def warmed(n: int) -> Tensor:
    """As `equal`, after some steps so short that the low order of the first ones does not hide that of the rest."""
    usual = equal(n).log()
    short = (usual[0] - usual[1]) ** 2
    return torch.cat([usual[:1] - torch.arange(5) * short, usual[1:]]).exp()


def run(sigmas: Tensor, noise: NoiseStream = silence, x: Tensor | None = None, **settings: float) -> Tensor:
    x = start() if x is None else x
    for step in taken(gaussian, x, sigmas, noise, **settings):
        x = step.x
    return x


def taken(
    denoise: Callable[[Tensor, Tensor], Tensor], x: Tensor, sigmas: Tensor, noise: NoiseStream, **settings: float
) -> Iterator[Step]:
    return sample_sa_solver(Unguided(denoise), x, sigmas, noise, SASettings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [1.0, 2.0])
@pytest.mark.parametrize("places", [[0.3], [0.3, -0.4], [1.1, 0.3, -0.4, -2.0]])
def test_the_weights_are_the_integrals_of_the_paper(rate: float, places: list[float]) -> None:
    begin, end = 0.3, 1.1
    for j, (weight, place) in enumerate(zip(adams_weights(places, begin, end, rate), places, strict=True)):

        def integrand(at: float, j: int = j, place: float = place) -> float:
            others = [(at - other) / (place - other) for k, other in enumerate(places) if k != j]
            return rate * math.exp(-rate * (end - at)) * math.prod(others)

        assert weight == pytest.approx(scipy.integrate.quad(integrand, begin, end)[0], abs=1e-12)


@pytest.mark.parametrize(
    ("predictor", "corrector", "pece", "order"),
    [(1, 0, False, 1), (2, 0, False, 2), (3, 0, False, 3), (2, 3, False, 3), (3, 4, True, 4)],
)
def test_without_noise_it_has_the_order_of_its_polynomials(
    predictor: int, corrector: int, pece: bool, order: int
) -> None:
    settings = {"eta": 0.0, "predictor": predictor, "corrector": corrector, "pece": pece}
    errors = []
    for n in (64, 128):
        sigmas = warmed(n)
        exact = flow(start(), sigmas[0], sigmas[-1])
        full = torch.cat(
            [sigmas, sigmas[-1:] / 2, sigmas[-1:] / 4, sigmas[-1:] / 8]
        )  # the last steps are of lower order
        steps = list(taken(gaussian, start(), full, silence, **settings))
        errors.append(float((steps[len(sigmas) - 2].x - exact).norm()))
    found = math.log2(errors[0] / errors[1])
    assert found > order - 0.35, found


@pytest.mark.parametrize("corrector", [0, 4])
def test_with_noise_the_result_has_the_spread_of_the_data(corrector: int) -> None:
    """The result is linear in start and noise: every draw gets a channel of its own, and their squares add up."""

    def centred(x: Tensor, sigma: Tensor) -> Tensor:
        return x * SPREAD**2 / (sigma**2 + SPREAD**2)

    errors = []
    for n in (32, 64, 128):
        sigmas = equal(n)
        unit = torch.eye(n + 1, dtype=torch.float64)[:, None, :, None, None]
        draws = iter(unit[1:])

        def draw(x: Tensor, sigma: Tensor, sigma_next: Tensor, draws: Iterator[Tensor] = draws) -> Tensor:
            return next(draws)

        x = unit[0] * (sigmas[0] ** 2 + SPREAD**2).sqrt()
        for step in taken(centred, x, sigmas, draw, corrector=corrector, **ALWAYS):
            x = step.x
        errors.append(abs(float(x.square().sum()) - float(sigmas[-1] ** 2 + SPREAD**2)))
    slopes = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert errors[-1] < 0.02 and min(slopes) > 0.8


def test_noise_goes_in_where_it_is_asked_for() -> None:
    levels, sigmas = NoiseLevels(), torch.cat([equal(20), torch.zeros(1)])
    drawn: list[float] = []

    def noise(x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        drawn.append(float(sigma_next))
        return torch.zeros_like(x)

    list(taken(curved, start(), sigmas, noise))
    top, bottom = levels.at(0.2), levels.at(0.8)
    assert drawn == [float(sigma) for sigma in sigmas[1:] if bottom <= sigma <= top]


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_simple_form_of_order_2_is_the_authors_(eta: float) -> None:
    """Predictor: (1 - e^-rh) D_0 + r h² / 2 times the difference quotient of the last two estimates, r = 1 + eta²."""
    sigmas, rate = torch.tensor([8.0, 5.0, 2.0, 1.0, 0.5], dtype=torch.float64), 1 + eta**2
    steps = list(
        taken(
            curved,
            start(),
            sigmas,
            lambda x, a, b: torch.zeros_like(x),
            eta=eta,
            predictor=2,
            corrector=0,
            simple=True,
            **ALWAYS,
        )
    )
    h, past = (sigmas[1] / sigmas[2]).log(), (sigmas[0] / sigmas[1]).log()
    d, d_past = steps[1].denoised, steps[0].denoised
    expected = (-rate * h).exp() * steps[0].x + (1 - (-rate * h).exp()) * d + rate * h**2 / 2 * (d - d_past) / past
    torch.testing.assert_close(steps[1].x, expected)
