"""Merged networks: each rule against its definition or its library, and that a merge is a patch like others."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.checkpoint import CheckpointError, Weights, read_header
from models.merging import Arc, Average, Dare, Difference, Merge, Rule, Sum, Ties
from models.precision import Precision
from models.residency import Residency
from models.types import Model
from tests.tiny_checkpoint import write_tiny_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")

QUERY = "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"


@pytest.fixture
def model(tmp_path: Path) -> Callable[[int], Model]:
    def made(seed: int) -> Model:
        path = write_tiny_checkpoint(tmp_path / f"{seed}.safetensors", seed)
        return Model(read_header(path), f"identity-{seed}")

    return made


def weights(handle: Model, residency: Residency | None = None) -> dict[str, Tensor]:
    with (residency or Residency(torch.device("cpu"), Precision(), 2**40)).use(handle) as unet:
        return {name: tensor.clone() for name, tensor in unet.named_parameters()}


def merged(rule: Rule, first: Model, *others: Model) -> dict[str, Tensor]:
    return weights(Model(first.weights, first.identity, patches=(*first.patches, Merge(others, rule))))


def test_an_average_has_shares_by_block(model: Callable[[int], Model]) -> None:
    one, other = weights(model(1)), weights(model(2))
    found = merged(Average((("", 0.25), ("middle", 1.0), ("out", 0.0))), model(1), model(2))
    for name, tensor in found.items():
        share = 1.0 if name.startswith("middle") else 0.0 if name.startswith("out") else 0.25
        torch.testing.assert_close(tensor, one[name] * share + other[name] * (1 - share))


def test_a_difference_added_to_its_second_is_its_first(model: Callable[[int], Model]) -> None:
    difference = Model(model(1).weights, "identity-1", patches=(Merge((model(2),), Difference(1.0)),))
    torch.testing.assert_close(weights(difference)[QUERY], weights(model(1))[QUERY] - weights(model(2))[QUERY])
    back = merged(Sum(), model(2), difference)
    for name, tensor in weights(model(1)).items():
        torch.testing.assert_close(back[name], tensor, atol=1e-5, rtol=1e-5)


def test_an_arc_keeps_the_length_and_ends_at_both(model: Callable[[int], Model]) -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.nn.functional.normalize(torch.randn(50, generator=generator), dim=0) for _ in range(2))
    for ratio in (0.0, 0.3, 0.5, 1.0):
        between = Arc(ratio)("", one, [other])
        assert between.norm() == pytest.approx(1, abs=1e-5)
        whole, part = (torch.arccos(torch.dot(a, b)) for a, b in ((one, other), (between, other)))
        assert part.item() == pytest.approx(ratio * whole.item(), abs=2e-3)
    assert torch.allclose(Arc(0.4)("", one, [one]), one, atol=1e-6)


@pytest.mark.parametrize("density", [0.2, 0.7, 1.0])
def test_ties_as_peft_computes_it(density: float) -> None:
    from peft.utils.merge_utils import ties

    generator = torch.Generator().manual_seed(0)
    base, one, other = (torch.randn(13, 11, generator=generator) for _ in range(3))
    expected = base + ties([one - base, other - base], torch.tensor([0.8, 0.5]), density)
    torch.testing.assert_close(Ties((0.8, 0.5), density)("w", base, [one, other]), expected)


def test_dare_keeps_a_share_and_the_mean() -> None:
    base, one = torch.zeros(200, 200), torch.ones(200, 200)
    found = Dare((0.5,), 0.25, 7)("w", base, [one])
    assert set(found.unique().tolist()) == {0.0, 2.0}
    assert found.mean() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(found, Dare((0.5,), 0.25, 7)("w", base, [one]))
    assert not torch.equal(found, Dare((0.5,), 0.25, 8)("w", base, [one]))
    assert not torch.equal(found, Dare((0.5,), 0.25, 7)("x", base, [one]))
    assert torch.equal(Dare((1.0,), 1.0, 0)("w", base, [one]), one)


def test_a_merge_can_be_pickled_and_merged_again(model: Callable[[int], Model]) -> None:
    first = Model(model(1).weights, "identity-1", patches=(Merge((model(2),), Average((("", 0.5),))),))
    again = pickle.loads(pickle.dumps(first))
    assert again.patches[0].key == first.patches[0].key
    found = merged(Average((("", 0.5),)), model(3), again)
    expected = 0.5 * weights(model(3))[QUERY] + 0.25 * weights(model(1))[QUERY] + 0.25 * weights(model(2))[QUERY]
    torch.testing.assert_close(found[QUERY], expected)
    assert [path.name for path, _ in Merge((again,), Sum()).sources] == ["1.safetensors", "2.safetensors"]


def test_what_does_not_fit_is_said(model: Callable[[int], Model], tmp_path: Path) -> None:
    tensors = load_file(model(1).weights.path)
    name = "model.diffusion_model." + QUERY
    save_file(tensors | {name: torch.zeros(4, 4)}, tmp_path / "other.safetensors")
    other: Weights = read_header(tmp_path / "other.safetensors")
    with pytest.raises(
        CheckpointError, match=r"other\.safetensors cannot be merged.*to_q\.weight has the shape \[4, 4\]"
    ):
        Merge((Model(other, "o"),), Sum()).check(model(1).weights.shapes("model"))
