"""What packs have set around a whole sampling of a MODEL: callbacks, injections, and the wrappers of it and of its sampler."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from models.types import Guider, Latent, Model, Perform, Sampling
from nodes.packs.objects.guider import Given, Performing, TheirGuider, conducted, guider_of, performed
from nodes.packs.objects.hooks import prepared
from nodes.packs.objects.options import Options, copied
from nodes.packs.objects.samplers import chained
from nodes.packs.objects.wrappers import Executor, wrappers_of

_AROUND = ("callbacks", "injections")


def with_whole(model: Model, options: Options, patcher: Any) -> Model:
    """The model with what `options` have around its sampling. patcher: the MODEL as the pack has it."""
    told = options.get("transformer_options", {})
    asked = any(options.get(name) for name in _AROUND)
    if asked or any(wrappers_of(told, kind) for kind in ("outer_sample", "sampler_sample")):
        return replace(model, around=(*model.around, _Whole(copied(options), patcher).around))
    return model


def without_whole(model: Model) -> Model:
    """The model without that."""
    kept = tuple(it for it in model.around if not isinstance(getattr(it, "__self__", None), _Whole))
    return replace(model, around=kept) if len(kept) < len(model.around) else model


@dataclass(frozen=True, eq=False)
class _Whole:
    options: Options
    patcher: Any

    def around(self, perform: Perform, sampling: Sampling) -> tuple[Latent, Latent]:
        told, host = self.options["transformer_options"], self.patcher.host
        patcher = type(self.patcher)(sampling.guider.model, host)

        def facade(guider: Guider) -> TheirGuider:
            return TheirGuider(guider, patcher, host)

        if chain := wrappers_of(told, "sampler_sample"):
            sampling = replace(sampling, sampler=chained(sampling.sampler, chain, facade))
        with prepared(self.options, patcher):
            if not (chain := wrappers_of(told, "outer_sample")):
                return perform(sampling)
            doing: Performing | None = host.performing.get()
            guider = doing.guider if doing is not None else facade(sampling.guider)

            def outer_sample(
                noise: Tensor, latent_image: Tensor, sampler: Any, sigmas: Tensor, denoise_mask: Tensor | None = None,
                callback: Any = None, disable_pbar: bool = False, seed: int | None = None, **_: Any,
            ) -> Tensor:  # fmt: skip
                """The steps, by what the wrappers have left of the guider."""
                own = replace(
                    guider_of(guider), model=sampling.guider.model, around=(), predict=sampling.guider.predict
                )
                given = Given(noise, latent_image, sampler, sigmas, denoise_mask, callback, seed)
                return performed(host, own, patcher, given)

            return conducted(host, perform, sampling, guider, Executor(outer_sample, chain, guider))
