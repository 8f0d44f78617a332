"""Samplers that remember: their weights, their orders where their weights hold, and two implementations of others."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import scipy.integrate
import torch
from diffusers import PNDMScheduler
from torch import Tensor

from models.levels import NoiseLevels
from models.multistep import ADAMS_BASHFORTH, _ipndm_v_weights, _sigma_clock, _vp_clock, adams_weights, sample_lms
from models.schedules import SCHEDULES
from tests.models.flow import curved, flow, gaussian, levels, run, steps
from tests.models.flow import start as first_latent
from tests.models.k_diffusion_peer import k_diffusion_sampling

LEVELS = NoiseLevels()


@pytest.fixture
def start() -> Tensor:
    return first_latent()


def warmed(n: int) -> Tensor:
    """As `levels`, after a few steps as short as the square of the others: so that the low order of a multistep
    sampler's first steps, which know little, does not hide the order of the rest."""
    usual = levels(n)
    short = (usual[0] - usual[1]) ** 2
    return torch.cat([usual[:1] - torch.arange(4) * short, usual[1:]])


def equal_in_sigma(n: int) -> Tensor:
    return torch.linspace(12, 0.05, n + 1, dtype=torch.float64).log()


def equal_in_log_sigma(n: int) -> Tensor:
    return torch.linspace(math.log(12), math.log(0.05), n + 1, dtype=torch.float64)


def karras(n: int) -> Tensor:
    return SCHEDULES["karras"](LEVELS, n)[:-1].double().log()


@pytest.mark.parametrize(
    ("name", "grid", "coarsest", "order"),
    [("lms", warmed, 128, 4), ("deis", warmed, 256, 3), ("plms", equal_in_log_sigma, 128, 2),
     ("ipndm", equal_in_log_sigma, 128, 2), ("ipndm_v", karras, 512, 2), ("plms", equal_in_sigma, 2048, 4), ("ipndm", equal_in_sigma, 4096, 2)],
)  # fmt: skip
def test_the_order_where_the_weights_hold(
    name: str, grid: Callable[[int], Tensor], coarsest: int, order: int, start: Tensor
) -> None:
    errors = []
    for n in (coarsest, 2 * coarsest):
        sigmas = grid(n).exp()
        errors.append(float((run(name, gaussian, start, sigmas) - flow(start, sigmas[0], sigmas[-1])).norm()))
    slopes = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert slopes == pytest.approx([order], abs=0.2)


@pytest.mark.parametrize("known", [1, 2, 3, 4])
def test_over_equal_steps_the_weights_are_those_of_adams_and_bashforth(known: int) -> None:
    equal = [5.0 - 0.5 * i for i in range(known + 1)]
    expected = [-0.5 * weight for weight in ADAMS_BASHFORTH[known - 1]]
    assert adams_weights(equal, _sigma_clock) == pytest.approx(expected, rel=1e-12)


def test_the_weights_integrate_polynomials_exactly() -> None:
    past, end = [9.0, 8.5, 5.0, 4.2], 1.3
    weights = adams_weights([*past, end], _sigma_clock)
    for k in range(4):
        exact = (end ** (k + 1) - past[-1] ** (k + 1)) / (k + 1)
        assert sum(w * s**k for w, s in zip(weights, reversed(past), strict=True)) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("past", [[14.61, 11.0], [14.61, 4.0, 1.6], [1.6, 0.7, 0.2], [0.9, 0.4, 0.07]])
def test_the_weights_of_deis_are_its_integrals_over_time(past: list[float]) -> None:
    """The paper's integral over time, of d sigma / dt times the Lagrange polynomials in t, by another quadrature."""
    low, high = math.log1p(0.002**2), math.log1p(80.0**2)
    b = 2 * (low / 1e-3 - high) / (1e-3 - 1)
    a = high - b / 2
    end = past[-1] / 3
    times = [float(_vp_clock(np.array(sigma))) for sigma in [*past, end]]
    for sigma, t in zip([*past, end], times, strict=True):
        assert math.sqrt(math.expm1(b * t**2 / 2 + a * t)) == pytest.approx(sigma, rel=1e-9)
    *knots, stop = times

    def integrand(t: float, j: int) -> float:
        alpha = math.exp(-b * t**2 / 2 - a * t)
        rise = (b * t + a) / (2 * math.sqrt(alpha * (1 - alpha)))
        return rise * math.prod((t - other) / (knots[j] - other) for other in knots if other != knots[j])

    expected = [scipy.integrate.quad(integrand, knots[-1], stop, args=(j,))[0] for j in reversed(range(len(knots)))]
    assert adams_weights([*past, end], _vp_clock) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("schedule", ["karras", "normal", "ddim_uniform"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_lms_equals_k_diffusion(schedule: str, order: int, start: Tensor) -> None:
    sigmas = SCHEDULES[schedule](LEVELS, 7).double()[:-1]  # to 0 it goes on with its polynomial, we go to the estimate
    peer = k_diffusion_sampling().sample_lms
    expected = peer(lambda x, sigma: curved(x, sigma[0]), start, sigmas, disable=True, order=order)
    x = start
    for step in sample_lms(curved, start, sigmas, order):
        x = step.x
    torch.testing.assert_close(x, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("known", [1, 2, 3])
def test_the_weights_of_ipndm_v_are_near_those_of_adams_and_bashforth(known: int) -> None:
    """With up to two slopes they are the same, with three on equal steps; they always add up to 1."""
    levels = [5.0, 4.2, 3.9, 3.1][-known - 1 :]
    strides = [b - a for a, b in pairwise(levels)]
    weights = _ipndm_v_weights(*reversed(strides))
    assert sum(weights) == pytest.approx(1)
    assert _ipndm_v_weights(*[-0.1] * known) == pytest.approx(ADAMS_BASHFORTH[known - 1])
    if known < 3:
        exact = adams_weights(levels, _sigma_clock)
        assert [weight * strides[-1] for weight in weights] == pytest.approx(exact)


def test_over_equal_steps_ipndm_is_lms(start: Tensor) -> None:
    sigmas = equal_in_sigma(20).exp()
    theirs = steps("lms", curved, start, sigmas)
    for ours, lms in zip(steps("ipndm", curved, start, sigmas), theirs, strict=True):
        torch.testing.assert_close(ours.x, lms.x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("steps", [2, 3, 5, 50])
def test_plms_equals_diffusers_on_the_steps_of_v1(steps: int, start: Tensor) -> None:
    """v1's list: 1, 1 + 1000 / n, … and at last time step 0, which is not quite no noise."""
    scheduler = PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
        skip_prk_steps=True, set_alpha_to_one=False,
    )  # fmt: skip
    sigma = LEVELS.sigmas.double()
    scheduler.alphas_cumprod = 1 / (1 + sigma**2)  # its own, in double precision
    scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    scheduler.set_timesteps(steps)
    visited = torch.cat([SCHEDULES["ddim_uniform"](LEVELS, steps)[:-1].double(), sigma[:1]])
    asked = scheduler.timesteps.unique().flip(0)
    assert torch.equal(sigma[asked], visited[:-1])

    y = start / (1 + visited[0] ** 2).sqrt()  # the scale of the paper
    for t in scheduler.timesteps:
        x = y * (1 + sigma[t] ** 2).sqrt()
        y = scheduler.step((x - curved(x, sigma[t])) / sigma[t], t, y).prev_sample
    ours = run("plms", curved, start, visited)
    torch.testing.assert_close(ours / (1 + sigma[0] ** 2).sqrt(), y, rtol=1e-9, atol=1e-9)


def test_plms_asks_once_more_than_it_steps(start: Tensor) -> None:
    asked: list[float] = []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        asked.append(float(sigma))
        return curved(x, sigma)

    sigmas = SCHEDULES["ddim_uniform"](LEVELS, 50)
    run("plms", denoise, start, sigmas)
    assert asked == [*sigmas[:2].tolist(), *sigmas[1:-1].tolist()], "the second level twice: improved Euler looks ahead"


def test_gradient_estimation_follows_the_corrected_slope(start: Tensor) -> None:
    sigmas = torch.tensor([5.0, 3.0, 1.0], dtype=torch.float64)
    first, second = steps("gradient_estimation", curved, start, sigmas)
    d, d_next = (start - curved(start, sigmas[0])) / 5, (first.x - curved(first.x, sigmas[1])) / 3
    torch.testing.assert_close(first.x, start - 2 * d)
    torch.testing.assert_close(second.x, first.x - 2 * (2 * d_next - d))
