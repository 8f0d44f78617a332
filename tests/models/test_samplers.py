"""The samplers, against the closed-form flow of Gaussian data and against k-diffusion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from models.levels import NoiseLevels
from models.noise import Noise
from models.samplers import SAMPLERS
from models.schedules import SCHEDULES
from models.steps import Denoise, Step, ancestral
from tests.models.flow import curved, flow, gaussian, levels, run, start, steps
from tests.models.k_diffusion_peer import k_diffusion_sampling

ORDER = {"euler": 1, "ddim": 1, "heun": 2, "heunpp2": 1, "dpm_2": 2, "dpmpp_2m": 2, "res_multistep": 2,
         "gradient_estimation": 1, "plms": 1, "ipndm": 1}  # fmt: skip
"""Order of the deterministic samplers on levels that are equal steps in no variable. Fixed weights hold for equal steps
only: there plms and ipndm have more; lms and deis have theirs after steps as short as their start needs; see
test_multistep.py. The stochastic ones have tests of their own (test_stochastic.py): their noise is part of the answer.
"""

PEER = {
    "euler": "sample_euler",
    "ddim": "sample_euler",  # DDIM with eta 0 is Euler's method in sigma
    "euler_ancestral": "sample_euler_ancestral",
    "ddpm": "sample_euler_ancestral",  # the same in another scale
    "heun": "sample_heun",
    "dpm_2": "sample_dpm_2",
    "dpm_2_ancestral": "sample_dpm_2_ancestral",
    "dpmpp_2m": "sample_dpmpp_2m",
    "dpmpp_2s_ancestral": "sample_dpmpp_2s_ancestral",
    "dpmpp_sde": "sample_dpmpp_sde",
    "dpmpp_2m_sde": "sample_dpmpp_2m_sde",
    "dpmpp_3m_sde": "sample_dpmpp_3m_sde",
}

DRAWS = {"euler_ancestral": 1, "ddpm": 1, "lcm": 1, "dpm_2_ancestral": 1, "dpmpp_2s_ancestral": 1,
         "res_multistep_ancestral": 1, "er_sde": 1, "seeds_2": 2, "seeds_3": 3, "dpmpp_sde": 2, "dpmpp_sde_gpu": 2,
         "dpmpp_2m_sde": 1, "dpmpp_2m_sde_gpu": 1, "dpmpp_2m_sde_heun": 1, "dpmpp_2m_sde_heun_gpu": 1,
         "dpmpp_3m_sde": 1, "dpmpp_3m_sde_gpu": 1, "euler_ancestral_cfg_pp": 1, "dpmpp_2s_ancestral_cfg_pp": 1,
         "res_multistep_ancestral_cfg_pp": 1, "tcd": 1}  # fmt: skip
"""Draws of noise for a step that does not end at 0; the others never draw."""


AHEAD = ("uni_pc", "uni_pc_bh2")
"""These take the estimate at a level from the latent they predicted there, and end just above 0: see test_unipc.py."""

OWN_STEPS = ("dpm_fast", "dpm_adaptive", "restart")
"""These choose their steps themselves, or take some twice: see test_dpm_solver.py and test_churn.py."""

SOME_NOISE = ("sa_solver", "sa_solver_pece", "restart")
"""These draw where they are, not at every step: see test_sa_solver.py and test_churn.py."""


def evaluations(name: str, n: int) -> int:
    """How often a sampler asks the denoiser for n steps of which the last ends at 0."""
    match name:
        case "heun" | "dpm_2" | "dpm_2_ancestral" | "dpmpp_2s_ancestral" | "dpmpp_2s_ancestral_cfg_pp" | "seeds_2":
            return 2 * n - 1
        case "dpmpp_sde" | "dpmpp_sde_gpu":
            return 2 * n - 1
        case "sa_solver_pece":
            return 2 * n - 1
        case "heunpp2":
            return max(3 * n - 3, 1)
        case "seeds_3":
            return 3 * n - 2
        case "plms":
            return n + (n > 1)
        case _:
            return n


@pytest.fixture(name="start")
def _start() -> Tensor:
    return start()


@pytest.mark.parametrize("name", ORDER)
def test_halving_the_steps_divides_the_error_as_the_order_says(name: str, start: Tensor) -> None:
    errors = []
    for n in (64, 128, 256):
        sigmas = levels(n).exp()
        errors.append(float((run(name, gaussian, start, sigmas) - flow(start, sigmas[0], sigmas[-1])).norm()))
    slopes = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert slopes == pytest.approx([ORDER[name]] * 2, abs=0.1)


@pytest.mark.parametrize("name", ORDER)
def test_many_steps_end_on_the_exact_solution(name: str, start: Tensor) -> None:
    sigmas = levels(2000).exp()
    exact = flow(start, sigmas[0], sigmas[-1])
    assert (run(name, gaussian, start, sigmas) - exact).norm() / exact.norm() < 5e-3 ** ORDER[name] * 2


def test_an_ancestral_step_splits_the_variance_of_the_next_level() -> None:
    sigmas = SCHEDULES["karras"](NoiseLevels(), 30).double()[:-1]
    for sigma, sigma_next in pairwise(sigmas):
        down, up = ancestral(sigma, sigma_next)
        assert down**2 + up**2 == pytest.approx(float(sigma_next**2), rel=1e-12)
        # Ho et al. 2020, equation 7, has the same share of noise: beta-tilde, in sigma's terms.
        assert up**2 == pytest.approx(float(sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2), rel=1e-12)
        assert 0 < down < sigma_next


def test_without_eta_an_ancestral_step_is_a_plain_one() -> None:
    down, up = ancestral(torch.tensor(5.0), torch.tensor(3.0), eta=0.0)
    assert (float(down), float(up)) == (3.0, 0.0)


def test_more_noise_than_the_level_holds_is_cut() -> None:
    down, up = ancestral(torch.tensor(5.0), torch.tensor(3.0), eta=9.0)
    assert (float(down), float(up)) == (0.0, 3.0)


FAIL_ON_ONE_STEP = ("dpmpp_2m_sde", "dpmpp_3m_sde")
"""Those of k-diffusion's that cannot take a single step to 0."""


@pytest.mark.parametrize(
    ("name", "n"), [(name, n) for name in PEER for n in (1, 2, 7) if n > 1 or name not in FAIL_ON_ONE_STEP]
)
@pytest.mark.parametrize("schedule", ["simple", "karras", "ddim_uniform", "normal"])
def test_equals_k_diffusion(name: str, schedule: str, n: int, start: Tensor) -> None:
    sigmas = SCHEDULES[schedule](NoiseLevels(), n).double()
    theirs = Noise(3).stream()
    options: Mapping[str, object] = (
        {"noise_sampler": lambda sigma, sigma_next: theirs(start, sigma, sigma_next)} if name in DRAWS else {}
    )
    visited: list[Tensor] = []
    with torch.random.fork_rng(devices=[]):  # its Euler draws noise that it then does not use
        expected = getattr(k_diffusion_sampling(), PEER[name])(
            lambda x, sigma: curved(x, sigma[0]),
            start,
            sigmas,
            disable=True,
            callback=lambda state: visited.append(state["x"].clone()),
            **options,
        )
    latents = [start, *(step.x for step in steps(name, curved, start, sigmas, Noise(3).stream()))]
    for ours_at, theirs_at in zip(latents, [*visited, expected], strict=True):
        torch.testing.assert_close(ours_at, theirs_at, rtol=1e-10, atol=1e-10)


def test_ddim_is_song_s_equation_12_with_eta_0(start: Tensor) -> None:
    sigmas = SCHEDULES["ddim_uniform"](NoiseLevels(), 8).double()
    alphas_cumprod = 1 / (1 + sigmas**2)
    y = start * alphas_cumprod[0].sqrt()  # the latent in the scale of the paper
    for i, (now, then) in enumerate(pairwise(alphas_cumprod)):
        x0 = curved(y / now.sqrt(), sigmas[i])
        eps = (y - now.sqrt() * x0) / (1 - now).sqrt()
        y = then.sqrt() * x0 + (1 - then).sqrt() * eps
    torch.testing.assert_close(run("ddim", curved, start, sigmas), y, rtol=1e-10, atol=1e-10)


def counting(denoise: Denoise, calls: list[tuple[Tensor, Tensor]]) -> Denoise:
    def counted(x: Tensor, sigma: Tensor) -> Tensor:
        calls.append((x.clone(), sigma))
        return denoise(x, sigma)

    return counted


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in OWN_STEPS])
@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_evaluations_and_draws_are_as_many_as_documented(name: str, n: int, start: Tensor) -> None:
    calls: list[tuple[Tensor, Tensor]] = []
    drawn: list[torch.Size] = []
    stream = Noise(0).stream()

    def noise(x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        drawn.append(x.shape)
        return stream(x, sigma, sigma_next)

    sigmas = SCHEDULES["karras"](NoiseLevels(), n).double()
    run(name, counting(curved, calls), start, sigmas, noise)
    assert len(calls) == evaluations(name, n)
    assert all(0 < sigma <= sigmas[0] for _, sigma in calls)
    assert {float(sigma) for _, sigma in calls} >= set(sigmas[:-1].tolist())
    if name not in SOME_NOISE:
        assert drawn == [start.shape] * DRAWS.get(name, 0) * (n - 1)


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in (*AHEAD, *OWN_STEPS, "sa_solver_pece")])
def test_steps_tell_where_they_were_and_what_they_saw(name: str, start: Tensor) -> None:
    calls: list[tuple[Tensor, Tensor]] = []
    sigmas = SCHEDULES["karras"](NoiseLevels(), 5).double()
    before, sigmas_before = start.clone(), sigmas.clone()
    taken, first_calls = list[Step](), []
    sampling = steps(name, counting(curved, calls), start, sigmas, Noise(0))
    while True:
        asked = len(calls)
        step = next(sampling, None)
        if step is None:
            break
        taken.append(step)
        first_calls.append(calls[asked])
    assert [step.i for step in taken] == [0, 1, 2, 3, 4]
    assert [step.sigma for step in taken] == list(sigmas[:-1])
    latents = [start, *(step.x for step in taken)]
    for step, (seen, _), x in zip(taken, first_calls, latents, strict=False):
        assert torch.equal(seen, x), "the denoiser is first given the latent of the step before"
        assert torch.equal(step.denoised, curved(x, step.sigma))
    torch.testing.assert_close(taken[-1].x, taken[-1].denoised)  # nothing but the estimate is left at level 0
    assert torch.equal(start, before) and torch.equal(sigmas, sigmas_before), "the caller's tensors are not written to"


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in OWN_STEPS])
def test_a_sampler_works_only_when_asked_and_stops_when_closed(name: str, start: Tensor) -> None:
    calls: list[tuple[Tensor, Tensor]] = []
    sigmas = SCHEDULES["karras"](NoiseLevels(), 9)
    sampling = steps(name, counting(curved, calls), start, sigmas, Noise(0))
    assert len(calls) == 0
    for i in range(3):
        assert isinstance(next(sampling), Step)
        assert all(sigma >= sigmas[i + 2] for _, sigma in calls), "nothing of the steps after the next"
    asked = len(calls)
    sampling.close()  # type: ignore[attr-defined]
    assert list(sampling) == [] and len(calls) == asked


@pytest.mark.parametrize("name", SAMPLERS)
def test_latents_keep_shape_and_precision(name: str, start: Tensor) -> None:
    sigmas = SCHEDULES["normal"](NoiseLevels(), 4)
    for step in steps(name, gaussian, start.float(), sigmas, Noise(0)):
        assert step.x.shape == start.shape and step.x.dtype == torch.float32
        assert step.x.isfinite().all()
