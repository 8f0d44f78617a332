"""Kinds of guidance, each against its paper's formula as another program or this test has it."""

from __future__ import annotations

import pickle
from functools import partial

import pytest
import torch
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance
from diffusers.guiders.classifier_free_zero_star_guidance import cfg_zero_star_scale
from diffusers.guiders.tangential_classifier_free_guidance import normalized_guidance as tangential
from torch import Tensor

from models.guidance import Estimates, Guiding, cfg
from models.guidance_kinds import (
    Operated,
    PerpNeg,
    Projected,
    damped,
    frequencies_scaled,
    normed,
    scaled_noise,
    zero_star,
)

SIGMA = torch.tensor(2.5)
SCALE = 7.5


def drawn(seed: int) -> Tensor:
    return torch.randn(2, 4, 8, 6, generator=torch.Generator().manual_seed(seed))


def both(seed: int = 0, sigma: Tensor = SIGMA) -> Estimates:
    positive = drawn(seed + 1)
    return Estimates(positive + sigma * drawn(seed + 3), sigma, positive, positive * 0.6 + drawn(seed + 2) * 0.4)


def noises(estimates: Estimates) -> tuple[Tensor, Tensor]:
    return estimates.x - estimates.positive, estimates.x - estimates.negative


@pytest.mark.parametrize(("eta", "threshold"), [(1.0, 0.0), (0.0, 5.0), (0.3, 2.0)])
def test_projected_guidance_is_diffusers_(eta: float, threshold: float) -> None:
    e = both()
    theirs = normalized_guidance(
        e.positive, e.negative, SCALE, None, eta, threshold, use_original_formulation=False
    )  # their own form counts the scale from the negative estimate
    plain = normalized_guidance(e.positive, e.negative, SCALE - 1, None, eta, threshold, use_original_formulation=True)
    found = Projected(eta, threshold, 0.0)(e, SCALE)
    torch.testing.assert_close(found, plain)
    if threshold == 0.0 and eta == 1.0:
        torch.testing.assert_close(found, theirs)
        torch.testing.assert_close(found, cfg(e, SCALE))


def test_projected_guidance_remembers_as_long_as_the_level_falls() -> None:
    guiding = Guiding(combine=Projected(0.2, 3.0, -0.6))
    levels = [torch.tensor(level) for level in (9.0, 4.0, 1.0)]
    buffer, started = MomentumBuffer(-0.6), guiding.begun()
    for i, sigma in enumerate(levels):
        e = both(i * 10, sigma)
        theirs = normalized_guidance(e.positive, e.negative, SCALE - 1, buffer, 0.2, 3.0, use_original_formulation=True)
        torch.testing.assert_close(started(e, SCALE), theirs)
    first = both(0, levels[0])
    torch.testing.assert_close(started(first, SCALE), guiding.begun()(first, SCALE))  # a higher level is another run
    assert pickle.loads(pickle.dumps(guiding)) == guiding


def test_zero_star_guides_from_the_negative_noise_at_its_best_strength() -> None:
    e = both()
    positive, negative = noises(e)
    negative = negative * cfg_zero_star_scale(positive.flatten(1), negative.flatten(1)).view(-1, 1, 1, 1)
    torch.testing.assert_close(zero_star(e, SCALE), e.x - (negative + SCALE * (positive - negative)))


def test_tangential_damping_is_diffusers_() -> None:
    e = both()
    found = cfg(damped(e, SCALE), SCALE)
    torch.testing.assert_close(found, e.x - tangential(*noises(e), SCALE), rtol=1e-3, atol=1e-3)


def test_perp_neg_leaves_out_what_the_negative_shares_with_the_positive() -> None:
    positive, negative, empty = drawn(1), drawn(2), drawn(3)
    found = PerpNeg(SCALE, 1.5)(drawn(4), SIGMA, {0: positive, 1: negative, 2: empty}, cfg)
    main, other = (d - empty for d in (positive, negative))
    perpendicular = other - main * float((other * main).sum() / main.pow(2).sum())
    assert abs(float((perpendicular * main).sum())) < 1e-2
    torch.testing.assert_close(found, empty + SCALE * (main - 1.5 * perpendicular))
    same = PerpNeg(SCALE, 1.5)(drawn(4), SIGMA, {0: positive, 1: positive, 2: empty}, cfg)
    torch.testing.assert_close(same, empty + SCALE * main, rtol=1e-4, atol=1e-4)


def test_a_normed_estimate_is_nowhere_longer_than_the_positive_one() -> None:
    e = both()
    guided = cfg(e, SCALE)
    found = normed(e, SCALE, guided, 1.0)
    assert (found.norm(dim=1) <= e.positive.norm(dim=1) * 1.00001).all()
    shorter = guided.norm(dim=1, keepdim=True) < e.positive.norm(dim=1, keepdim=True)
    torch.testing.assert_close(found * shorter, guided * shorter)
    torch.testing.assert_close(normed(e, SCALE, guided, 0.5), (found + guided) / 2)
    torch.testing.assert_close(normed(e, SCALE, guided, 0.0), guided)


def test_scaled_noise_is_a_little_less_of_it() -> None:
    e = both()
    guided = cfg(e, SCALE)
    torch.testing.assert_close(e.x - scaled_noise(e, SCALE, guided, 1.005), (e.x - guided) / 1.005)
    torch.testing.assert_close(scaled_noise(e, SCALE, guided, 1.0), guided)


@pytest.mark.parametrize("size", [(8, 6), (7, 9), (4, 4)])
def test_frequencies_are_scaled_apart(size: tuple[int, int]) -> None:
    """A constant is the lowest frequency, a checkerboard the highest."""
    height, width = size
    flat = torch.ones(1, 4, height, width)
    board = (
        flat * torch.tensor([1.0, -1.0]).repeat(width)[:width] * torch.tensor([1.0, -1.0]).repeat(height)[:height, None]
    )
    for difference, factor in ((flat, 0.5), (board, 3.0)) if height % 2 == width % 2 == 0 else ((flat, 0.5),):
        e = Estimates(flat, SIGMA, drawn(1)[:1, :, :1, :1] + difference, drawn(1)[:1, :, :1, :1].expand_as(flat))
        found = frequencies_scaled(e, SCALE, low=0.5, high=3.0, cutoff=1)
        torch.testing.assert_close(found.positive - found.negative, difference * factor, rtol=1e-4, atol=1e-5)
    e = both()
    torch.testing.assert_close(frequencies_scaled(e, SCALE, 1.0, 1.0, 2).positive, e.positive, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(frequencies_scaled(e, SCALE, 0.5, 9.0, 99).positive, (e.positive + e.negative) / 2)


def test_an_operation_is_done_to_the_difference() -> None:
    e = both()
    found = Operated(torch.neg)(e, SCALE)
    torch.testing.assert_close(found.positive, 2 * e.negative - e.positive)


def test_guiding_runs_its_parts_in_order_and_travels() -> None:
    guiding = Guiding(
        (damped, partial(frequencies_scaled, low=0.5, high=2.0, cutoff=2)), zero_star, (partial(normed, strength=0.5),)
    )
    e = both()
    first = frequencies_scaled(damped(e, SCALE), SCALE, 0.5, 2.0, 2)
    expected = normed(first, SCALE, zero_star(first, SCALE), 0.5)
    torch.testing.assert_close(pickle.loads(pickle.dumps(guiding.begun()))(e, SCALE), expected)
