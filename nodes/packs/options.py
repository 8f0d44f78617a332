"""What packs set of a MODEL, in ComfyUI's form, at work: functions around the network, in it, and in how it is guided.

The names and what each function is given are those of the public interface that packs are written for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from models.attention import Inner, Site
from models.guidance import NEGATIVE, POSITIVE, Estimates, Guiding, cfg
from models.reading import Reading
from models.steering import Begun, Evaluation, Finishing, Ground, Steered
from models.types import Model

Options: TypeAlias = dict[str, Any]
"""`model_options`: `transformer_options`, `model_function_wrapper`, `sampler_cfg_function` and its kin."""

KEY = "model_options"


def copied(options: Mapping[str, Any]) -> Options:
    """The same with dictionaries and lists of its own, however deep."""
    return {key: _copied(value) for key, value in options.items()}


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return copied(value)
    return [_copied(item) for item in value] if isinstance(value, list) else value


def with_options(model: Model, options: Mapping[str, Any], facade: Any) -> Model:
    """The model with what a pack has set. facade: what its functions know as the network."""
    if options == {"transformer_options": {}}:
        return model
    kept = copied(options)
    guided = _Guided(kept, facade)
    guiding = model.guiding
    if kept.get("sampler_pre_cfg_function"):
        guiding = replace(guiding, before=(*guiding.before, guided.before))
    if kept.get("sampler_cfg_function"):
        guiding = replace(guiding, combine=guided.combine)
    if kept.get("sampler_post_cfg_function"):
        guiding = replace(guiding, after=(*guiding.after, guided.after))
    return replace(
        model, guiding=guiding, steering=(*model.steering, _Wrapped(kept, guided)), extra={**model.extra, KEY: kept}
    )


def without_options(model: Model) -> tuple[Model, Options]:
    """The model without what packs have set, and that, to be changed."""
    kept = model.extra.get(KEY)
    options = copied(kept) if isinstance(kept, dict) else {}
    options.setdefault("transformer_options", {})
    guiding = model.guiding
    if not _is_ours(guiding.combine):
        guiding = replace(guiding, combine=cfg)
    else:
        options.pop("sampler_cfg_function", None)  # a node of ours has taken its place since
    before = tuple(it for it in guiding.before if _is_ours(it))
    after = tuple(it for it in guiding.after if _is_ours(it))
    steering = tuple(one for one in model.steering if not isinstance(one, _Wrapped))
    extra = {key: value for key, value in model.extra.items() if key != KEY}
    return replace(model, guiding=Guiding(before, guiding.combine, after), steering=steering, extra=extra), options


def _is_ours(function: Any) -> bool:
    return not isinstance(getattr(function, "__self__", None), _Guided)


@dataclass(frozen=True, eq=False)
class _Guided:
    """The functions of a pack before, in the place of, and after classifier-free guidance."""

    options: Options
    facade: Any

    @property
    def has_functions(self) -> bool:
        """Whether the pack has set any of them."""
        names = ("sampler_pre_cfg_function", "sampler_cfg_function", "sampler_post_cfg_function")
        return any(self.options.get(name) for name in names)

    def whole(self, estimates: Estimates, scale: float) -> Tensor:
        """All of them, one after the other."""
        if self.options.get("sampler_pre_cfg_function"):
            estimates = self.before(estimates, scale)
        guided = self.combine(estimates, scale) if self.options.get("sampler_cfg_function") else estimates.positive
        return self.after(estimates, scale, guided) if self.options.get("sampler_post_cfg_function") else guided

    def before(self, estimates: Estimates, scale: float) -> Estimates:
        for change in self.options["sampler_pre_cfg_function"]:
            given = {"conds": [None, None], "conds_out": [estimates.positive, estimates.negative]}
            positive, negative = change({**self._given(estimates, scale), **given})
            estimates = replace(estimates, positive=positive, negative=negative)
        return estimates

    def combine(self, estimates: Estimates, scale: float) -> Tensor:
        x = estimates.x
        given = {
            "cond": x - estimates.positive,
            "uncond": x - estimates.negative,
            "cond_denoised": estimates.positive,
            "uncond_denoised": estimates.negative,
            "input_cond": None,
            "input_uncond": None,
        }
        moved: Tensor = self.options["sampler_cfg_function"]({**self._given(estimates, scale), **given})
        return x - moved

    def after(self, estimates: Estimates, scale: float, guided: Tensor) -> Tensor:
        positive, negative = estimates.positive, estimates.negative
        for change in self.options["sampler_post_cfg_function"]:
            given = {"denoised": guided, "cond": None, "uncond": None}
            given |= {"cond_denoised": positive, "uncond_denoised": negative}
            guided = change({**self._given(estimates, scale), **given})
        return guided

    def _given(self, estimates: Estimates, scale: float) -> dict[str, Any]:
        sigma = estimates.sigma.expand(len(estimates.x))
        shared = {"input": estimates.x, "cond_scale": scale, "timestep": sigma, "sigma": sigma}
        return {**shared, "model": self.facade, "model_options": self.options}


@dataclass(frozen=True, eq=False)
class _Wrapped:
    """What a pack does around the network and in it."""

    options: Options
    guided: _Guided

    def begin(self, ground: Ground) -> Begun:
        always = self.options.get("disable_cfg1_optimization", False)
        sampling = _Sampling(self)
        return Begun(
            finish=sampling.finish if self.guided.has_functions else None,
            needs=frozenset({POSITIVE, NEGATIVE}) if always else frozenset(),
            wrap=sampling.wrap,
        )

    def wrap(
        self, evaluate: Evaluation, x: Tensor, sigma: Tensor, reading: Reading, texts: Sequence[Steered]
    ) -> Tensor:
        sides = [text.number for text in texts] or [0]
        levels = sigma.expand(len(x))
        shared = {"cond_or_uncond": sides, "sigmas": levels, "original_shape": list(x.shape)}
        told = {**self.options["transformer_options"], **shared}
        wrapper = self.options.get("model_function_wrapper")
        if wrapper is None:
            return evaluate(x, sigma, _read(reading, told), texts)

        def apply_model(input_x: Tensor, timestep: Tensor, **given: Any) -> Tensor:
            """The network as packs call it, also for a part of the batch, or with something else to read."""
            level = timestep.reshape(-1)[0].to(sigma)
            options = given.get("transformer_options", told)
            read = replace(reading, context=given.get("c_crossattn", reading.context))
            read = replace(read, concat=given.get("c_concat", reading.concat))
            return evaluate(input_x, level, _read(read, options), texts if len(input_x) == len(x) else ())

        conditions = {"c_crossattn": reading.context, "transformer_options": told}
        conditions |= {} if reading.concat is None else {"c_concat": reading.concat}
        made: Tensor = wrapper(apply_model, {"input": x, "timestep": levels, "c": conditions, "cond_or_uncond": sides})
        return made


class _Sampling:
    """One sampling. sigma: the level that it is at."""

    def __init__(self, wrapped: _Wrapped) -> None:
        self._wrapped = wrapped
        self._sigma: Tensor | None = None

    def wrap(
        self, evaluate: Evaluation, x: Tensor, sigma: Tensor, reading: Reading, texts: Sequence[Steered]
    ) -> Tensor:
        """As the pack wants it."""
        self._sigma = sigma
        return self._wrapped.wrap(evaluate, x, sigma, reading, texts)

    def finish(self, finishing: Finishing) -> Tensor:
        """The pack's functions where a scale of 1 left nothing to guide; what was not evaluated is 0 to them."""
        positive, guided = finishing.estimates.get(POSITIVE), finishing.guided
        if guided is not positive or self._sigma is None:
            return guided
        negative = finishing.estimates.get(NEGATIVE, torch.zeros_like(guided))
        return self._wrapped.guided.whole(Estimates(finishing.x, self._sigma, guided, negative), 1.0)


def _read(reading: Reading, told: Mapping[str, Any]) -> Reading:
    """What the network reads, with the patches that `transformer_options` name."""
    patches, replaced = told.get("patches", {}), told.get("patches_replace", {})
    if not any(patches.values()) and not any(replaced.values()):
        return reading
    numbers: dict[object, int] = {}
    inside = _Inside(reading, told, patches, replaced, numbers)
    return replace(reading, attend=inside.attend, around=inside.around, join=inside.join, passed=inside.passed)


@dataclass(frozen=True, eq=False)
class _Inside:
    """Patches in a network, around what was done there before. numbers: of the transformers, as they are met."""

    reading: Reading
    told: Mapping[str, Any]
    patches: Mapping[str, Sequence[Callable[..., Any]]]
    replaced: Mapping[str, Mapping[tuple[Any, ...], Callable[..., Any]]]
    numbers: dict[object, int]

    def attend(self, site: Site, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        block = (site.place.side, site.place.block)
        known = self.replaced.get(_name(site), {})
        function = known.get((*block, site.depth), known.get(block))
        if function is None:
            return self.reading.attend(site, q, k, v)
        made: Tensor = function(q, k, v, self._at(site, q.shape[-1]))
        return made

    def around(self, site: Site, x: Tensor, keys: Tensor, values: Tensor, inner: Inner) -> Tensor:
        name, at = _name(site), self._at(site, x.shape[-1])
        for patch in self.patches.get(f"{name}_patch", ()):
            x, keys, values = patch(x, keys, values, at)
        out = self.reading.around(site, x, keys, values, inner)
        for patch in self.patches.get(f"{name}_output_patch", ()):
            out = patch(out, at)
        return out

    def join(self, block: int, h: Tensor, skip: Tensor) -> Tensor:
        for patch in self.patches.get("output_block_patch", ()):
            h, skip = patch(h, skip, {**self.told, "block": ("output", block)})
        return self.reading.join(block, h, skip)

    def passed(self, block: int, h: Tensor) -> tuple[Tensor, Tensor]:
        at = {**self.told, "block": ("input", block)}
        for patch in self.patches.get("input_block_patch", ()):
            h = patch(h, at)
        skip, h = self.reading.passed(block, h)
        for patch in self.patches.get("input_block_patch_after_skip", ()):
            h = patch(h, at)
        return skip, h

    def _at(self, site: Site, channels: int) -> dict[str, Any]:
        place = site.place
        number = self.numbers.setdefault((place, site.depth), len(self.numbers))
        return {
            **self.told,
            "block": (place.side, place.block),
            "block_index": site.depth,
            "transformer_index": number,
            "n_heads": site.heads,
            "dim_head": channels // site.heads,
        }


def _name(site: Site) -> str:
    return "attn2" if site.text else "attn1"


def three_parameters(function: Callable[..., Tensor]) -> Callable[[Mapping[str, Any]], Tensor]:
    """A guidance function of the older form, which takes (cond, uncond, scale)."""
    return lambda given: function(given["cond"], given["uncond"], given["cond_scale"])
