"""Noise levels and schedules, against the values that ComfyUI gives for Stable Diffusion v1."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.levels import NoiseLevels
from models.schedules import SCHEDULES, sigmas_for, starts_from_noise, without_penultimate
from tests.models.golden import recorded

LEVELS = NoiseLevels()

FOUR_STEPS = {
    "simple": [14.614641, 4.081729, 1.612886, 0.693205, 0],
    "sgm_uniform": [14.61464, 4.086081, 1.61558, 0.69515, 0],
    "karras": [14.614643, 3.168605, 0.446919, 0.029167, 0],
    "exponential": [14.61464, 1.840024, 0.231664, 0.029167, 0],
    "ddim_uniform": [4.116696, 1.623692, 0.698398, 0.041314, 0],
    "beta": [14.614641, 5.686592, 1.618279, 0.515391, 0],
    "normal": [14.61464, 2.918307, 0.932358, 0.029167, 0],
    "linear_quadratic": [14.614641, 14.431958, 14.249275, 10.595615, 0],
    "kl_optimal": [14.614633, 1.597066, 0.572914, 0.029167, 0],
}


def test_the_levels_are_those_of_stable_diffusion_v1() -> None:
    assert LEVELS.sigma_min == pytest.approx(0.029167158529, rel=1e-6)
    assert LEVELS.sigma_max == pytest.approx(14.614641189575, rel=1e-6)
    torch.testing.assert_close(LEVELS.sigmas, recorded("units")["sigmas_all"], rtol=1e-6, atol=0)


def test_the_levels_follow_from_the_betas_of_the_paper() -> None:
    """1000 steps of scaled-linear betas from 0.00085 to 0.0120, computed here in plain Python."""
    low, high, alpha_bar = math.sqrt(0.00085), math.sqrt(0.012), 1.0
    for i in range(1000):
        alpha_bar *= 1 - (low + (high - low) * i / 999) ** 2
        assert float(LEVELS.sigmas[i]) == pytest.approx(math.sqrt((1 - alpha_bar) / alpha_bar), rel=1e-6)


def test_levels_rise_with_time() -> None:
    assert LEVELS.sigmas.shape == (1000,) and LEVELS.sigmas.dtype == torch.float32
    assert (LEVELS.sigmas.diff() > 0).all()


def test_every_level_finds_its_time_step_again() -> None:
    t = torch.arange(1000.0)
    assert torch.equal(LEVELS.timestep(LEVELS.sigmas), t)
    torch.testing.assert_close(LEVELS.sigma(t), LEVELS.sigmas, rtol=1e-6, atol=0)


def test_a_level_half_way_between_two_time_steps_falls_on_the_recorded_side() -> None:
    """832.5 is a step of `normal` with 7 levels; which U-Net input it becomes hangs on the last bit of the logarithms."""
    assert LEVELS.timestep(SCHEDULES["normal"](LEVELS, 7)[:-1]).tolist() == [999, 833, 666, 500, 333, 166, 0]


def test_the_nearest_time_step_is_found_in_log_sigma() -> None:
    expected = recorded("units")["timestep_of_sigma_1_0.5_10"].float()
    assert torch.equal(LEVELS.timestep(torch.tensor([1.0, 0.5, 10.0])), expected)
    a, b = LEVELS.sigmas[500].double(), LEVELS.sigmas[501].double()
    assert (a * b).sqrt() < (a + b) / 2, "so this level is nearer to a in sigma, to b in log sigma"
    between = (((a * b).sqrt() + (a + b) / 2) / 2).float()
    assert LEVELS.timestep(between) == 501


def test_levels_beyond_the_table_are_clamped() -> None:
    assert LEVELS.timestep(torch.tensor([0.0, 1e-4, 20.0, 4518.0])).tolist() == [0, 0, 999, 999]
    assert LEVELS.sigma(torch.tensor([-3.0, 2000.0])).tolist() == pytest.approx([0.029167158529, 14.614641189575])


def test_a_time_step_is_a_whole_number_of_the_shape_that_was_asked() -> None:
    assert LEVELS.timestep(torch.tensor(2.0)).shape == ()
    assert LEVELS.timestep(torch.tensor([2.0, 3.0])).shape == (2,)
    assert LEVELS.timestep(torch.tensor(2.0)).dtype == torch.float32  # what the U-Net's sinusoids take


def test_between_time_steps_the_level_is_the_geometric_mean() -> None:
    sigmas = LEVELS.sigmas.double()
    assert float(LEVELS.sigma(torch.tensor(10.5))) == pytest.approx(float((sigmas[10] * sigmas[11]).sqrt()), rel=1e-6)
    assert float(LEVELS.sigma(torch.tensor(999 * 0.75))) == pytest.approx(4.086081, rel=1e-6)
    assert float(LEVELS.sigma(torch.tensor(999 * 0.5))) == pytest.approx(1.615580, rel=1e-6)


def test_every_schedule_is_tested_here() -> None:
    assert set(SCHEDULES) == set(FOUR_STEPS)


@pytest.mark.parametrize("name", SCHEDULES)
def test_four_steps(name: str) -> None:
    assert SCHEDULES[name](LEVELS, 4).tolist() == pytest.approx(FOUR_STEPS[name], abs=2e-6)


@pytest.mark.parametrize("steps", [6, 20])
@pytest.mark.parametrize("name", SCHEDULES)
def test_equals_the_recorded_list(name: str, steps: int) -> None:
    expected = recorded(f"sigmas_{name}_{steps}_1.0")["sigmas"]
    sigmas = sigmas_for(SCHEDULES[name], LEVELS, steps)
    torch.testing.assert_close(sigmas[-(steps + 1) :], expected, rtol=3e-7, atol=0)  # BasicScheduler keeps the tail
    assert len(sigmas) == len(expected) or name == "ddim_uniform"


@given(st.sampled_from([name for name in SCHEDULES if name not in ("ddim_uniform", "beta")]), st.integers(1, 1000))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_n_steps_are_n_falling_levels_and_a_zero(name: str, steps: int) -> None:
    sigmas = SCHEDULES[name](LEVELS, steps)
    assert sigmas.shape == (steps + 1,) and sigmas.dtype == torch.float32 and sigmas.device.type == "cpu"
    assert float(sigmas[0]) == pytest.approx(LEVELS.sigma_max, rel=1e-5)
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()


@pytest.mark.parametrize("name", ["normal", "karras", "exponential", "kl_optimal"])
@pytest.mark.parametrize("steps", [2, 20])
def test_the_last_level_before_zero_is_the_lowest(name: str, steps: int) -> None:
    assert float(SCHEDULES[name](LEVELS, steps)[-2]) == pytest.approx(LEVELS.sigma_min, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "ddim_uniform"])
def test_one_step_goes_from_the_top_to_zero(name: str) -> None:
    assert SCHEDULES[name](LEVELS, 1).tolist() == pytest.approx([14.614641, 0], rel=1e-6)


@pytest.mark.parametrize(("steps", "length"), [(1, 2), (4, 5), (7, 9), (30, 32), (999, 1000), (1000, 1000)])
def test_ddim_uniform_may_be_longer_than_asked(steps: int, length: int) -> None:
    sigmas = SCHEDULES["ddim_uniform"](LEVELS, steps)
    assert len(sigmas) == length
    assert sigmas[-2] == LEVELS.sigmas[1] and sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()


@pytest.mark.parametrize("steps", [*range(1, 40), 100, 500, 999, 1000, 1001, 4321])
def test_beta_takes_the_levels_at_scipy_s_quantiles(steps: int) -> None:
    quantiles = scipy.stats.beta.ppf(1 - np.linspace(0, 1, steps, endpoint=False), 0.6, 0.6)
    t = dict.fromkeys(np.rint(quantiles * 999).astype(int).tolist())  # in order, each once
    assert torch.equal(SCHEDULES["beta"](LEVELS, steps), torch.cat([LEVELS.sigmas[list(t)], torch.zeros(1)]))


def test_a_long_beta_list_is_shorter_than_asked() -> None:
    assert len(SCHEDULES["beta"](LEVELS, 500)) == 476


@pytest.mark.parametrize("steps", [2, 5, 20])
def test_linear_quadratic_is_a_line_and_a_parabola_without_a_corner(steps: int) -> None:
    way = 1 - SCHEDULES["linear_quadratic"](LEVELS, steps).double() / LEVELS.sigma_max
    half, strides = steps // 2, way.diff()
    assert strides[:half].tolist() == pytest.approx([0.025 / half] * half, abs=1e-7)
    bends = strides[half:].diff()  # of a parabola they are equal
    assert bends.tolist() == pytest.approx([float(strides[half] - strides[half - 1]) * 2] * len(bends), abs=1e-6)


def test_without_the_penultimate_level_the_last_step_starts_higher() -> None:
    for name in ("normal", "karras"):
        shortened = without_penultimate(SCHEDULES[name])(LEVELS, 6)
        longer = SCHEDULES[name](LEVELS, 7)
        assert torch.equal(shortened, torch.cat([longer[:6], longer[7:]])) and len(shortened) == 7


@pytest.mark.parametrize("name", SCHEDULES)
def test_more_steps_than_trained_levels_still_give_a_list(name: str) -> None:
    sigmas = SCHEDULES[name](LEVELS, 2500)
    assert sigmas.isfinite().all() and (sigmas.diff() <= 0).all() and sigmas[-1] == 0


def test_denoise_takes_the_tail_of_a_longer_list() -> None:
    half = sigmas_for(SCHEDULES["normal"], LEVELS, 4, denoise=0.5)
    assert half.tolist() == pytest.approx([1.276832, 0.791260, 0.439666, 0.029167, 0], abs=1e-6)
    torch.testing.assert_close(half, SCHEDULES["normal"](LEVELS, 8)[-5:])


def test_the_longer_list_has_a_whole_number_of_steps_rounded_down() -> None:
    torch.testing.assert_close(  # 5 / 0.65 is 7.7
        sigmas_for(SCHEDULES["karras"], LEVELS, 5, 0.65), SCHEDULES["karras"](LEVELS, 7)[-6:]
    )


@given(st.sampled_from(sorted(SCHEDULES)), st.integers(1, 100), st.floats(0.05, 0.9999))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_denoise_below_one_takes_as_many_steps_as_asked(name: str, steps: int, denoise: float) -> None:
    sigmas = sigmas_for(SCHEDULES[name], LEVELS, steps, denoise)
    assert len(sigmas) == min(steps + 1, len(SCHEDULES[name](LEVELS, int(steps / denoise))))
    assert (sigmas.diff() <= 0).all() and sigmas[-1] == 0


@pytest.mark.parametrize("denoise", [1.0, 0.99995])
def test_a_denoise_of_practically_one_is_the_whole_list(denoise: float) -> None:
    assert torch.equal(sigmas_for(SCHEDULES["karras"], LEVELS, 9, denoise), SCHEDULES["karras"](LEVELS, 9))


@pytest.mark.parametrize("denoise", [0.0, -1.0])
def test_no_denoise_is_nothing_to_do(denoise: float) -> None:
    assert sigmas_for(SCHEDULES["karras"], LEVELS, 9, denoise).numel() == 0


@pytest.mark.parametrize(("name", "whole"), [(name, name != "ddim_uniform") for name in SCHEDULES])
def test_only_lists_from_the_top_start_from_pure_noise(name: str, whole: bool) -> None:
    assert starts_from_noise(SCHEDULES[name](LEVELS, 20), LEVELS) is whole
    assert not starts_from_noise(sigmas_for(SCHEDULES[name], LEVELS, 20, denoise=0.9), LEVELS)


def test_the_top_is_recognised_within_rounding() -> None:
    assert starts_from_noise(torch.tensor([14.614641 * (1 - 9e-6), 0.0]), LEVELS)
    assert not starts_from_noise(torch.tensor([14.614641 * (1 - 2e-5), 0.0]), LEVELS)
    assert starts_from_noise(torch.tensor([20.0, 0.0]), LEVELS)
