"""How the weights of words become vectors, and what may be done to weights before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Weighted:
    """An encoded prompt whose words have weights.

    z: [n, 77, D], its vectors; z0: [77, D], those of the empty prompt; weights: [n, 77]; words: [n, 77], the number of the
    word or the words of one weight that a token belongs to, -1 for none. encode: the vectors where those tokens alone are
    looked at that [n, 77] says.
    """

    z: Tensor
    z0: Tensor
    weights: Tensor
    words: Tensor
    encode: Callable[[Tensor], Tensor]

    def light(self) -> Iterator[tuple[float, Tensor]]:
        """The words that weigh less than 1: their weights, and where they stand."""
        for word in self.words[(self.weights < 1) & (self.words >= 0)].unique().tolist():
            at = self.words == word
            yield float(self.weights[at][0]), at


Weighting = Callable[[Weighted], Tensor]
"""An encoded prompt -> weighted vectors, [n, 77, D]."""


def from_empty(prompt: Weighted) -> Tensor:
    """Each position from what it is in the empty prompt: z0 + weight * (z - z0), as ComfyUI does."""
    return _from(prompt, prompt.z)


def scaled(prompt: Weighted) -> Tensor:
    """Each position times its weight, and all of a chunk so that its mean stays, as A1111 does."""
    weighted = prompt.z * prompt.weights[..., None]
    return weighted * (prompt.z.mean(dim=(1, 2), keepdim=True) / weighted.mean(dim=(1, 2), keepdim=True))


LEAST = 1e-5
"""The weight that compel takes for 0, where the share of the prompt without a word would be infinite."""


def compel(prompt: Weighted) -> Tensor:
    """As `from_empty`, mixed with the prompts in which nothing looks at one of the words that weigh less than 1.

    A weight w counts tan((1 - w) pi / 2) beside the 1 of the prompt itself. So the library compel has it, in its way MASK.
    """
    mixed, total = _from(prompt, prompt.z), 1.0
    for weight, at in prompt.light():
        share = math.tan((1 - max(weight, LEAST)) * math.pi / 2)
        mixed, total = mixed + share * _from(prompt, prompt.encode(~at)), total + share
    return mixed / total


def down_weight(prompt: Weighted) -> Tensor:
    """All weights divided by the largest, and then the mean of prompts that lack more and more of the lightest words.

    With weights 0.2 and 0.5: 0.2 of the prompt, 0.3 of it without the first word, 0.5 of it without both, as the
    documentation of ADV_CLIP_emb says. Nothing looks at words that are lacking.
    """
    largest = max(float(prompt.weights.max()), LEAST)
    light = sorted(replace(prompt, weights=prompt.weights / largest).light(), key=lambda word: word[0])
    mixed, before, seen = torch.zeros_like(prompt.z), 0.0, torch.ones_like(prompt.words, dtype=torch.bool)
    vectors = prompt.z
    for weight, at in light:
        if weight > before:
            mixed = mixed + (weight - before) * vectors
            before = weight
        seen = seen & ~at
        vectors = prompt.encode(seen)
    return mixed + (1 - before) * vectors


def _from(prompt: Weighted, z: Tensor) -> Tensor:
    return prompt.z0 + prompt.weights[..., None] * (z - prompt.z0)


WEIGHTINGS: Mapping[str, Weighting] = MappingProxyType(
    {"comfy": from_empty, "A1111": scaled, "compel": compel, "down_weight": down_weight}
)

Normalization = Callable[[Sequence[tuple[float, int]]], list[float]]
"""Words as (weight, how many tokens they are) -> a weight for the tokens of each."""


def as_they_are(words: Sequence[tuple[float, int]]) -> list[float]:
    """The weights."""
    return [weight for weight, _ in words]


def by_length(words: Sequence[tuple[float, int]]) -> list[float]:
    """What a weight adds to 1, shared out to the tokens of a word so that they are together as far from 1 as it was.

    Long words count no more than short ones: 1.5 becomes 1.29 for each of three tokens, whose 0.29 are 0.5 together by
    Pythagoras. So the documentation of ADV_CLIP_emb says.
    """
    return [1 + (weight - 1) / max(count, 1) ** 0.5 for weight, count in words]


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
