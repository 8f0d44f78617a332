"""CFG++: the guided estimate, and the way back up along the unguided slope."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from models.levels import NoiseLevels
from models.noise import Noise
from models.samplers import SAMPLERS
from models.schedules import SCHEDULES
from tests.models.flow import Unguided, curved, gaussian, run, start

PLAIN = {name: name.removesuffix("_cfg_pp") for name in SAMPLERS if name.endswith("_cfg_pp")}
SIGMAS = SCHEDULES["karras"](NoiseLevels(), 7).double()


def test_all_six_are_there() -> None:
    assert len(PLAIN) == 7  # res_multistep comes with noise and without


@pytest.mark.parametrize("name", [name for name in PLAIN if name != "dpmpp_2s_ancestral_cfg_pp"])
def test_without_guidance_it_is_the_plain_sampler(name: str) -> None:
    """Where both estimates are the same. dpmpp_2s is held to its recording alone."""
    expected = run(PLAIN[name], curved, start(), SIGMAS, Noise(3))
    torch.testing.assert_close(run(name, curved, start(), SIGMAS, Noise(3)), expected, rtol=1e-9, atol=1e-9)


def guided(name: str) -> Tensor:
    x = start()
    for step in SAMPLERS[name](Unguided(curved, away=gaussian), x, SIGMAS, Noise(3)):
        x = step.x
    return x


@pytest.mark.parametrize("name", PLAIN)
def test_with_guidance_it_ends_on_the_guided_estimate(name: str) -> None:
    x = start()
    for step in SAMPLERS[name](Unguided(curved, away=gaussian), x, SIGMAS, Noise(3)):
        x = step.x
    torch.testing.assert_close(x, step.denoised)
    assert not torch.allclose(x, run(PLAIN[name], curved, start(), SIGMAS, Noise(3)), rtol=1e-2)


def test_euler_is_algorithm_2_of_the_paper() -> None:
    """In their scale: x' = sqrt(a') D + sqrt(1 - a') eps_away, with a = 1 / (1 + sigma ** 2)."""
    alphas = 1 / (1 + SIGMAS**2)
    y = start() * alphas[0].sqrt()
    for i, (now, then) in enumerate(pairwise(alphas)):
        x = y / now.sqrt()
        eps = (y - now.sqrt() * gaussian(x, SIGMAS[i])) / (1 - now).sqrt()
        y = then.sqrt() * curved(x, SIGMAS[i]) + (1 - then).sqrt() * eps
    torch.testing.assert_close(guided("euler_cfg_pp"), y, rtol=1e-9, atol=1e-9)
