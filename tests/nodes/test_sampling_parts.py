"""Schedules, samplers and guidance from nodes with settings of their own."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from graph.errors import InputError
from models.guidance import DualCfg, Estimates, cfg, rescaled
from models.prediction import Velocity
from models.types import Model, Sigmas
from nodes import guidance, model_sampling, samplers, schedulers
from nodes.loaders import checkpoint_loader_simple
from tests.nodes.conftest import CHECKPOINT, Workplace


@pytest.fixture
def model(place: Workplace) -> Model:
    loaded: Model = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT)).model
    return loaded


CTX: Any = None


def values(sigmas: Any) -> list[float]:
    found: list[float] = sigmas.values.tolist()
    return found


def test_schedules_between_two_levels() -> None:
    found = values(schedulers.exponential_scheduler(CTX, steps=4))
    assert found == pytest.approx([14.61464, 1.840024, 0.231664, 0.0291675, 0], rel=1e-4)
    assert values(schedulers.polyexponential_scheduler(CTX, steps=4, rho=1.0)) == pytest.approx(found)
    bent = values(schedulers.polyexponential_scheduler(CTX, steps=3, rho=2.0))
    assert bent[1] == pytest.approx(0.0291675 * (14.614642 / 0.0291675) ** 0.25, rel=1e-5)
    for low, high in ((0.0, 1.0), (2.0, 1.0), (1.0, 1.0)):
        with pytest.raises(InputError):
            schedulers.exponential_scheduler(CTX, sigma_min=low, sigma_max=high)


def test_vp_levels_are_song_s() -> None:
    found = values(schedulers.vp_scheduler(CTX, steps=3, beta_d=19.9, beta_min=0.1, eps_s=0.001))
    t = torch.tensor([1.0, 0.5005, 0.001], dtype=torch.float64)
    assert found[:3] == pytest.approx((19.9 * t**2 / 2 + 0.1 * t).expm1().sqrt().tolist(), rel=1e-4)
    with pytest.raises(InputError):
        schedulers.vp_scheduler(CTX, beta_d=5000.0)


def test_align_your_steps_levels() -> None:
    ten = values(schedulers.align_your_steps_scheduler(CTX, model_type="SD1", steps=10))
    assert len(ten) == 11 and ten[-1] == 0 and ten[1:3] == pytest.approx([6.4745761, 3.8636746])
    half = values(schedulers.align_your_steps_scheduler(CTX, model_type="SD1", steps=10, denoise=0.5))
    assert half == pytest.approx(ten[-6:])
    twenty = values(schedulers.align_your_steps_scheduler(CTX, model_type="SDXL", steps=20))
    assert len(twenty) == 21 and twenty[2] == pytest.approx(6.3184485)
    assert twenty[1] == pytest.approx((14.6146412 * 6.3184485) ** 0.5, rel=1e-5)
    assert values(schedulers.align_your_steps_scheduler(CTX, model_type="SD1", denoise=0.0)) == []


def test_turbo_levels(model: Model) -> None:
    found = schedulers.sd_turbo_scheduler(CTX, model=model, steps=3)
    assert values(found) == pytest.approx([14.61464, 8.302803, 5.087763, 0], rel=1e-5)
    assert len(values(schedulers.sd_turbo_scheduler(CTX, model=model, steps=10, denoise=0.5))) == 6
    assert values(schedulers.sd_turbo_scheduler(CTX, model=model, denoise=0.0)) == []


def test_lists_are_split_and_changed(model: Model) -> None:
    levels = Sigmas(torch.tensor([9.0, 6.0, 3.0, 1.0, 0.0]))
    high, low = schedulers.split_sigmas_denoise(CTX, sigmas=levels, denoise=0.5)
    assert (values(high), values(low)) == ([9, 6, 3], [3, 1, 0])
    assert values(schedulers.split_sigmas_denoise(CTX, sigmas=levels, denoise=0.0)[1]) == [0]
    assert values(schedulers.set_first_sigma(CTX, sigmas=levels, sigma=20.0))[:2] == [20, 6]
    at = schedulers.sampling_percent_to_sigma
    assert at(CTX, model=model, sampling_percent=0.25) == pytest.approx(4.086081)
    assert at(CTX, model=model, sampling_percent=0.0) > 1e8 and at(CTX, model=model, sampling_percent=1.0) == 0
    assert at(CTX, model=model, sampling_percent=0.0, return_actual_sigma=True) == pytest.approx(14.61464)


def test_samplers_with_settings_can_be_pickled() -> None:
    made = [
        samplers.sampler_euler_ancestral(CTX, eta=0.5),
        samplers.sampler_euler_ancestral_cfg_pp(CTX),
        samplers.sampler_dpmpp_2s_ancestral(CTX, s_noise=1.1),
        samplers.sampler_dpmpp_sde(CTX, r=0.4, noise_device="gpu"),
        samplers.sampler_dpmpp_2m_sde(CTX, solver_type="heun", noise_device="cpu"),
        samplers.sampler_dpmpp_3m_sde(CTX, noise_device="gpu"),
        samplers.sampler_lms(CTX, order=2),
        samplers.sampler_dpm_adaptive(CTX, order=2, eta=0.3),
    ]
    for chosen in made:
        assert pickle.loads(pickle.dumps(chosen)).name == chosen.name
    assert made[0].sample.solve.keywords == {"eta": 0.5, "s_noise": 1.0}
    assert made[4].sample.solve.keywords["solver"] == "heun"


def normal(seed: int) -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_rescaled_guidance_is_lin_s_in_terms_of_v() -> None:
    sigma, clean, other = torch.tensor(2.5, dtype=torch.float64), normal(1), normal(2)
    x = clean + sigma * normal(3)
    both = Estimates(x, sigma, clean, other)

    def v_of(denoised: torch.Tensor) -> torch.Tensor:
        return (x / (sigma**2 + 1) - denoised) * (sigma**2 + 1).sqrt() / sigma

    plain = v_of(other) + 7.5 * (v_of(clean) - v_of(other))
    expected = rescale_noise_cfg(plain, v_of(clean), guidance_rescale=0.7)
    torch.testing.assert_close(rescaled(both, 7.5, 0.7), Velocity().denoised(expected, x, sigma))
    torch.testing.assert_close(rescaled(both, 7.5, 0.0), cfg(both, 7.5))


@pytest.mark.parametrize("nested", [False, True])
def test_guidance_by_two_prompts(nested: bool) -> None:
    one, negative, two = normal(1), normal(2), normal(3)
    found = DualCfg(3.0, 5.0, nested)(normal(4), torch.tensor(1.0), {0: one, 1: negative, 2: two}, cfg)
    between = negative + 5.0 * (two - negative) + 3.0 * (one - two)
    inside = negative + 5.0 * ((two + 3.0 * (one - two)) - negative)
    torch.testing.assert_close(found, inside if nested else between)


def test_what_a_model_predicts_can_be_said(model: Model) -> None:
    said = model_sampling.model_sampling_discrete(CTX, model=model, sampling="v_prediction", zsnr=True)
    assert said.diffusion.prediction == Velocity() and said.diffusion.levels.sigma_max > 4000
    assert model.diffusion.levels.sigma_max < 15, "the handle that came is as it was"
    guided = guidance.rescale_cfg(CTX, model=said, multiplier=0.5)
    assert guided.diffusion is said.diffusion
    assert pickle.loads(pickle.dumps(guided)).guiding.combine.keywords == {"multiplier": 0.5}
