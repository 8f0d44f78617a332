"""The noise that torch draws on CUDA, computed anywhere: Philox 4x32-10 and what torch makes of its numbers.

Salmon et al. 2011 ("Parallel random numbers: as easy as 1, 2, 3"). Torch gives each number of a tensor a stream of its
own, whose number is its place, and takes the first of the four normal numbers (Box and Muller 1958) that a stream makes
at a time. So it is as long as a tensor has no more numbers than a GPU runs threads at once, which is more than 100,000
on all of the last ten years; beyond that the layout hangs on the GPU, and this keeps to the rule.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Words = NDArray[np.uint64]  # 32 bits each
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85  # what the key grows by, round after round
ROUNDS = 10


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Philox 4x32-10: four words for each counter of four words, and a key of two."""
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    a, b, c, d = counter
    first, second = key
    for _ in range(ROUNDS):
        left, right = a * np.uint64(MULTIPLIERS[0]), c * np.uint64(MULTIPLIERS[1])
        a, b, c, d = (
            (right >> half) ^ b ^ np.uint64(first),
            right & low,
            (left >> half) ^ d ^ np.uint64(second),
            left & low,
        )
        first, second = (first + WEYL[0]) & 0xFFFFFFFF, (second + WEYL[1]) & 0xFFFFFFFF
    return a, b, c, d


def cuda_normal(shape: tuple[int, ...], seed: int, call: int = 0) -> Tensor:
    """What the call-th `torch.randn` (from 0) of a CUDA generator with that seed gives. float32, on the CPU.

    Sines and logarithms of a GPU's fast units differ in the last places: it is the same but for about 1e-6.
    """
    count = int(np.prod(shape, dtype=np.int64))
    places = np.arange(count, dtype=np.uint64)
    nothing = np.zeros(count, np.uint64)
    words = philox((nothing + np.uint64(call), nothing, places, nothing), (seed & 0xFFFFFFFF, seed >> 32))
    scale = np.float32(2**-32)
    u = words[0].astype(np.float32) * scale + scale / 2
    v = words[1].astype(np.float32) * (scale * np.float32(2 * np.pi)) + scale * np.float32(np.pi)
    normal = np.sqrt(np.float32(-2) * np.log(u)) * np.sin(v)
    return torch.from_numpy(normal.astype(np.float32).reshape(shape))
