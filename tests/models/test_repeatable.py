"""The same weights and numbers give the same to the bit, however many threads share the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.checkpoint import Part, load_part, read_header
from models.clip import TextModel
from models.config import Activation, ClipConfig
from models.packed import can_pack, pack
from models.reading import Reading
from models.repeatable import GroupNorm, gelu, sigmoid, silu

EMBEDDED = Path(__file__).parents[2] / "models/embedded/checkpoints/darkroom-world-256.safetensors"
THREADS = 1, 2, 3, 5, 8
SHAPES = (1, 32, 64, 64), (2, 320, 32, 33), (3, 64, 37, 41), (1, 640, 40, 40)


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    with torch.inference_mode():
        yield
    torch.set_num_threads(before)


def unlike(call: Callable[[], Tensor]) -> list[int]:
    """With which numbers of threads something else comes out than with one."""
    results = {}
    for threads in THREADS:
        torch.set_num_threads(threads)
        results[threads] = call().clone()
    return [threads for threads, result in results.items() if not torch.equal(result, results[1])]


@pytest.mark.skipif(not can_pack(), reason="this torch has no oneDNN operations")
@pytest.mark.parametrize("size", [(32, 32), (40, 24)])
def test_a_step_and_a_picture_are_the_same_with_any_number_of_threads(size: tuple[int, int]) -> None:
    """Loaded anew for each: how weights are packed may hang on the threads too."""
    torch.manual_seed(0)
    header = read_header(EMBEDDED)
    latent, t = torch.randn(2, 4, *size), torch.full((2,), 300.0)

    def loaded(part: Part) -> Any:
        return load_part(header, part, dtype=torch.float32, device=torch.device("cpu"), packed=True)

    def step(x: Tensor, t: Tensor, reading: Reading) -> Tensor:
        predicted: Tensor = loaded("model")(x, t, reading)
        return predicted

    context = torch.randn(2, 77, loaded("model").config.context_dim)
    for batch in (1, 2):
        given = latent[:batch], t[:batch], Reading(context[:batch])
        assert unlike(partial(step, *given)) == []
    assert unlike(lambda: loaded("vae").decode(latent[:1])) == []


@pytest.mark.skipif(not can_pack(), reason="this torch has no oneDNN operations")
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_a_text_is_read_the_same_with_any_number_of_threads(activation: Activation) -> None:
    torch.manual_seed(0)
    text = TextModel(ClipConfig(width=768, layers=2, intermediate=3072, vocab=100, activation=activation))
    weights, tokens = text.state_dict(), torch.randint(100, (2, 77))

    def read() -> Tensor:
        again = TextModel(text.config)
        again.load_state_dict(weights)
        pack(again)
        states: Tensor = again(tokens)
        return states

    assert unlike(read) == []


@pytest.mark.parametrize("shape", SHAPES)
def test_normalising_and_activating_are_the_same_with_any_number_of_threads(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape).to(memory_format=torch.channels_last)
    norm = GroupNorm(32, shape[1])
    assert unlike(lambda: norm(x)) == unlike(lambda: silu(x)) == unlike(lambda: silu(x.clone(), inplace=True)) == []
    assert unlike(lambda: sigmoid(x)) == []
    tokens = torch.randn(2, shape[2] * shape[3], 2 * shape[1]).chunk(2, dim=-1)[1]
    assert unlike(lambda: gelu(tokens)) == unlike(lambda: gelu(tokens[:1])) == []


@pytest.mark.parametrize("shape", SHAPES)
def test_they_give_what_torch_gives(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(3)
    x = (3 * torch.randn(shape) + 2).to(memory_format=torch.channels_last)
    norm = GroupNorm(32, shape[1], eps=1e-6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    exact = F.group_norm(x.double(), 32, norm.weight.double(), norm.bias.double(), norm.eps)
    assert float((norm(x) - exact).abs().max()) < 2e-5
    assert norm(x).stride() == x.stride()
    assert float((silu(x) - F.silu(x.double())).abs().max()) < 2e-6
    assert float((sigmoid(x) - x.double().sigmoid()).abs().max()) < 2e-6
    tokens = torch.randn(2, shape[2] * shape[3], 2 * shape[1]).chunk(2, dim=-1)[1]
    assert float((gelu(tokens) - F.gelu(tokens.double())).abs().max()) < 2e-6


def test_an_item_is_normalised_alone_as_among_others() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 320, 40, 33).to(memory_format=torch.channels_last)
    norm = GroupNorm(32, 320)
    assert torch.equal(norm(x)[1:2], norm(x[1:2].contiguous(memory_format=torch.channels_last)))
