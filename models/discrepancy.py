"""Maximum mean discrepancies of two sets of features: KID and CMMD. Both are right on average, however few pictures."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

KID_SEED = 2020  # of the subsets, as in torch-fidelity
CMMD_WIDTH, CMMD_SCALE = 10.0, 1000.0


def kid(a: Tensor, b: Tensor, subsets: int = 100, size: int = 1000) -> tuple[float, float]:
    """Kernel Inception distance (Binkowski et al. 2018, arXiv:1801.01401, section 4): mean and deviation over subsets.

    a, b: [n, D] and [m, D]. The kernel is (x y / D + 1)^3; subsets are drawn as torch-fidelity draws them, and none is
    larger than either set.
    """
    size = min(size, len(a), len(b))
    chance = np.random.RandomState(KID_SEED)
    x, y = a.double(), b.double()
    found = []
    for _ in range(subsets):
        mine, theirs = (torch.from_numpy(chance.choice(len(z), size, replace=False)) for z in (x, y))
        found.append(_unbiased(_cubic(x[mine], x[mine]), _cubic(y[theirs], y[theirs]), _cubic(x[mine], y[theirs])))
    return float(np.mean(found)), float(np.std(found))


def cmmd(a: Tensor, b: Tensor) -> float:
    """CLIP maximum mean discrepancy (Jayasumana et al. 2024, arXiv:2401.09603, equation 4), times 1000.

    a, b: [n, D] and [m, D], pictures as CLIP sees them; their lengths do not count. The kernel is
    exp(-|x - y|^2 / (2 * 10^2)).
    """
    x, y = (z.double() / z.double().norm(dim=1, keepdim=True) for z in (a, b))
    return CMMD_SCALE * _unbiased(_bell(x, x), _bell(y, y), _bell(x, y))


def _cubic(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _bell(x: Tensor, y: Tensor) -> Tensor:
    return torch.exp(-torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square() / (2 * CMMD_WIDTH**2))


def _unbiased(xx: Tensor, yy: Tensor, xy: Tensor) -> float:
    """Of kernel values within and between: the mean over pairs of different pictures."""
    within = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in (xx, yy)]
    return float(within[0] + within[1] - 2 * xy.mean())
