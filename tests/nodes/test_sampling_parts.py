"""Schedules, samplers and guidance from nodes with settings of their own."""

from __future__ import annotations

import itertools
import math
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from graph.errors import InputError
from models.guidance import DualCfg, Estimates, cfg, rescaled
from models.noise import Noise
from models.precision import Precision
from models.prediction import Velocity
from models.reading import Reading
from models.residency import Residency
from models.types import Cond, Conditioning, Latent, Model, Sigmas
from nodes import custom_sampling, guidance, latent_math, model_sampling, samplers, schedulers
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
        samplers.sampler_lcm_upscale(CTX, scale_ratio=2.0, upscale_method="bislerp"),
        samplers.sampler_tcd(CTX, gamma=0.5),
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


def test_laplace_levels_are_its_quantiles() -> None:
    """scipy's quantiles of log sigma; the ends are cut to the levels asked for, and there is no 0."""
    found = values(schedulers.laplace_scheduler(CTX, steps=9, mu=0.3, beta=0.7))
    quantiles = scipy.stats.laplace(0.3, 0.7).ppf(torch.linspace(1, 0, 9)[1:-1].numpy())
    assert found[1:-1] == pytest.approx(torch.tensor(quantiles).exp().tolist(), rel=1e-3)
    assert found[0] == pytest.approx(14.614642) and found[-1] == pytest.approx(0.0291675)


def test_beta_levels_are_the_trained_ones_at_its_quantiles(model: Model) -> None:
    found = values(schedulers.beta_sampling_scheduler(CTX, model=model, steps=6, alpha=0.8, beta=0.5))
    at = scipy.stats.beta(0.8, 0.5).ppf(1 - torch.linspace(0, 1, 7)[:-1].numpy())
    trained = model.diffusion.levels.sigma(torch.tensor(at).mul(999).round().float()).tolist()
    assert found == pytest.approx([*trained, 0.0], rel=1e-5)
    with pytest.raises(InputError):
        schedulers.beta_sampling_scheduler(CTX, model=model, alpha=0.0)


@pytest.mark.parametrize(
    ("text", "levels"), [("14.6, 4,1e-1 ;0", [14.6, 4, 0.1, 0]), ("[9.0\n.5 0.]", [9, 0.5, 0]), ("7", [7])]
)
def test_levels_as_they_are_written(text: str, levels: list[float]) -> None:
    assert values(schedulers.manual_sigmas(CTX, sigmas=text)) == pytest.approx(levels)


def test_text_without_a_number_is_no_list_of_levels() -> None:
    with pytest.raises(InputError, match="no number"):
        schedulers.manual_sigmas(CTX, sigmas="none")


@pytest.mark.parametrize(
    ("spacing", "places"),
    [
        ("linear", [0.25, 0.5, 0.75]),
        ("cosine", [math.sin(math.pi / 8), math.sin(math.pi / 4), math.sin(3 * math.pi / 8)]),
        ("sine", [1 - math.cos(math.pi / 8), 1 - math.cos(math.pi / 4), 1 - math.cos(3 * math.pi / 8)]),
    ],
)
def test_steps_are_cut_where_they_begin_high(spacing: str, places: list[float]) -> None:
    levels = Sigmas(torch.tensor([14.0, 6.0, 3.0, 0.0]))
    cut = schedulers.extend_intermediate_sigmas
    found = values(cut(CTX, sigmas=levels, steps=4, end_at_sigma=5.0, spacing=spacing))
    between = [[high + (low - high) * place for place in places] for high, low in ((14, 6), (6, 3))]
    assert found == pytest.approx([14, *between[0], 6, *between[1], 3, 0])
    found = values(cut(CTX, sigmas=levels, steps=4, start_at_sigma=10.0, end_at_sigma=5.0, spacing=spacing))
    assert found == pytest.approx([14, 6, *between[1], 3, 0])
    assert values(cut(CTX, sigmas=levels, steps=1, end_at_sigma=0.0, spacing=spacing)) == [14, 6, 3, 0]
    assert values(cut(CTX, sigmas=Sigmas(torch.zeros(0)), spacing=spacing)) == []


@pytest.mark.parametrize(("levels", "strength"), [([9.0, 4.0, 1.5], 7.5), ([9.0, 0.0], 9.0), ([3.0], 3.0)])
def test_noise_upon_a_latent_is_as_strong_as_between_the_levels(
    model: Model, levels: list[float], strength: float
) -> None:
    latent = Latent(torch.ones(2, 4, 8, 8))
    found = custom_sampling.add_noise(
        CTX, model=model, noise=Noise(7), sigmas=Sigmas(torch.tensor(levels)), latent_image=latent
    )
    noise = torch.randn(2, 4, 8, 8, generator=torch.manual_seed(7))
    torch.testing.assert_close(found.samples, latent.samples + noise * strength / 0.18215, rtol=1e-5, atol=1e-4)
    none = custom_sampling.add_noise(
        CTX, model=model, noise=Noise(7), sigmas=Sigmas(torch.zeros(0)), latent_image=latent
    )
    assert none is latent


@pytest.mark.parametrize("kind", ["edm", "eps", "v_prediction"])
def test_a_continuous_model_has_levels_even_in_log_sigma(model: Model, kind: str) -> None:
    said = model_sampling.model_sampling_continuous_edm(
        CTX, model=model, sampling=kind, sigma_max=80.0, sigma_min=0.002
    )
    levels = said.diffusion.levels
    assert (levels.sigma_max, levels.sigma_min) == (pytest.approx(80.0), pytest.approx(0.002))
    assert levels.at(0.5) == pytest.approx(math.sqrt(80.0 * 0.002), rel=1e-4)
    assert float(levels.timestep(torch.tensor(2.0))) == pytest.approx(0.25 * math.log(2.0), rel=1e-5)


def test_a_continuous_v_model_s_clock_is_an_angle(model: Model) -> None:
    said = model_sampling.model_sampling_continuous_v(
        CTX, model=model, sampling="v_prediction", sigma_max=500.0, sigma_min=0.03
    )
    assert float(said.diffusion.levels.timestep(torch.tensor(2.0))) == pytest.approx(math.atan(2.0) * 2 / math.pi)
    assert said.diffusion.prediction == Velocity()


def test_latents_between_two_keep_direction_and_length_apart() -> None:
    """Against numpy, cell by cell."""
    a, b = (torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    found = latent_math.latent_interpolate(CTX, samples1=Latent(a), samples2=Latent(b), ratio=0.3).samples.numpy()
    for row, column in itertools.product(range(3), range(5)):
        one, two = (x[0, :, row, column].double().numpy() for x in (a, b))
        lengths = [np.linalg.norm(x) for x in (one, two)]
        direction = one / lengths[0] * 0.3 + two / lengths[1] * 0.7
        expected = direction / np.linalg.norm(direction) * (lengths[0] * 0.3 + lengths[1] * 0.7)
        assert np.allclose(found[0, :, row, column], expected, atol=1e-5)


def test_a_growing_picture_follows_its_mask(place: Workplace, model: Model) -> None:
    """Where nothing may change, the latent that was given comes out in its larger size."""
    kept = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 32:] = 1
    chosen = samplers.sampler_lcm_upscale(CTX, scale_ratio=2.0, scale_steps=2, upscale_method="bilinear")
    text = Conditioning((Cond(torch.randn(1, 77, 8, generator=torch.manual_seed(1)), torch.zeros(1, 8)),))
    made = custom_sampling.sampler_custom(
        place.ctx(), model=model, noise_seed=5, cfg=1.0, positive=text, negative=text, sampler=chosen,
        sigmas=Sigmas(torch.tensor([14.6, 6.0, 3.0, 1.0, 0.0])), latent_image=Latent(kept, noise_mask=mask),
    ).output  # fmt: skip
    larger = torch.nn.functional.interpolate(kept, size=(16, 16), mode="bilinear")
    assert made.samples.shape == (1, 4, 16, 16)
    torch.testing.assert_close(made.samples[..., :7], larger[..., :7], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(made.samples[..., 9:], larger[..., 9:], atol=0.1)


def test_a_model_computes_in_what_was_chosen(place: Workplace, model: Model) -> None:
    """The same as where the program was started so; both kinds are in memory beside each other."""
    chosen = model_sampling.model_compute_dtype(place.ctx(), model=model, dtype="bf16")
    assert model_sampling.model_compute_dtype(place.ctx(), model=chosen, dtype="default") == model
    x, t = torch.randn(1, 4, 8, 8, generator=torch.manual_seed(1)), torch.tensor([500.0])
    reading = Reading(torch.randn(1, 77, 8, generator=torch.manual_seed(2)))
    half = Residency(torch.device("cpu"), Precision(model=torch.bfloat16), budget=2**30)
    with half.use(model) as network:
        expected = network(x.bfloat16(), t, replace(reading, context=reading.context.bfloat16()))
    with place.services.residency.use(chosen) as network, place.services.residency.use(model) as plain:
        found = network(x.bfloat16(), t, replace(reading, context=reading.context.bfloat16()))
        exact = plain(x, t, reading)
    assert torch.equal(found, expected) and found.dtype == torch.bfloat16
    assert 0 < (found - exact).abs().max() < 0.1


def test_a_model_that_is_to_be_compiled_is_handed_on_with_a_word(place: Workplace, model: Model) -> None:
    ctx = place.ctx()
    assert model_sampling.torch_compile_model(ctx, model=model, backend="inductor") is model
    assert "not compiled by inductor" in ctx.warnings[0].message
