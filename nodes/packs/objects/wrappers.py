"""Functions around parts of sampling, as `comfy.patcher_extension` has them: their kinds, and what calls one inside another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any


class WrappersMP(StrEnum):
    """The parts of sampling that functions can be put around, by the names that packs have for them."""

    OUTER_SAMPLE = "outer_sample"
    PREPARE_SAMPLING = "prepare_sampling"
    SAMPLER_SAMPLE = "sampler_sample"
    PREDICT_NOISE = "predict_noise"
    CALC_COND_BATCH = "calc_cond_batch"
    APPLY_MODEL = "apply_model"
    DIFFUSION_MODEL = "diffusion_model"


WRAPPED = frozenset(WrappersMP) - {WrappersMP.PREPARE_SAMPLING}
"""Those that there are here: models are loaded without a part of sampling that would do it."""


class Executor:
    """What a wrapper is given to call: the next one, or in the end the function itself."""

    def __init__(self, original: Callable[..., Any], chain: Sequence[Callable[..., Any]], class_obj: Any) -> None:
        self.original = original
        self.class_obj = class_obj
        self.wrappers = list(chain)

    def __call__(self, *given: Any, **named: Any) -> Any:
        """The rest of the chain."""
        if not self.wrappers:
            return self.original(*given, **named)
        first, *others = self.wrappers
        return first(Executor(self.original, others, self.class_obj), *given, **named)

    execute = __call__


def wrappers_of(told: Mapping[str, Any], kind: str) -> list[Callable[..., Any]]:
    """All functions around one part of sampling, by whichever keys. told: `transformer_options`."""
    return [one for given in told.get("wrappers", {}).get(kind, {}).values() for one in given]
