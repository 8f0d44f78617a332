"""The Fréchet distance between two sets of features, taken as Gaussian (Heusel et al. 2017, arXiv:1706.08500: FID)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from models.types import Features


def gathered(vectors: Iterable[Tensor]) -> Features:
    """Count, mean and unbiased covariance of vectors [D], which are not kept. Raises ValueError for fewer than two."""
    count = 0
    total = products = torch.empty(0)
    for vector in vectors:
        x = vector.double()
        if not count:
            total, products = torch.zeros_like(x), torch.zeros(len(x), len(x), dtype=torch.float64)
        count += 1
        total = total + x
        products.addr_(x, x)
    if count < 2:
        raise ValueError("a covariance takes two pictures or more")
    mean = total / count
    return Features(count, mean, (products - count * torch.outer(mean, mean)) / (count - 1))


def frechet_distance(a: Features, b: Features) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), never below 0.

    The last trace is the sum of the square roots of the eigenvalues of C_a^(1/2) C_b C_a^(1/2), which is symmetric and
    has those of C_a C_b: no complex root, and nothing to add to covariances of fewer pictures than features.
    """
    values, vectors = torch.linalg.eigh(a.covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp(min=0).sqrt().sum()
    apart = (a.mean - b.mean).square().sum()
    return max(0.0, (apart + a.covariance.trace() + b.covariance.trace() - 2 * cross).item())
