"""A sampling that is under way, as functions of packs ask it for estimates: `calc_cond_batch` and its kin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.steering import Estimating
from models.steps import Denoise
from nodes.packs.objects.options import Options


class TextOf(list[Any]):
    """A text of the guider, as packs hand it on; what stands in it is for those that look."""

    def __init__(self, number: int, entries: Sequence[Any] = ()) -> None:
        super().__init__(entries)
        self.number = number


@dataclass(frozen=True, eq=False)
class AtWork:
    """guided: what gives estimates; inner: the guided one as it is so far; told: the options of an evaluation that has some
    of its own."""

    guided: Estimating
    inner: Denoise
    told: ContextVar[Options | None]

    def estimates(
        self, texts: Sequence[Any], x: Tensor, timestep: Tensor, model_options: Options | None
    ) -> list[Tensor]:
        """One for each of `texts`, all of which are of this sampling; None gives 0. Raises TypeError for others."""
        if wrong := [it for it in texts if it is not None and not isinstance(it, TextOf)]:
            raise TypeError(f"calc_cond_batch takes the texts of this sampling, got {type(wrong[0]).__name__}")
        numbers = frozenset(it.number for it in texts if it is not None)
        with telling(self.told, model_options or {}):
            found = self.guided.estimates(x, level_of(timestep), numbers) if numbers else {}
        return [torch.zeros_like(x) if it is None else found[it.number] for it in texts]


@contextmanager
def telling(told: ContextVar[Options | None], options: Options) -> Iterator[None]:
    """Evaluations with options of their own."""
    token = told.set(options)
    try:
        yield
    finally:
        told.reset(token)


def level_of(timestep: Tensor) -> Tensor:
    """The level [] of a batch, as packs give it for each item, float32 on the CPU."""
    return torch.as_tensor(timestep).reshape(-1)[0].float().cpu()
