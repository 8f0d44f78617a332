"""Noise put in before steps, against k-diffusion's, and Restart."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import TCDScheduler
from torch import Tensor

from models.churn import Churn, sample_churned, sample_dpmpp_2m_churned, sample_restart
from models.growing import sample_growing
from models.levels import NoiseLevels
from models.multistep import sample_dpmpp_2m
from models.noise import Noise
from models.schedules import SCHEDULES
from models.singlestep import sample_euler, sample_heun, sample_midpoint, sample_tcd
from tests.models.flow import Unguided, curved, flow, gaussian, silence, start
from tests.models.k_diffusion_peer import k_diffusion_sampling

LEVELS = NoiseLevels()
SIGMAS = SCHEDULES["karras"](LEVELS, 7).double()
CHURN = Churn(s_churn=3.0, s_tmin=0.1, s_tmax=8.0, s_noise=1.01)


@pytest.mark.parametrize(
    ("solve", "peer"), [(sample_euler, "sample_euler"), (sample_heun, "sample_heun"), (sample_midpoint, "sample_dpm_2")]
)
def test_churn_is_k_diffusion_s(solve: object, peer: str) -> None:
    stream = Noise(3).stream()
    drawn: list[Tensor] = []

    def noise(x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        drawn.append(stream(x, sigma, sigma_next))
        return drawn[-1]

    *_, last = sample_churned(Unguided(curved), start(), SIGMAS, noise, solve, CHURN)  # type: ignore[arg-type]
    assert len(drawn) == 5  # of the levels between s_tmin and s_tmax

    def theirs(x: Tensor) -> Tensor:  # theirs draws at every level, needed or not
        return queue.pop(0) if churned.pop(0) else torch.zeros_like(x)

    queue, churned = list(drawn), [bool(0.1 <= sigma <= 8.0) for sigma in SIGMAS[:-1]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn_like", theirs)
        expected = getattr(k_diffusion_sampling(), peer)(
            lambda x, sigma: curved(x, sigma[0]), start(), SIGMAS, disable=True,
            s_churn=3.0, s_tmin=0.1, s_tmax=8.0, s_noise=1.01,
        )  # fmt: skip
    torch.testing.assert_close(last.x, expected, rtol=1e-10, atol=1e-10)


def test_without_churn_dpmpp_2m_is_the_plain_one() -> None:
    plain = [step.x for step in sample_dpmpp_2m(curved, start(), SIGMAS)]
    churned = [step.x for step in sample_dpmpp_2m_churned(Unguided(curved), start(), SIGMAS, silence, Churn())]
    for ours, theirs in zip(churned, plain, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_churn_before_dpmpp_2m_keeps_the_spread_of_the_data() -> None:
    """Noise up and the flow down are exact for Gaussian data, so a result is spread as the data are, to second order."""
    sigmas, shape = SCHEDULES["karras"](LEVELS, 60), (1, 4, 96, 96)
    x = Noise(1).initial(shape) * (1 + sigmas[0] ** 2).sqrt()
    denoise = Unguided(lambda x, sigma: x / (1 + sigma**2))
    *_, last = sample_dpmpp_2m_churned(denoise, x, sigmas, Noise(1).stream(), Churn(s_churn=20.0))
    assert float(last.x.std()) == pytest.approx(1, abs=0.03)


def test_restart_takes_the_steps_between_its_levels_again() -> None:
    told = list(sample_restart(Unguided(curved), start(), SIGMAS, Noise(3).stream(), 0.1, 2.0, times=2))
    at = [float(step.sigma) for step in told]
    bottom, top = (int((SIGMAS[:-1].log() - math.log(level)).abs().argmin()) for level in (0.1, 2.0))
    between = SIGMAS[top:bottom].tolist()
    assert at == [*SIGMAS[:bottom].tolist(), *between, *between, *SIGMAS[bottom:-1].tolist()]
    counts = [step.i for step in told]
    assert counts == sorted(counts) and counts[-1] == len(SIGMAS) - 2, "progress never goes back"
    torch.testing.assert_close(told[-1].x, told[-1].denoised)


def test_restart_without_noise_would_only_repeat_the_way_down() -> None:
    """After the jump up, x is at the upper level again: with the flow of the data it ends where that leads from there."""
    sigmas = SCHEDULES["karras"](LEVELS, 400).double()[:-1]
    told = list(
        sample_restart(Unguided(gaussian), start(), sigmas, lambda x, a, b: torch.zeros_like(x), 0.1, 2.0, times=1)
    )
    bottom, top = (int((sigmas.log() - math.log(level)).abs().argmin()) for level in (0.1, 2.0))
    expected = flow(start(), sigmas[0], sigmas[bottom])
    expected = flow(expected, sigmas[top], sigmas[-1])
    torch.testing.assert_close(told[-1].x, expected, rtol=2e-3, atol=2e-3)


def test_restart_is_heun_s_method_where_nothing_lies_between() -> None:
    few = torch.tensor([10.0, 5.0, 0.0], dtype=torch.float64)
    *_, ours = sample_restart(Unguided(curved), start(), few, silence, lowest=20.0, highest=0.01)
    *_, heun = sample_heun(curved, start(), few)
    assert torch.equal(ours.x, heun.x)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
def test_tcd_is_diffusers_(gamma: float) -> None:
    scheduler = TCDScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        original_inference_steps=50,
    )  # fmt: skip
    scheduler.set_timesteps(num_inference_steps=4)
    times = scheduler.timesteps.tolist()
    alphas = scheduler.alphas_cumprod.double()
    sigmas = torch.cat([((1 - alphas) / alphas).sqrt()[times], torch.zeros(1)])
    drawn = iter([Noise(k).initial((2, 4, 3, 5)).double() for k in range(9)])
    latents = []
    for step in sample_tcd(Unguided(curved), start(), sigmas, lambda x, a, b: next(drawn), gamma):
        latents.append(step.x)
    y = start() * alphas[times[0]].sqrt()
    generated = iter([Noise(k).initial((2, 4, 3, 5)).double() for k in range(9)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffusers.schedulers.scheduling_tcd.randn_tensor", lambda *_, **__: next(generated))
        for i, t in enumerate(times):
            sigma = sigmas[i]
            x = y / alphas[t].sqrt()
            eps = (x - curved(x, sigma)) / sigma
            y = scheduler.step(eps, t, y, eta=gamma, return_dict=False)[0]
            if i < len(times) - 1:
                torch.testing.assert_close(latents[i], y / alphas[times[i + 1]].sqrt(), rtol=1e-4, atol=1e-4)


def test_a_growing_picture_ends_in_its_larger_size() -> None:
    sizes, seen = [], []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        seen.append(x.shape[-2:])
        return gaussian(x, sigma)

    for step in sample_growing(denoise, start(), SIGMAS, Noise(1).stream(), 2.0, 2, "nearest-exact"):
        sizes.append(tuple(step.x.shape[-2:]))
    assert sizes == [(4, 8)] + [(6, 10)] * 6
    assert [tuple(size) for size in seen] == [(3, 5), *sizes[:-1]]
