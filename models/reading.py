"""What a U-Net reads besides a noisy latent and its time step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor

from models.attention import Around, Attend, around, attend

Maps = tuple[Tensor | None, ...]


@dataclass(frozen=True, eq=False)
class Residuals:
    """Feature maps that other networks add to a U-Net's own; a place without one is None, and may be left out at the end.

    inputs: to the result of each input block, before the next one sees it (T2I-Adapter, Mou et al. 2023,
    arXiv:2302.08453). skips: to what the output blocks are handed of each input block; middle: to the result of the
    middle block (ControlNet, Zhang et al. 2023, arXiv:2302.05543).
    """

    inputs: Maps = ()
    skips: Maps = ()
    middle: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> Residuals:
        """All maps, changed one by one."""
        inputs, skips, (middle,) = (
            tuple(None if x is None else change(x) for x in maps) for maps in (self.inputs, self.skips, (self.middle,))
        )
        return Residuals(inputs, skips, middle)

    def __add__(self, other: Residuals) -> Residuals:
        """The sums, place by place."""
        return Residuals(
            _sums(self.inputs, other.inputs), _sums(self.skips, other.skips), _sums((self.middle,), (other.middle,))[0]
        )


def _sums(ones: Maps, others: Maps) -> Maps:
    return tuple(a if b is None else b if a is None else a + b for a, b in zip_longest(ones, others, fillvalue=None))


NO_RESIDUALS = Residuals()

Join = Callable[[int, Tensor, Tensor], Tensor]
"""(number of an output block, h [B, C, h, w], skip [B, C', h, w]) -> what the block sees of both, [B, C + C', h, w]."""


def joined(block: int, h: Tensor, skip: Tensor) -> Tensor:
    """One after the other."""
    return torch.cat([h, skip], dim=1)


Pass = Callable[[int, Tensor], tuple[Tensor, Tensor]]
"""(number of an input block, what it made of its input) -> what output blocks are handed, and what the next block sees."""


def passed(block: int, h: Tensor) -> tuple[Tensor, Tensor]:
    """The same for both."""
    return h, h


Deep = Callable[[Callable[[], Tensor]], Tensor]
"""(what computes the deep part of a U-Net) -> what that part hands up, [B, C, h, w]."""


def computed(compute: Callable[[], Tensor]) -> Tensor:
    """Computed."""
    return compute()


Change = Callable[[Tensor], Tensor]
"""[…] -> the same shape."""


def unchanged(x: Tensor) -> Tensor:
    """Itself."""
    return x


@dataclass(frozen=True, eq=False)
class Reading:
    """What a U-Net reads: one value for a call.

    context: [B, T, D], the text. vector: [B, V], of networks that read one besides. concat: [B, C, h, w], channels that
    stand beside the latent's, of networks that have more than four. attend: what does the attention, everywhere; around: what is done around each layer of attention; join:
    how an output block's two inputs become one; passed: what becomes of the result of each input block; timed: of the time step's embedding, [B, T];
    settled: of the middle block's result, [B, C, h, w]. shallow: how many input blocks, with the output blocks that read
    them, lie outside of the deep part; deep: what becomes of that part.
    """

    context: Tensor
    concat: Tensor | None = None
    residuals: Residuals = NO_RESIDUALS
    attend: Attend = attend
    around: Around = around
    join: Join = joined
    passed: Pass = passed
    vector: Tensor | None = None
    timed: Change = unchanged
    settled: Change = unchanged
    shallow: int = 0
    deep: Deep = computed


def of_one_length(contexts: Sequence[Tensor]) -> list[Tensor]:
    """Texts [B, T, D], each as often as it takes for all to be equally long.

    Attention's softmax does not change when its keys are repeated as a whole.
    """
    length = math.lcm(*(context.shape[1] for context in contexts))
    return [context.repeat(1, length // context.shape[1], 1) for context in contexts]
