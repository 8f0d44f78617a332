"""UniPC: against diffusers' implementation, and what sets it apart from other samplers."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from diffusers import UniPCMultistepScheduler
from torch import Tensor

from models.levels import NoiseLevels
from models.schedules import SCHEDULES
from tests.models.flow import curved, flow, gaussian, levels, run, steps
from tests.models.flow import start as first_latent

LEVELS = NoiseLevels()


@pytest.fixture
def start() -> Tensor:
    return first_latent()


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
@pytest.mark.parametrize("steps", [4, 5, 12])
@pytest.mark.parametrize("solver", ["bh1", "bh2"])
def test_equals_diffusers(solver: str, steps: int, start: Tensor) -> None:
    """Given the same levels, in the scale of the paper."""
    scheduler = UniPCMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", solver_order=3, solver_type=solver
    )
    sigmas = torch.cat([SCHEDULES["karras"](LEVELS, steps)[:-1].double(), torch.tensor([1e-3], dtype=torch.float64)])
    scheduler.set_timesteps(steps)
    scheduler.sigmas = sigmas
    y = start / (1 + sigmas[0] ** 2).sqrt()
    for i, t in enumerate(scheduler.timesteps):
        sigma = sigmas[i]
        x = y * (1 + sigma**2).sqrt()
        y = scheduler.step((x - curved(x, sigma)) / sigma, t, y).prev_sample
    ours = run("uni_pc" if solver == "bh1" else "uni_pc_bh2", curved, start, sigmas)
    torch.testing.assert_close(ours / (1 + sigmas[-1] ** 2).sqrt(), y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["uni_pc", "uni_pc_bh2"])
def test_it_ends_just_above_0_and_tells_the_estimates_it_used(name: str, start: Tensor) -> None:
    sigmas = SCHEDULES["karras"](LEVELS, 6).double()
    before = sigmas.clone()
    seen: list[tuple[Tensor, float]] = []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        denoised = curved(x, sigma)
        seen.append((denoised, float(sigma)))
        return denoised

    taken = list(steps(name, denoise, start, sigmas))
    assert torch.equal(sigmas, before), "the caller's levels are not written to"
    assert [sigma for _, sigma in seen] == sigmas[:-1].tolist()
    assert all(torch.equal(step.denoised, denoised) for step, (denoised, _) in zip(taken, seen, strict=True))
    # The last step is of first order, from sigmas[-2] to 0.001.
    share = 1e-3 / sigmas[-2]
    expected = share * taken[-2].x + (1 - share) * taken[-1].denoised
    torch.testing.assert_close(taken[-1].x, expected)


@pytest.mark.parametrize("name", ["uni_pc", "uni_pc_bh2"])
def test_one_step_is_euler_s(name: str, start: Tensor) -> None:
    sigmas = torch.tensor([5.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(run(name, curved, start, sigmas), run("euler", curved, start, sigmas))


def warmed(n: int) -> Tensor:
    """As `levels`, with three short taken at both ends, where the order is low."""
    usual = levels(n)
    short = torch.arange(1, 4) * (usual[0] - usual[1]) ** 2
    return torch.cat([usual[:1], usual[0] - short, usual[1:], usual[-1] - short])


@pytest.mark.parametrize("name", ["uni_pc", "uni_pc_bh2"])
@pytest.mark.parametrize(("grid", "order"), [(levels, 2), (warmed, 4)])
def test_of_fourth_order_but_for_its_first_and_last_steps(
    name: str, grid: Callable[[int], Tensor], order: int, start: Tensor
) -> None:
    errors = []
    for n in (64, 128):
        sigmas = grid(n).exp()
        errors.append(float((run(name, gaussian, start, sigmas) - flow(start, sigmas[0], sigmas[-1])).norm()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)
