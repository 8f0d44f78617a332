"""The distance of FID, against the matrix square root that everybody's FID takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor

from models.frechet import frechet_distance, gathered


def sample(count: int, features: int, seed: int, shift: float = 0.0) -> Tensor:
    """Features that hang together, as those of pictures do."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(features, features, generator=torch.Generator().manual_seed(9)) / features**0.5
    return (torch.randn(count, features, generator=generator) * (1 + 0.3 * seed)) @ mixing + shift


def by_square_root(a: Tensor, b: Tensor) -> float:
    """As pytorch-fid computes it from all features."""
    (m_a, c_a), (m_b, c_b) = ((x.double().mean(0).numpy(), np.cov(x.double().numpy(), rowvar=False)) for x in (a, b))
    root = linalg.sqrtm(c_a @ c_b).real
    return float(((m_a - m_b) ** 2).sum() + np.trace(c_a) + np.trace(c_b) - 2 * np.trace(root))


@pytest.mark.parametrize(("count", "features"), [(500, 16), (300, 64), (2000, 128)])
def test_it_is_the_distance_by_the_matrix_square_root(count: int, features: int) -> None:
    a, b = sample(count, features, 0), sample(count + 50, features, 1, shift=0.5)
    assert frechet_distance(gathered(a), gathered(b)) == pytest.approx(by_square_root(a, b), rel=1e-9)


def test_of_one_feature_it_is_the_known_formula() -> None:
    a, b = torch.tensor([[0.0], [2.0], [4.0]]), torch.tensor([[7.0], [8.0], [9.0]])
    assert frechet_distance(gathered(a), gathered(b)) == pytest.approx((8 - 2) ** 2 + (2 - 1) ** 2)


def test_the_same_pictures_are_at_no_distance_and_it_goes_both_ways() -> None:
    a, b = gathered(sample(40, 64, 0)), gathered(sample(30, 64, 1))  # fewer pictures than features
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6)


def test_features_far_from_zero_lose_nothing() -> None:
    a, b = sample(400, 8, 0), sample(400, 8, 1)
    near, far = (frechet_distance(gathered(a.double() + at), gathered(b.double() + at)) for at in (0.0, 1000.0))
    assert far == pytest.approx(near, rel=1e-6)


def test_one_picture_has_no_spread() -> None:
    with pytest.raises(ValueError, match="two pictures or more"):
        gathered(sample(1, 8, 0))
