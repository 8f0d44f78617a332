"""KID against torch-fidelity, CMMD against its paper's sums; both are 0 on average where both sets are alike."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import distribution
from types import ModuleType

import pytest
import torch
from torch import Tensor

from models.discrepancy import cmmd, kid


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Mapping[str, float]]:
    """torch-fidelity's function; what its file imports besides imports torchvision, and is not used for it."""
    package, readers = ModuleType("torch_fidelity"), ModuleType("torch_fidelity.utils")
    package.__path__ = [str(distribution("torch-fidelity").locate_file("torch_fidelity"))]
    for name in ("create_feature_extractor", "extract_featuresdict_from_input_id_cached"):
        setattr(readers, name, None)
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    monkeypatch.setitem(sys.modules, "torch_fidelity.utils", readers)
    from torch_fidelity.metric_kid import kid_features_to_metric

    measure: Callable[..., Mapping[str, float]] = kid_features_to_metric
    return measure


def seen(count: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, 24, generator=torch.Generator().manual_seed(seed)) + shift


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_kid_is_torch_fidelity_s(shift: float, peer: Callable[..., Mapping[str, float]]) -> None:
    a, b = seen(60, 1), seen(50, 2, shift)
    theirs = peer(a, b, kid_subsets=10, kid_subset_size=40, verbose=False)
    mean, deviation = kid(a, b, subsets=10, size=40)
    assert mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4, abs=1e-6)
    assert deviation == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-4, abs=1e-6)


def test_a_subset_is_no_larger_than_the_sets() -> None:
    assert kid(seen(5, 1), seen(7, 2), subsets=3, size=1000)[0] == pytest.approx(kid(seen(5, 1), seen(7, 2), 3, 5)[0])


def test_cmmd_is_the_paper_s_sum_over_pairs() -> None:
    a, b = seen(7, 1), seen(5, 2, 1.0)
    x, y = ([z / z.norm() for z in pictures.double()] for pictures in (a, b))

    def k(p: Tensor, q: Tensor) -> float:
        return math.exp(-float(((p - q) ** 2).sum()) / 200)

    def mean(pairs: list[tuple[Tensor, Tensor]]) -> float:
        return sum(k(p, q) for p, q in pairs) / len(pairs)

    inside = [mean([(p, q) for i, p in enumerate(z) for j, q in enumerate(z) if i != j]) for z in (x, y)]
    expected = 1000 * (inside[0] + inside[1] - 2 * mean([(p, q) for p in x for q in y]))
    assert cmmd(a, b) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert cmmd(a * 3, b) == pytest.approx(cmmd(a, b))


@pytest.mark.parametrize("measure", [cmmd, lambda a, b: kid(a, b, 1)[0]])
def test_of_equal_sets_few_pictures_give_nothing_on_average(measure: object) -> None:
    found = [measure(seen(6, 2 * i), seen(6, 2 * i + 1)) for i in range(200)]  # type: ignore[operator]
    spread = torch.tensor(found).std() / math.sqrt(len(found))
    assert abs(sum(found) / len(found)) < 3.5 * float(spread)
    assert min(found) < 0 < max(found)
