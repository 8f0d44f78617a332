"""Functions of packs before, in the place of, and after classifier-free guidance.

The names and what each function is given are those of the public interface that packs are written for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from models.guidance import NEGATIVE, POSITIVE, Combine, Estimates, Remembering, cfg
from nodes.packs.objects.at_work import TextOf
from nodes.packs.objects.options import Options

_NAMES = ("sampler_pre_cfg_function", "sampler_cfg_function", "sampler_post_cfg_function")


@dataclass(frozen=True, eq=False)
class Functions:
    """Those that stand in `options`. facade: what they know as the network."""

    options: Options
    facade: Any

    def __bool__(self) -> bool:
        """Whether there are any."""
        return any(self.options.get(name) for name in _NAMES)

    def whole(self, estimates: Estimates, scale: float, usual: Combine = cfg) -> Tensor:
        """All of them, one after the other. usual: what combines two estimates if none does."""
        estimates = self.before(estimates, scale)
        return self.after(estimates, scale, self.combined(estimates, scale, usual))

    def before(self, estimates: Estimates, scale: float) -> Estimates:
        """The two estimates, changed."""
        for change in self.options.get("sampler_pre_cfg_function", ()):
            given = {
                "conds": [TextOf(POSITIVE), TextOf(NEGATIVE)],
                "conds_out": [estimates.positive, estimates.negative],
            }
            positive, negative, *_ = change({**self._given(estimates, scale), **given})
            estimates = replace(estimates, positive=positive, negative=negative)
        return estimates

    def combined(self, estimates: Estimates, scale: float, usual: Combine) -> Tensor:
        """The guided estimate, [B, C, h, w]."""
        function = self.options.get("sampler_cfg_function")
        if function is None:
            return usual(estimates, scale)
        x = estimates.x
        given = {
            "cond": x - estimates.positive,
            "uncond": x - estimates.negative,
            "cond_denoised": estimates.positive,
            "uncond_denoised": estimates.negative,
            "input_cond": TextOf(POSITIVE),
            "input_uncond": TextOf(NEGATIVE),
        }
        moved: Tensor = function({**self._given(estimates, scale), **given})
        return x - moved

    def after(self, estimates: Estimates, scale: float, guided: Tensor) -> Tensor:
        """The guided estimate, changed."""
        positive, negative = estimates.positive, estimates.negative
        for change in self.options.get("sampler_post_cfg_function", ()):
            given = {"denoised": guided, "cond": TextOf(POSITIVE), "uncond": TextOf(NEGATIVE)}
            given |= {"cond_denoised": positive, "uncond_denoised": negative}
            guided = change({**self._given(estimates, scale), **given})
        return guided

    def _given(self, estimates: Estimates, scale: float) -> dict[str, Any]:
        sigma = estimates.sigma.reshape(-1).expand(len(estimates.x))
        shared = {"input": estimates.x, "cond_scale": scale, "timestep": sigma, "sigma": sigma}
        return {**shared, "model": self.facade, "model_options": self.options}


@dataclass(frozen=True, eq=False)
class GuidedBy:
    """A model's guidance with the functions of a pack, or with those of an evaluation that has options of its own.

    own: the model's options; usual: what combines two estimates without them. Calling it combines.
    """

    own: Options
    facade: Any
    usual: Combine = cfg

    @property
    def options(self) -> Options:
        """Those that count for the evaluation that is under way."""
        told: Options | None = self.facade.host.told.get()
        return self.own if told is None else told

    @property
    def functions(self) -> Functions:
        """Their functions."""
        return Functions(self.options, self.facade)

    def begun(self) -> GuidedBy:
        """The same, with a memory for what combines usually, if that remembers earlier steps."""
        return replace(self, usual=self.usual.begun()) if isinstance(self.usual, Remembering) else self

    def __call__(self, estimates: Estimates, scale: float) -> Tensor:
        """The guided estimate, [B, C, h, w]."""
        return self.functions.combined(estimates, scale, self.usual)

    def before(self, estimates: Estimates, scale: float) -> Estimates:
        """The two estimates, changed."""
        return self.functions.before(estimates, scale)

    def after(self, estimates: Estimates, scale: float, guided: Tensor) -> Tensor:
        """The guided estimate, changed."""
        return self.functions.after(estimates, scale, guided)


def three_parameters(function: Callable[..., Tensor]) -> Callable[[Mapping[str, Any]], Tensor]:
    """A guidance function of the older form, which takes (cond, uncond, scale)."""
    return lambda given: function(given["cond"], given["uncond"], given["cond_scale"])
