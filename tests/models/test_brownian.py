"""The Brownian path of a seed, against torchsde's, and by what makes a path one."""

from __future__ import annotations

import math
import warnings
from itertools import pairwise

import pytest
import torch
import torchsde

from models.brownian import BrownianPath
from models.levels import NoiseLevels
from models.noise import Noise
from models.schedules import SCHEDULES

SHAPE = (2, 4, 5, 7)


@pytest.mark.parametrize("seed", [0, 42, 2**53 + 1, 2**64 - 1])
@pytest.mark.parametrize("n", [2, 20])
def test_the_noise_is_that_of_torchsde(seed: int, n: int) -> None:
    sigmas, x = SCHEDULES["karras"](NoiseLevels(), n), torch.zeros(SHAPE)
    low, high = sigmas[-2], sigmas[0]
    tree, ours = torchsde.BrownianTree(low, x, high, entropy=seed), Noise(seed).path(x, sigmas)
    places = [(high, (high * low).sqrt()), *pairwise(sigmas[:-1]), (high, low)]
    for sigma, sigma_next in places:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells that it rounds the ends
            expected = -tree(sigma_next, sigma) / (sigma - sigma_next).sqrt()
        torch.testing.assert_close(ours(x, sigma, sigma_next), expected, rtol=1e-4, atol=1e-5)


def test_increments_add_up_whatever_was_asked_before() -> None:
    path, other = BrownianPath(SHAPE, 0.03, 14.6, 7), BrownianPath(SHAPE, 0.03, 14.6, 7)
    whole = path(0.03, 14.6)
    parts = [other(a, b) for a, b in [(9.0, 14.6), (2.5, 9.0), (0.03, 2.5)]]
    torch.testing.assert_close(sum(parts), whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other(9.0, 2.5), -parts[1])
    assert torch.equal(path(3.0, 3.0), torch.zeros(SHAPE))


def test_an_increment_has_the_variance_of_its_length_and_neighbours_are_independent() -> None:
    path = BrownianPath((1, 4, 128, 128), 0.0, 10.0, 3)
    first, second = path(0.0, 1.0), path(1.0, 3.25)
    assert float(first.std()) == pytest.approx(1, rel=0.02)
    assert float(second.std()) == pytest.approx(math.sqrt(2.25), rel=0.02)
    assert abs(float((first * second).mean())) < 0.02
