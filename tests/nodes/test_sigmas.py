"""Nodes that make and cut lists of noise levels."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from graph.errors import InputError
from models.levels import NoiseLevels
from models.schedules import SCHEDULES
from models.types import Model, Sigmas
from nodes.custom_sampling import basic_scheduler, flip_sigmas, karras_scheduler, split_sigmas
from nodes.loaders import checkpoint_loader_simple
from tests.models.golden import recorded
from tests.nodes.conftest import CHECKPOINT, Workplace

LEVELS = NoiseLevels()


@pytest.fixture
def model(place: Workplace) -> Model:
    loaded: Model = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT)).model
    return loaded


def sigmas_of(node: Any, place: Workplace, **inputs: Any) -> list[float]:
    return list(node(place.ctx(), **inputs).values.tolist())


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_basic_scheduler_gives_the_recorded_levels(place: Workplace, model: Model, name: str) -> None:
    for steps in (6, 20):
        sigmas = basic_scheduler(place.ctx(), model=model, scheduler=name, steps=steps).values
        torch.testing.assert_close(sigmas, recorded(f"sigmas_{name}_{steps}_1.0")["sigmas"], rtol=3e-7, atol=0)
    assert place.services.residency.resident_bytes == 0, "levels do not hang on weights"


def test_a_basic_scheduler_keeps_as_many_steps_as_asked(place: Workplace, model: Model) -> None:
    settings = {"model": model, "scheduler": "normal", "steps": 4}
    assert sigmas_of(basic_scheduler, place, **settings, denoise=0.5) == SCHEDULES["normal"](LEVELS, 8)[-5:].tolist()
    assert sigmas_of(basic_scheduler, place, **settings, denoise=0.0) == []
    longer = SCHEDULES["ddim_uniform"](LEVELS, 7).tolist()
    assert len(longer) == 9
    assert sigmas_of(basic_scheduler, place, model=model, scheduler="ddim_uniform", steps=7) == longer[1:]


def test_karras_levels_lie_between_any_two(place: Workplace) -> None:
    assert sigmas_of(karras_scheduler, place, steps=4) == pytest.approx(
        [14.614643, 3.168605, 0.446919, 0.029167, 0], rel=2e-5
    )
    even = sigmas_of(karras_scheduler, place, steps=4, sigma_max=10.0, sigma_min=1.0, rho=1.0)
    assert even == pytest.approx([10, 7, 4, 1, 0])
    with pytest.raises(InputError) as caught:
        karras_scheduler(place.ctx(), rho=0.0)
    assert caught.value.input_name == "rho"


@pytest.mark.parametrize(
    ("step", "high", "low"),
    [(0, [4.0], [4.0, 2.0, 1.0, 0.0]), (1, [4.0, 2.0], [2.0, 1.0, 0.0]), (3, [4.0, 2.0, 1.0, 0.0], [0.0]),
     (9, [4.0, 2.0, 1.0, 0.0], [])],
)  # fmt: skip
def test_levels_are_split_at_a_step(place: Workplace, step: int, high: list[float], low: list[float]) -> None:
    split = split_sigmas(place.ctx(), sigmas=Sigmas(torch.tensor([4.0, 2.0, 1.0, 0.0])), step=step)
    assert (split.high_sigmas.values.tolist(), split.low_sigmas.values.tolist()) == (high, low)


def test_flipped_levels_leave_from_just_above_0(place: Workplace) -> None:
    sigmas = Sigmas(torch.tensor([4.0, 2.0, 0.0]))
    assert sigmas_of(flip_sigmas, place, sigmas=sigmas) == pytest.approx([1e-4, 2, 4])
    assert sigmas.values.tolist() == [4.0, 2.0, 0.0]
    assert sigmas_of(flip_sigmas, place, sigmas=Sigmas(torch.tensor([4.0, 2.0]))) == [2, 4]
    assert sigmas_of(flip_sigmas, place, sigmas=Sigmas(torch.zeros(0))) == []
