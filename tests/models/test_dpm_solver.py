"""DPM-Solver with steps of its own choosing, against k-diffusion and the closed-form flow."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from models.dpm_solver import Tolerance, sample_dpm_adaptive, sample_dpm_fast
from models.levels import NoiseLevels
from models.noise import Noise
from models.schedules import SCHEDULES
from models.steps import Stochastic
from tests.models.flow import curved, flow, gaussian, run, start, steps
from tests.models.k_diffusion_peer import k_diffusion_sampling

SIGMAS = SCHEDULES["karras"](NoiseLevels(), 9).double()
HIGH, LOW = float(SIGMAS[0]), float(SIGMAS[-2])


def drawn(x: Tensor, seed: int) -> dict[str, object]:
    noise = Noise(seed).stream()
    return {"noise_sampler": lambda sigma, sigma_next: noise(x, sigma, sigma_next)}


@pytest.mark.parametrize("eta", [0.0, 0.7])
@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 9, 10])
def test_fast_equals_k_diffusion(n: int, eta: float) -> None:
    """Whatever levels are between: only the first, the last above 0 and their number count."""
    x, sigmas = start(), SCHEDULES["karras"](NoiseLevels(), n).double()
    expected = k_diffusion_sampling().sample_dpm_fast(
        lambda x, sigma: curved(x, sigma[0]),
        x,
        float(sigmas[-2]),
        float(sigmas[0]),
        n,
        disable=True,
        eta=eta,
        **drawn(x, 3),
    )
    ours = run(Stochastic(partial(sample_dpm_fast, eta=eta)), curved, x, sigmas, Noise(3))
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)  # its times are float32


@pytest.mark.parametrize("eta", [0.0, 0.5])
@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("settings", [{}, {"rtol": 0.01, "atol": 0.001}, {"pcoeff": 0.3, "icoeff": 0.8, "dcoeff": 0.1}])
def test_adaptive_equals_k_diffusion(order: int, settings: dict[str, float], eta: float) -> None:
    x = start()
    expected = k_diffusion_sampling().sample_dpm_adaptive(
        lambda x, sigma: curved(x, sigma[0]),
        x,
        LOW,
        HIGH,
        disable=True,
        order=order,
        eta=eta,
        **settings,
        **drawn(x, 3),
    )
    sampler = partial(sample_dpm_adaptive, tolerance=Tolerance(order=order, **settings), eta=eta)
    ours = run(Stochastic(sampler), curved, x, SIGMAS, Noise(3))
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["dpm_fast", "dpm_adaptive"])
def test_they_end_near_the_exact_flow_and_count_up_to_the_last_step(name: str) -> None:
    sigmas = SCHEDULES["karras"](NoiseLevels(), 60).double()
    taken = list(steps(name, gaussian, start(), sigmas))
    exact = flow(start(), sigmas[0], sigmas[-2])
    assert float((taken[-1].x - exact).norm() / exact.norm()) < 0.04
    places = [step.i for step in taken]
    assert places == sorted(places) and places[-1] == 59 and all(0 <= place < 60 for place in places)


def test_adaptive_stops_when_a_network_gives_what_is_not_finite() -> None:
    taken = list(steps("dpm_adaptive", lambda x, sigma: x * float("nan"), start(), SIGMAS))
    assert not taken[0].x.isfinite().any()
