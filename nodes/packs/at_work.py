"""A sampling that is under way, as functions of packs ask it for estimates: `calc_cond_batch` and its kin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.reading import Reading
from models.steering import Call, Estimating
from models.steps import Denoise

Told = Mapping[str, Any]
"""`transformer_options`: what a pack's functions in the network are told, and those functions."""


class TextOf(list[Any]):
    """A text of the guider, as packs hand it on; what stands in it is for those that look."""

    def __init__(self, number: int, entries: Sequence[Any] = ()) -> None:
        super().__init__(entries)
        self.number = number


@dataclass(frozen=True, eq=False)
class AtWork:
    """guided: what gives estimates; inner: the guided one as it is so far; told: set while an evaluation has
    `transformer_options` of its own; read: what the network reads, with the functions that such options name."""

    guided: Estimating
    inner: Denoise
    told: ContextVar[Told | None]
    read: Callable[[Reading, Told], Reading]

    def estimates(self, texts: Sequence[Any], x: Tensor, timestep: Tensor, model_options: Told | None) -> list[Tensor]:
        """One for each of `texts`, all of which are of this sampling; None gives 0. Raises TypeError for others."""
        if wrong := [it for it in texts if it is not None and not isinstance(it, TextOf)]:
            raise TypeError(f"calc_cond_batch takes the texts of this sampling, got {type(wrong[0]).__name__}")
        numbers = frozenset(it.number for it in texts if it is not None)
        options: Told = (model_options or {}).get("transformer_options", {})

        def also(call: Call, reading: Reading) -> Reading:
            sides = [text.number for text in call.texts] or [0]
            levels = torch.full((len(call.x),), call.sigma)
            shown = {"cond_or_uncond": sides, "sigmas": levels, "original_shape": list(call.x.shape)}
            return self.read(reading, {**options, **shown})

        token = self.told.set(options)
        try:
            found = self.guided.estimates(x, _level(timestep), numbers, also) if numbers else {}
        finally:
            self.told.reset(token)
        return [torch.zeros_like(x) if it is None else found[it.number] for it in texts]


def _level(timestep: Tensor) -> Tensor:
    return torch.as_tensor(timestep).reshape(-1)[0].float().cpu()
