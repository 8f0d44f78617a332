"""Samplers that add noise: what they do to Gaussian data is known without chance, mean and spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from models.levels import NoiseLevels
from models.noise import Noise
from models.schedules import SCHEDULES
from models.singlestep import sample_ddim, sample_dpm_2, sample_dpmpp_2s_ancestral, sample_euler_ancestral
from models.steps import Step, Stochastic
from tests.models.flow import MEAN, SPREAD, curved, gaussian, levels, run, silence, steps
from tests.models.flow import start as first_latent

LEVELS = NoiseLevels()
SPREAD_ORDER = {"euler_ancestral": 1, "ddpm": 1, "dpm_2_ancestral": 2, "dpmpp_2s_ancestral": 2,
                "res_multistep_ancestral": 2, "er_sde": 1, "seeds_2": 2, "seeds_3": 2}  # fmt: skip
"""How fast the variance of the result becomes that of the data. er_sde's sum over 200 points leaves it at 1 in the end.
"""
ON_PATHS = ["dpmpp_sde", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde"]
EXACT_MEAN = ["euler_ancestral", "ddpm", "res_multistep_ancestral", "seeds_2", "seeds_3"]


@pytest.fixture
def start() -> Tensor:
    return first_latent()


def still(x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    return torch.zeros_like(x)


def slopes(errors: list[float]) -> list[float]:
    return [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]


@pytest.mark.parametrize("name", SPREAD_ORDER)
def test_the_result_has_the_spread_of_the_data(name: str) -> None:
    """With a linear denoiser the result is a linear map of start and noise, so its variance is known without chance:
    give every draw a channel of its own, and add the squares of the channels."""

    def centred(x: Tensor, sigma: Tensor) -> Tensor:
        return x * SPREAD**2 / (sigma**2 + SPREAD**2)

    errors = []
    for n in (128, 256, 512):
        sigmas = levels(n).exp()
        channels = 3 * n + 1
        unit = torch.eye(channels, dtype=torch.float64)[:, None, :, None, None]  # draw k -> [1, channels, 1, 1]
        draws = iter(unit[1:])

        def draw(x: Tensor, sigma: Tensor, sigma_next: Tensor, draws: Iterator[Tensor] = draws) -> Tensor:
            return next(draws)

        x = unit[0] * (sigmas[0] ** 2 + SPREAD**2).sqrt()
        variance = float(run(name, centred, x, sigmas, draw).square().sum())
        errors.append(abs(variance - float(sigmas[-1] ** 2 + SPREAD**2)))
    assert errors[-1] < 0.05
    assert min(slopes(errors)) > SPREAD_ORDER[name] - 0.15


@pytest.mark.parametrize("name", [*SPREAD_ORDER, "lcm", *ON_PATHS])
def test_the_noise_of_a_seed_has_the_right_spread_after_every_step(name: str) -> None:
    """Data of spread 1 around 0, in so many steps that the solvers' own error is small. Step noise that repeated the
    initial noise of the seed would show in the first step: there it was up to 1.15 times too much."""

    def estimate(x: Tensor, sigma: Tensor) -> Tensor:
        if name == "lcm":  # of a consistency model: where the flow of that data ends
            return x / (1 + sigma**2).sqrt()
        return x / (1 + sigma**2)

    n = (
        320 if name in SPREAD_ORDER or name == "lcm" else 100
    )  # paths are slow to draw, and their samplers of higher order
    sigmas, noise, shape = SCHEDULES["karras"](LEVELS, n), Noise(2**64 - 1), (1, 4, 96, 96)
    x = noise.initial(shape) * (1 + sigmas[0] ** 2).sqrt()
    for step in steps(name, estimate, x, sigmas, noise):
        assert float(step.x.std() / (1 + sigmas[step.i + 1] ** 2).sqrt()) == pytest.approx(1, abs=0.02), step.i


def expected_mean(start: Tensor, sigmas: Tensor) -> Tensor:
    """Latents at two levels are jointly Gaussian, so what is expected at the lower, given the higher, has a formula."""
    return MEAN + (start - MEAN) * (sigmas[-1] ** 2 + SPREAD**2) / (sigmas[0] ** 2 + SPREAD**2)


@pytest.mark.parametrize("name", EXACT_MEAN)
def test_the_mean_of_the_result_is_that_of_ddpm_s_reverse_process(name: str, start: Tensor) -> None:
    """Exactly, in any number of steps: under that process the estimate of the clean latent keeps its mean."""
    sigmas = levels(8).exp()
    result = run(name, gaussian, start, sigmas, still)
    torch.testing.assert_close(result, expected_mean(start, sigmas), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["dpm_2_ancestral", "dpmpp_2s_ancestral"])
def test_a_flow_down_and_noise_up_gets_to_that_mean_at_first_order(name: str, start: Tensor) -> None:
    errors = []
    for n in (128, 256, 512):
        sigmas = levels(n).exp()
        result = run(name, gaussian, start, sigmas, still)
        errors.append(float((result - expected_mean(start, sigmas)).norm()))
    assert slopes(errors) == pytest.approx([1, 1], abs=0.1)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("n", [1, 5, 20])
def test_ddim_with_eta_equals_diffusers(eta: float, n: int, start: Tensor) -> None:
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False,
        set_alpha_to_one=False,
    )  # fmt: skip
    sigma = LEVELS.sigmas.double()
    scheduler.alphas_cumprod = 1 / (1 + sigma**2)  # its own, in double precision
    scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    scheduler.set_timesteps(n)
    visited = torch.cat([sigma[scheduler.timesteps], sigma[:1]])
    y = start / (1 + visited[0] ** 2).sqrt()
    theirs = Noise(5).stream()
    for t in scheduler.timesteps:
        x = y * (1 + sigma[t] ** 2).sqrt()
        eps = (x - curved(x, sigma[t])) / sigma[t]
        y = scheduler.step(
            eps, t, y, eta=eta, variance_noise=theirs(x, sigma[t], sigma[t]) if eta else None
        ).prev_sample
    result = run(Stochastic(partial(sample_ddim, eta=eta)), curved, start, visited, Noise(5) if eta else silence)
    torch.testing.assert_close(result / (1 + sigma[0] ** 2).sqrt(), y, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("sampler", "plain"),
    [(sample_euler_ancestral, "euler"), (sample_dpm_2, "dpm_2"), (sample_ddim, "ddim")],
    ids=["euler_ancestral", "dpm_2", "ddim"],
)
def test_without_eta_nothing_is_drawn(sampler: Callable[..., Iterator[Step]], plain: str, start: Tensor) -> None:
    sigmas = SCHEDULES["karras"](LEVELS, 6).double()
    result = run(Stochastic(partial(sampler, eta=0.0)), curved, start, sigmas)
    torch.testing.assert_close(result, run(plain, curved, start, sigmas), rtol=1e-12, atol=1e-12)


def test_without_eta_dpmpp_2s_is_of_second_order_and_draws_nothing(start: Tensor) -> None:
    errors = []
    for n in (64, 128, 256):
        sigmas = levels(n).exp()
        exact = MEAN + (start - MEAN) * ((sigmas[-1] ** 2 + SPREAD**2) / (sigmas[0] ** 2 + SPREAD**2)).sqrt()
        result = run(Stochastic(partial(sample_dpmpp_2s_ancestral, eta=0.0)), gaussian, start, sigmas)
        errors.append(float((result - exact).norm()))
    assert slopes(errors) == pytest.approx([2, 2], abs=0.1)


@pytest.mark.parametrize("eta", [2.0, 50.0])
def test_more_noise_than_a_level_holds_steps_down_to_0_first(eta: float, start: Tensor) -> None:
    """All of the next level is then noise upon the estimate, as in lcm."""
    sigmas = SCHEDULES["exponential"](LEVELS, 12).double()
    one = run("lcm", curved, start, sigmas, Noise(1))
    for sampler in (sample_euler_ancestral, sample_dpm_2, sample_dpmpp_2s_ancestral):
        other = run(Stochastic(partial(sampler, eta=eta)), curved, start, sigmas, Noise(1))
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-9)


def test_lcm_jumps_to_the_estimate_and_back_up(start: Tensor) -> None:
    sigmas = torch.tensor([7.0, 2.0, 0.0], dtype=torch.float64)
    first, last = steps("lcm", curved, start, sigmas, Noise(3))
    torch.testing.assert_close(first.x, curved(start, sigmas[0]) + 2 * Noise(3).stream()(start, *sigmas[:2]))
    assert torch.equal(last.x, curved(first.x, sigmas[1]))
