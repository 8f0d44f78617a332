"""From a seed to noise: the pictures that people share by seed rest on these numbers."""

from __future__ import annotations

import pytest
import torch

from models.noise import Noise
from tests.models.golden import recorded

PICTURE = (1, 4, 16, 16)
HIGH, LOW = torch.tensor(3.0), torch.tensor(2.0)


@pytest.mark.parametrize("batch", [1, 2])
def test_seed_42_gives_the_recorded_start(batch: int) -> None:
    expected = recorded("units")[f"noise_seed42_{batch}x4x16x16"]
    assert torch.equal(Noise(42).initial((batch, 4, 16, 16)), expected)


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32, 2**53 + 1, 2**63, 2**64 - 1])
def test_every_64_bit_seed_is_taken(seed: int) -> None:
    noise = Noise(seed).initial(PICTURE)
    assert torch.equal(noise, Noise(seed).initial(PICTURE))
    assert noise.dtype == torch.float32 and noise.device.type == "cpu"
    assert abs(float(noise.mean())) < 0.15 and float(noise.std()) == pytest.approx(1, abs=0.1)


def test_seeds_above_2_to_53_do_not_collapse() -> None:
    """A seed that went through a float on the way would lose its last bits. (torch's CPU generator reads the lower 32
    bits only, so seeds that differ above those give one picture, here as in every program that seeds it.)"""
    seeds = [2**53, 2**53 + 1, 2**53 + 2, 2**64 - 2, 2**64 - 1]
    starts = [Noise(seed).initial(PICTURE) for seed in seeds]
    assert all(not torch.equal(a, b) for i, a in enumerate(starts) for b in starts[:i])


def test_it_is_what_torch_s_own_generator_draws_first() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2**53 + 1)
        expected = torch.randn(2, 4, 9, 17)  # a size whose pictures are no multiple of 16 numbers
    assert torch.equal(Noise(2**53 + 1).initial((2, 4, 9, 17)), expected)


@pytest.mark.parametrize(("seed", "following"), [(7, 8), (2**53, 2**53 + 1), (2**64 - 1, 0)])
def test_the_noise_between_steps_is_that_of_the_next_seed(seed: int, following: int) -> None:
    """Drawn from the same seed it would begin with the initial noise once more; ComfyUI's rule since December 2025."""
    stream = Noise(seed).stream()
    first, second = stream(torch.zeros(PICTURE), HIGH, LOW), stream(torch.zeros(PICTURE), HIGH, LOW)
    assert torch.equal(first, Noise(following).initial(PICTURE))
    assert not torch.equal(first, Noise(seed).initial(PICTURE)) and not torch.equal(second, first)


def test_draws_follow_one_after_another_like_one_long_draw() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        expected = [torch.randn(PICTURE) for _ in range(3)]
    stream = Noise(7).stream()
    assert all(torch.equal(stream(torch.zeros(PICTURE), HIGH, LOW), draw) for draw in expected)


def test_streams_of_one_seed_do_not_share_their_place() -> None:
    noise, x = Noise(7), torch.zeros(PICTURE)
    one = noise.stream()
    draws = [one(x, HIGH, LOW), one(x, HIGH, LOW)]
    other = noise.stream()
    assert torch.equal(other(x, HIGH, LOW), draws[0]) and torch.equal(other(x, HIGH, LOW), draws[1])
    assert torch.equal(noise.initial(PICTURE), Noise(7).initial(PICTURE))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_noise_comes_in_the_latent_s_precision_but_is_drawn_in_float32(dtype: torch.dtype) -> None:
    drawn = Noise(5).stream()(torch.zeros(PICTURE, dtype=dtype), HIGH, LOW)
    assert drawn.dtype == dtype
    assert torch.equal(drawn, Noise(6).initial(PICTURE).to(dtype))


def test_the_process_wide_generator_is_neither_read_nor_moved() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = Noise(9).initial(PICTURE), Noise(9).stream()(torch.zeros(PICTURE), HIGH, LOW)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        again = Noise(9).initial(PICTURE), Noise(9).stream()(torch.zeros(PICTURE), HIGH, LOW)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
