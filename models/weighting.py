"""How the weights of words become vectors: two ways, and what may be done to weights before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from torch import Tensor

Weighting = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(vectors z [n, 77, D], those of the empty prompt z0 [77, D], weights [n, 77]) -> weighted vectors."""


def from_empty(z: Tensor, z0: Tensor, weights: Tensor) -> Tensor:
    """Each position from what it is in the empty prompt: z0 + weight * (z - z0), as ComfyUI does."""
    return z0 + weights[..., None] * (z - z0)


def scaled(z: Tensor, z0: Tensor, weights: Tensor) -> Tensor:
    """Each position times its weight, and all of a chunk so that its mean stays, as A1111 does."""
    weighted = z * weights[..., None]
    return weighted * (z.mean(dim=(1, 2), keepdim=True) / weighted.mean(dim=(1, 2), keepdim=True))


WEIGHTINGS: Mapping[str, Weighting] = MappingProxyType({"comfy": from_empty, "A1111": scaled})

Normalization = Callable[[Sequence[tuple[float, int]]], list[float]]
"""Words as (weight, how many tokens they are) -> a weight for the tokens of each."""


def as_they_are(words: Sequence[tuple[float, int]]) -> list[float]:
    """The weights."""
    return [weight for weight, _ in words]


def by_length(words: Sequence[tuple[float, int]]) -> list[float]:
    """What a weight adds to 1, shared out to all tokens of a word: long words count no more than short ones."""
    return [1 + (weight - 1) / max(count, 1) for weight, count in words]


def by_mean(words: Sequence[tuple[float, int]]) -> list[float]:
    """Moved so that the mean over all tokens is 1."""
    total = sum(count for _, count in words)
    mean = sum(weight * count for weight, count in words) / total if total else 1.0
    return [weight - mean + 1 for weight, _ in words]


NORMALIZATIONS: Mapping[str, Normalization] = MappingProxyType(
    {
        "none": as_they_are,
        "mean": by_mean,
        "length": by_length,
        "length+mean": lambda words: by_mean(
            [(weight, count) for weight, (_, count) in zip(by_length(words), words, strict=True)]
        ),
    }
)
