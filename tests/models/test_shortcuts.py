"""What leaves a part of the arithmetic out: which part is computed when, and what stands in for the rest."""

from __future__ import annotations

import importlib
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.attention import Place, Site
from models.config import UNetConfig
from models.deep_cache import DeepCache
from models.family import SD1
from models.reading import Reading
from models.steering import Call, Ground
from models.step_caching import EasyCache, Estimates, LazyCache
from models.token_downsampling import TokenDownsampling
from models.turns import Turns
from models.unet import ResBlock, UNet
from tests.models.oracles import diffusers_unet

CONFIG = UNetConfig(model_channels=32, context_dim=24)
LEVELS = SD1.diffusion.levels
GROUND = Ground(CONFIG, LEVELS, {1: torch.zeros(1, 77, 24)})
SIGMAS = (10.0, 6.0, 4.0, 2.0, 1.0)
WHOLE = (0.0, 1.0)


@pytest.fixture(scope="module")
def unet() -> UNet:
    torch.manual_seed(0)
    return UNet(CONFIG).eval()


@dataclass
class Seen:
    """How often each block ran."""

    counts: Counter[str] = field(default_factory=Counter)


@pytest.fixture
def seen(unet: UNet) -> Iterator[Seen]:
    seen = Seen()
    watched: dict[str, nn.Module] = {"middle": unet.middle_block}
    watched |= {f"in {i}": stage for i, stage in enumerate(unet.input_blocks)}
    watched |= {f"out {i}": stage for i, stage in enumerate(unet.output_blocks)}

    def note(name: str) -> Any:
        return lambda *_: seen.counts.update([name])

    hooks = [next(stage.children()).register_forward_hook(note(name)) for name, stage in watched.items()]
    yield seen
    for hook in hooks:
        hook.remove()


def latents(step: int, each: int = 1) -> Tensor:
    start = torch.randn(each, 4, 8, 8, generator=torch.manual_seed(1))
    return start + 0.05 * step * torch.randn(each, 4, 8, 8, generator=torch.manual_seed(2))


READING = Reading(torch.randn(1, 77, 24, generator=torch.manual_seed(3)))


def called(x: Tensor, sigma: float) -> Call:
    return Call(x, LEVELS.timestep(torch.tensor(sigma)).expand(len(x)), sigma, ())


@torch.no_grad()
def test_the_deep_part_is_kept_for_the_steps_between(unet: UNet, seen: Seen) -> None:
    begun = DeepCache(interval=3).begin(GROUND)
    for step, sigma in enumerate(SIGMAS):
        call = called(latents(step), sigma)
        unet(call.x, call.t, begun.steer(call, READING))
    assert {seen.counts[name] for name in ("in 0", "out 11")} == {5}
    assert {seen.counts[name] for name in ("in 1", "in 11", "middle", "out 0", "out 10")} == {2}


@torch.no_grad()
def test_more_blocks_may_be_computed_always_and_only_within_a_part_of_the_way(unet: UNet, seen: Seen) -> None:
    begun = DeepCache(interval=5, branch=2, start=0.3).begin(GROUND)
    assert SIGMAS[0] > LEVELS.at(0.3) > SIGMAS[-1]
    whole = sum(sigma > LEVELS.at(0.3) for sigma in SIGMAS)
    for step, sigma in enumerate(SIGMAS):
        call = called(latents(step), sigma)
        unet(call.x, call.t, begun.steer(call, READING))
    assert {seen.counts[name] for name in ("in 2", "out 9")} == {5}
    assert {seen.counts[name] for name in ("in 3", "out 8")} == {whole + 1}


@torch.no_grad()
def test_a_step_between_is_the_last_block_of_new_and_old_features(unet: UNet) -> None:
    begun = DeepCache(interval=2).begin(GROUND)
    handed: list[Tensor] = []
    last = next(unet.output_blocks[-1].children())
    assert isinstance(last, ResBlock)
    hook = last.register_forward_pre_hook(lambda _, given: handed.append(given[0]))
    first, second = called(latents(0), SIGMAS[0]), called(latents(1), SIGMAS[1])
    full = unet(first.x, first.t, begun.steer(first, READING))
    assert torch.equal(full, unet(first.x, first.t, READING))
    made = unet(second.x, second.t, begun.steer(second, READING))
    hook.remove()
    kept = handed[0][:, :-32]
    skip = next(unet.input_blocks[0].children())(second.x)
    h = last(torch.cat([kept, skip], dim=1), unet.times(second.t, second.x.dtype))
    h = list(unet.output_blocks[-1].children())[1](h, READING)
    assert torch.allclose(made, unet.out(h), atol=1e-6)
    assert not torch.allclose(made, unet(second.x, second.t, READING), atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("branch", [0, 1, 3, 5])
def test_all_steps_are_those_of_the_papers_authors(unet: UNet, branch: int) -> None:
    peer = importlib.import_module("DeepCache")
    theirs = diffusers_unet(unet)
    times = [float(LEVELS.timestep(torch.tensor(sigma))) for sigma in SIGMAS]
    helper = peer.DeepCacheSDHelper(SimpleNamespace(unet=theirs, scheduler=SimpleNamespace(timesteps=times)))
    helper.set_params(cache_interval=3, cache_branch_id=branch)
    helper.enable()
    begun = DeepCache(interval=3, branch=branch).begin(GROUND)
    for step, (sigma, time) in enumerate(zip(SIGMAS, times, strict=True)):
        call = called(latents(step), sigma)
        made = unet(call.x, call.t, begun.steer(call, READING))
        wanted = theirs(call.x, torch.tensor(time), encoder_hidden_states=READING.context).sample
        assert float((made - wanted).norm() / wanted.norm()) < 1e-5


@torch.no_grad()
def test_texts_that_are_called_one_by_one_keep_their_own(unet: UNet) -> None:
    begun = DeepCache(interval=2).begin(GROUND)
    other = Reading(torch.randn(1, 77, 24, generator=torch.manual_seed(4)))
    alone = {id(reading): DeepCache(interval=2).begin(GROUND) for reading in (READING, other)}
    for step, sigma in enumerate(SIGMAS):
        for reading in (READING, other):
            call = called(latents(step), sigma)
            together = unet(call.x, call.t, begun.steer(call, reading))
            assert torch.equal(together, unet(call.x, call.t, alone[id(reading)].steer(call, reading)))


def test_calls_are_counted_by_level() -> None:
    turns = Turns()
    assert [turns.next(sigma) for sigma in (3.0, 3.0, 2.0, 2.0, 1.0)] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]


@pytest.mark.parametrize(("tokens", "places"), [(64, 16), (16, 16), (80, 20), (9 * 7, 5 * 4)])
def test_keys_and_values_are_those_of_some_rows_and_columns(tokens: int, places: int) -> None:
    height, width = {80: (10, 8), 63: (9, 7)}.get(tokens, (8, 8))
    call = called(torch.zeros(1, 4, height, width), 1.0)
    looked: list[tuple[int, Tensor]] = []

    def around(site: Site, x: Tensor, keys: Tensor, values: Tensor, inner: Any) -> Tensor:
        looked.append((x.shape[1], keys))
        assert torch.equal(keys, values)
        return inner(x, keys, values)

    reading = TokenDownsampling((2, 1)).begin(GROUND).steer(call, Reading(torch.zeros(1, 3, 4), around=around))
    numbers = torch.arange(float(tokens)).view(1, tokens, 1)
    site = Site(Place("input", 1), 0, False, 1)
    reading.around(site, numbers, numbers, numbers, lambda x, keys, values: x)
    ((asking, keys),) = looked
    assert asking == tokens and keys.shape[1] == places
    if places != tokens:
        board = torch.arange(float(tokens)).view(height, width)
        assert keys.flatten().tolist() == [float(board[y, x]) for y in range(0, height, 2) for x in range(0, width, 2)]
    text = torch.zeros(1, 77, 1)
    reading.around(site._replace(text=True), numbers, text, text, lambda x, keys, values: x)
    assert looked[-1][1].shape[1] == 77, "what is read of the text stays whole"


def test_an_answer_is_told_while_the_changes_are_small_in_all() -> None:
    """v = 3 x + 1 changes three times as much as x, which the rule finds out in the first two steps."""
    estimates, computed = Estimates(threshold=0.2), []

    def answer(x: Tensor) -> Tensor:
        made, new = estimates.answer(x, lambda: 3 * x + 1)
        computed.append(new)
        return made

    for value in (10.0, 9.9):
        assert torch.allclose(answer(torch.full((1, 1), value)), torch.full((1, 1), 3 * value + 1))
    told = answer(torch.full((1, 1), 9.5))  # off by 3 * 0.4 / 30.7 of it
    assert computed == [True, True, False]
    assert torch.allclose(told, torch.full((1, 1), 9.5 + (30.7 - 9.9)))
    assert estimates.error == pytest.approx(3 * 0.4 / 30.7, rel=1e-4)
    answer(torch.full((1, 1), 8.0))
    assert estimates.error == pytest.approx(3 * 0.4 / 30.7 + 3 * 1.5 / 30.3, rel=1e-4)
    assert torch.equal(answer(torch.full((1, 1), 7.0)), torch.full((1, 1), 22.0))
    assert computed == [True, True, False, False, True] and estimates.error == 0.0


def test_nothing_is_told_at_a_threshold_of_0_or_of_another_size() -> None:
    never = Estimates(threshold=0.0)
    assert all(never.answer(torch.full((1, 1), 1.0 + at), lambda: torch.ones(1, 1))[1] for at in range(5))
    some = Estimates(threshold=9.0)
    for size in (1, 2, 1):
        assert some.answer(torch.ones(size, 1), lambda size=size: torch.ones(size, 1))[1]  # type: ignore[misc]


def test_easy_cache_skips_the_network_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    begun = EasyCache(3.0, 0.0, 1.0, verbose=True).begin(GROUND)
    assert begun.around is not None
    ran: list[float] = []

    def inside(x: Tensor, t: Tensor, reading: Reading) -> Tensor:
        ran.append(float(t[0]))
        return 0.9 * x

    with caplog.at_level(logging.INFO):
        for step, sigma in enumerate(SIGMAS):
            call = called(latents(step), sigma)
            begun.around(inside, call.x, call.t, begun.steer(call, READING))
    assert len(ran) == 2, "two answers in turn tell how fast they change"
    assert [message.rpartition(" ")[2] for message in caplog.messages[:2]] == ["computed", "computed"]
    assert all("told" in message for message in caplog.messages[2:])


def test_lazy_cache_tells_whole_steps() -> None:
    begun = LazyCache(3.0, 0.0, 1.0).begin(GROUND)
    assert begun.predict is not None
    ran: list[float] = []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        ran.append(float(sigma))
        return 0.5 * x

    for step, sigma in enumerate(SIGMAS):
        made = begun.predict(None, denoise, sigma * latents(step), torch.tensor(sigma))  # type: ignore[arg-type]
        if step < 2:
            assert torch.allclose(made, 0.5 * sigma * latents(step), rtol=1e-5)
    assert ran == list(SIGMAS[:2])
