"""Noise levels of networks that know other ones than every time step, and what such networks predict."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import EDMEulerScheduler, LCMScheduler

from models.levels import Angle, ContinuousLevels, DistilledLevels, NoiseLevels, QuarterLog
from models.prediction import Consistent, Preconditioned
from models.schedules import SCHEDULES

EDM = ContinuousLevels(lowest=0.002, highest=80.0)


@pytest.mark.parametrize("clock", [QuarterLog(), Angle()])
def test_a_clock_leads_back(clock: QuarterLog | Angle) -> None:
    sigma = torch.tensor([0.03, 1.0, 14.6, 400.0], dtype=torch.float64)
    torch.testing.assert_close(clock.sigma(clock.time(sigma)), sigma)
    assert float(QuarterLog().time(torch.tensor(math.e))) == pytest.approx(0.25)
    assert float(Angle().time(torch.tensor(1.0))) == pytest.approx(0.5)


def test_levels_between_two_are_even_in_log_sigma() -> None:
    assert len(EDM.sigmas) == 1000
    assert (EDM.sigma_min, EDM.sigma_max) == pytest.approx((0.002, 80.0))
    assert EDM.at(0.5) == pytest.approx(math.sqrt(0.002 * 80.0))
    assert (EDM.at(0.0), EDM.at(1.0)) == (math.inf, 0.0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_visits_them(name: str) -> None:
    for levels in (EDM, ContinuousLevels(lowest=0.03, highest=500.0, clock=Angle()), DistilledLevels()):
        sigmas = SCHEDULES[name](levels, 8)
        assert sigmas.isfinite().all() and (sigmas.diff() < 0).all() and sigmas[-1] == 0
        assert float(sigmas[0]) <= levels.sigma_max * 1.0001
        assert float(sigmas[-2]) >= levels.sigma_min * 0.999


def test_edm_tells_what_diffusers_takes_it_to_tell() -> None:
    scheduler = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5, prediction_type="epsilon")
    x, output = (torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(k)) for k in (1, 2))
    for sigma in (0.01, 1.0, 60.0):
        level = torch.tensor(sigma)
        torch.testing.assert_close(Preconditioned().scaled(x, level), scheduler.precondition_inputs(x, sigma))
        expected = scheduler.precondition_outputs(x, output, sigma)
        torch.testing.assert_close(Preconditioned().denoised(output, x, level), expected)


def test_a_distilled_network_knows_every_twentieth_step_from_the_last() -> None:
    levels, all_of_them = DistilledLevels(), NoiseLevels()
    assert len(levels.sigmas) == 50
    torch.testing.assert_close(levels.sigmas[[0, 1, -1]], all_of_them.sigmas[[19, 39, 999]])
    assert levels.timestep(all_of_them.sigmas[[0, 45, 999]]).tolist() == [19.0, 39.0, 999.0]
    torch.testing.assert_close(levels.sigma(torch.tensor([19.0, 999.0])), all_of_them.sigmas[[19, 999]])


def test_a_consistency_model_keeps_some_of_x_as_diffusers_does() -> None:
    levels = NoiseLevels()
    scheduler = LCMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    x, output = (torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(k)) for k in (1, 2))
    for t in (0, 19, 999):
        skip, out = scheduler.get_scalings_for_boundary_condition_discrete(t)
        sigma = levels.sigmas[t]
        expected = out * (x - sigma * output) + skip * x
        torch.testing.assert_close(Consistent(levels).denoised(output, x, sigma), torch.as_tensor(expected))
