"""The samplers, against the closed-form flow of Gaussian data and against k-diffusion."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from models.noise import Noise
from models.samplers import SAMPLERS, Denoise, Sampler, Step, ancestral
from models.schedules import SCHEDULES, NoiseLevels
from tests.models.k_diffusion_peer import k_diffusion_sampling

ORDER = {"euler": 1, "ddim": 1, "dpmpp_2m": 2}
"""Order of the deterministic samplers. The ancestral one has a test of its own: its noise is part of the answer."""

PEER = {
    "euler": "sample_euler",
    "ddim": "sample_euler",  # DDIM with eta 0 is Euler's method in sigma
    "euler_ancestral": "sample_euler_ancestral",
    "dpmpp_2m": "sample_dpmpp_2m",
}

MEAN, SPREAD = 0.7, 1.3  # of the Gaussian data, per number


def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
    """The exact denoiser of data drawn from N(MEAN, SPREAD²): the posterior mean given x = data + sigma * noise."""
    return MEAN + (x - MEAN) * SPREAD**2 / (sigma**2 + SPREAD**2)


def flow(x: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Where the probability-flow equation of that data carries x from level `start` to level `end`."""
    return MEAN + (x - MEAN) * ((end**2 + SPREAD**2) / (start**2 + SPREAD**2)).sqrt()


def curved(x: Tensor, sigma: Tensor) -> Tensor:
    """A denoiser of no data in particular, neither linear nor equal from pixel to pixel."""
    neighbour = x.roll(1, dims=-1)
    return (x * 0.8 + 0.1 * neighbour) / (1 + sigma**2) + torch.tanh(x + sigma.log()) * 0.3 - 0.05 * x.mean()


def levels(n: int, top: float = 12.0, bottom: float = 0.05) -> Tensor:
    """[n + 1] float64: steps that are equal in log sigma but for being short and long by turns, so that a multistep
    sampler which mistakes the ratio of steps loses its order."""
    steps = torch.tensor([1.0, 2.0], dtype=torch.float64).repeat(n // 2)
    place = torch.cat([torch.zeros(1, dtype=torch.float64), steps.cumsum(0)]) / steps.sum()
    return math.log(top) * (1 - place) + math.log(bottom) * place


def silence(x: Tensor) -> Tensor:
    raise AssertionError("a deterministic sampler drew noise")


def run(name: str, denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Callable[[Tensor], Tensor] = silence) -> Tensor:
    for step in SAMPLERS[name](denoise, x, sigmas, noise):
        x = step.x
    return x


@pytest.fixture
def start() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 4, 3, 5, generator=generator, dtype=torch.float64) * 12


def test_every_sampler_is_tested_here() -> None:
    assert set(SAMPLERS) == set(PEER) == {*ORDER, "euler_ancestral"}


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


def test_the_ancestral_sampler_ends_with_the_spread_of_the_data_at_first_order() -> None:
    """With a linear denoiser the result is a linear map of start and noise, so its variance is known without chance:
    give every draw a channel of its own, and add the squares of the channels."""

    def centred(x: Tensor, sigma: Tensor) -> Tensor:
        return x * SPREAD**2 / (sigma**2 + SPREAD**2)

    errors = []
    for n in (128, 256, 512):
        sigmas = levels(n).exp()
        unit = torch.eye(n + 1, dtype=torch.float64)[:, None, :, None, None]  # draw k -> [1, n + 1, 1, 1]
        draws = iter(unit[1:])

        def draw(x: Tensor, draws: Iterator[Tensor] = draws) -> Tensor:
            return next(draws)

        x = unit[0] * (sigmas[0] ** 2 + SPREAD**2).sqrt()
        variance = float(run("euler_ancestral", centred, x, sigmas, draw).square().sum())
        errors.append(abs(variance - float(sigmas[-1] ** 2 + SPREAD**2)))
        assert next(draws, None) is None, "one draw a step"
    assert errors[-1] < 0.05
    assert [math.log2(coarse / fine) for coarse, fine in pairwise(errors)] == pytest.approx([1, 1], abs=0.1)


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


@pytest.mark.parametrize("name", PEER)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_equals_k_diffusion(name: str, schedule: str, steps: int, start: Tensor) -> None:
    sigmas = SCHEDULES[schedule](NoiseLevels(), steps).double()
    ours, theirs = Noise(3).stream(), Noise(3).stream()
    options: Mapping[str, object] = (
        {"noise_sampler": lambda sigma, sigma_next: theirs(start)} if name == "euler_ancestral" else {}
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
    latents = [start, *(step.x for step in SAMPLERS[name](curved, start, sigmas, ours))]
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


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("n", [1, 2, 9])
def test_one_evaluation_a_step(name: str, n: int, start: Tensor) -> None:
    calls: list[tuple[Tensor, Tensor]] = []
    sigmas = SCHEDULES["karras"](NoiseLevels(), n).double()
    run(name, counting(curved, calls), start, sigmas, Noise(0).stream())
    assert [float(sigma) for _, sigma in calls] == sigmas[:-1].tolist()


@pytest.mark.parametrize("name", SAMPLERS)
def test_steps_tell_where_they_were_and_what_they_saw(name: str, start: Tensor) -> None:
    calls: list[tuple[Tensor, Tensor]] = []
    sigmas = SCHEDULES["karras"](NoiseLevels(), 5).double()
    before, sigmas_before = start.clone(), sigmas.clone()
    steps = list(SAMPLERS[name](counting(curved, calls), start, sigmas, Noise(0).stream()))
    assert [step.i for step in steps] == [0, 1, 2, 3, 4]
    assert [step.sigma for step in steps] == list(sigmas[:-1])
    latents = [start, *(step.x for step in steps)]
    for step, (seen, _), x in zip(steps, calls, latents, strict=False):
        assert torch.equal(seen, x), "the denoiser is given the latent of the step before"
        assert torch.equal(step.denoised, curved(x, step.sigma))
    torch.testing.assert_close(steps[-1].x, steps[-1].denoised)  # nothing but the estimate is left at level 0
    assert torch.equal(start, before) and torch.equal(sigmas, sigmas_before), "the caller's tensors are not written to"


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_works_only_when_asked_and_stops_when_closed(name: str, start: Tensor) -> None:
    calls: list[tuple[Tensor, Tensor]] = []
    sampler: Sampler = SAMPLERS[name]
    steps = sampler(counting(curved, calls), start, SCHEDULES["karras"](NoiseLevels(), 9), Noise(0).stream())
    assert len(calls) == 0
    for expected in (1, 2, 3):
        assert isinstance(next(steps), Step)
        assert len(calls) == expected
    steps.close()  # type: ignore[attr-defined]
    assert list(steps) == [] and len(calls) == 3


@pytest.mark.parametrize("name", SAMPLERS)
def test_latents_keep_shape_and_precision(name: str, start: Tensor) -> None:
    sigmas = SCHEDULES["normal"](NoiseLevels(), 4)
    for step in SAMPLERS[name](gaussian, start.float(), sigmas, Noise(0).stream()):
        assert step.x.shape == start.shape and step.x.dtype == torch.float32
        assert step.x.isfinite().all()


def test_an_ancestral_sampler_draws_once_a_step_but_not_for_the_last(start: Tensor) -> None:
    drawn = []
    stream = Noise(0).stream()

    def noise(x: Tensor) -> Tensor:
        drawn.append(x.shape)
        return stream(x)

    run("euler_ancestral", curved, start, SCHEDULES["normal"](NoiseLevels(), 6).double(), noise)
    assert drawn == [start.shape] * 5
