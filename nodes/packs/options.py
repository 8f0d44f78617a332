"""What packs set of a MODEL, in ComfyUI's form, at work: functions around the network, in it, and in how it is guided.

The names and what each function is given are those of the public interface that packs are written for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from models.attention import Inner, Site
from models.guidance import NEGATIVE, POSITIVE, Estimates, Guiding, cfg
from models.reading import Reading
from models.steering import Begun, Estimating, Evaluation, Finishing, Ground, Inside, Steered
from models.steering import Estimates as EstimatesOf
from models.steps import Denoise
from models.types import Model
from nodes.packs.at_work import AtWork, TextOf

Options: TypeAlias = dict[str, Any]
"""`model_options`: `transformer_options`, `model_function_wrapper`, `sampler_cfg_function` and its kin."""

KEY = "model_options"
WRAPPED = frozenset(
    {"apply_model", "diffusion_model", "predict_noise", "calc_cond_batch", "outer_sample", "sampler_sample"}
)
"""The parts of sampling that packs may put functions around."""


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
            given = {
                "conds": [TextOf(POSITIVE), TextOf(NEGATIVE)],
                "conds_out": [estimates.positive, estimates.negative],
            }
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
            "input_cond": TextOf(POSITIVE),
            "input_uncond": TextOf(NEGATIVE),
        }
        moved: Tensor = self.options["sampler_cfg_function"]({**self._given(estimates, scale), **given})
        return x - moved

    def after(self, estimates: Estimates, scale: float, guided: Tensor) -> Tensor:
        positive, negative = estimates.positive, estimates.negative
        for change in self.options["sampler_post_cfg_function"]:
            given = {"denoised": guided, "cond": TextOf(POSITIVE), "uncond": TextOf(NEGATIVE)}
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
        sampling, inside = _Sampling(self, ground), self.options["transformer_options"]
        predicts = self.guided.has_functions or wrappers_of(inside, "predict_noise")
        return Begun(
            finish=sampling.finish if self.guided.has_functions else None,
            needs=frozenset({POSITIVE, NEGATIVE}) if always else frozenset(),
            wrap=sampling.wrap,
            around=self.around if wrappers_of(inside, "diffusion_model") else None,
            predict=sampling.predict if predicts else None,
            mask_at=sampling.mask_at if self.options.get("denoise_mask_function") else None,
            around_estimates=sampling.estimates if wrappers_of(inside, "calc_cond_batch") else None,
        )

    def wrap(
        self, evaluate: Evaluation, x: Tensor, sigma: Tensor, reading: Reading, texts: Sequence[Steered]
    ) -> Tensor:
        host = self.guided.facade.host
        if host.told.get() is not None:  # an evaluation with options of its own, which its steer heeds
            return evaluate(x, sigma, reading, texts)
        sides = [text.number for text in texts] or [0]
        levels = sigma.expand(len(x))
        shared = {"cond_or_uncond": sides, "sigmas": levels, "original_shape": list(x.shape)}
        told = {**self.options["transformer_options"], **shared}
        wrapper, chain = self.options.get("model_function_wrapper"), wrappers_of(told, "apply_model")
        if wrapper is None and not chain:
            return evaluate(x, sigma, read_with(reading, told), texts)

        def apply_model(input_x: Tensor, timestep: Tensor, **given: Any) -> Tensor:
            """The network as packs call it, also for a part of the batch, or with something else to read."""
            level = timestep.reshape(-1)[0].to(sigma)
            options = given.get("transformer_options", told)
            read = replace(reading, context=given.get("c_crossattn", reading.context))
            read = replace(read, concat=given.get("c_concat", reading.concat))
            return evaluate(input_x, level, read_with(read, options), texts if len(input_x) == len(x) else ())

        def wrapped_model(input_x: Tensor, timestep: Tensor, **given: Any) -> Tensor:
            made: Tensor = Executor(apply_model_of_wrappers, chain, self.guided.facade)(
                input_x, timestep, given.pop("c_concat", None), given.pop("c_crossattn", reading.context), None,
                given.pop("transformer_options", told), **given,
            )  # fmt: skip
            return made

        def apply_model_of_wrappers(
            x: Tensor, t: Tensor, c_concat: Any = None, c_crossattn: Any = None, control: Any = None,
            transformer_options: Any = None, **given: Any,
        ) -> Tensor:  # fmt: skip
            named = {"c_concat": c_concat, "c_crossattn": c_crossattn, "transformer_options": transformer_options}
            return apply_model(x, t, **{key: value for key, value in named.items() if value is not None})

        conditions = {"c_crossattn": reading.context, "transformer_options": told}
        conditions |= {} if reading.concat is None else {"c_concat": reading.concat}
        called = wrapped_model if chain else apply_model
        if wrapper is None:
            return called(x, levels, **conditions)
        made: Tensor = wrapper(called, {"input": x, "timestep": levels, "c": conditions, "cond_or_uncond": sides})
        return made

    def around(self, inside: Inside, x: Tensor, t: Tensor, reading: Reading) -> Tensor:
        """The functions around the network itself."""
        told = self.options["transformer_options"]

        def network(
            x: Tensor, timesteps: Tensor, context: Any = None, y: Any = None, control: Any = None,
            transformer_options: Any = None, **_: Any,
        ) -> Tensor:  # fmt: skip
            return inside(x, timesteps, reading if context is None else replace(reading, context=context))

        chain = wrappers_of(told, "diffusion_model")
        made: Tensor = Executor(network, chain, self.guided.facade)(
            x, t, reading.context, reading.vector, None, dict(told)
        )
        return made


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


class _Sampling:
    """One sampling. sigma: the level that it is at."""

    def __init__(self, wrapped: _Wrapped, ground: Ground) -> None:
        self._wrapped = wrapped
        self._ground = ground
        self._sigma: Tensor | None = None

    def predict(self, guided: Estimating, inner: Denoise, x: Tensor, sigma: Tensor) -> Tensor:
        """The guided estimate, with what packs do around it, who may ask for others meanwhile."""
        wrapped = self._wrapped
        host, facade = wrapped.guided.facade.host, wrapped.guided.facade
        chain = wrappers_of(wrapped.options["transformer_options"], "predict_noise")

        def predict_noise(x: Tensor, timestep: Tensor, model_options: Any = None, seed: Any = None) -> Tensor:
            return inner(x, timestep.reshape(-1)[0])

        token = host.sampling.set(AtWork(guided, inner, host.told, read_with))
        try:
            if not chain:
                return inner(x, sigma)
            made: Tensor = Executor(predict_noise, chain, facade)(x, sigma.expand(len(x)), wrapped.options, None)
            return made
        finally:
            host.sampling.reset(token)

    def estimates(self, inner: EstimatesOf, x: Tensor, sigma: Tensor, needed: frozenset[int]) -> dict[int, Tensor]:
        """The estimates that guidance combines, with what packs do around all of them."""
        wrapped, numbers = self._wrapped, sorted(needed)

        def calc_cond_batch(
            model: Any, conds: Sequence[Any], x_in: Tensor, timestep: Tensor, model_options: Any = None
        ) -> list[Tensor]:
            asked = frozenset(it.number for it in conds if it is not None)
            found = inner(x_in, timestep.reshape(-1)[0].to(sigma), asked)
            return [torch.zeros_like(x_in) if it is None else found[it.number] for it in conds]

        chain = wrappers_of(wrapped.options["transformer_options"], "calc_cond_batch")
        facade, texts = wrapped.guided.facade, [TextOf(number) for number in numbers]
        made = Executor(calc_cond_batch, chain, None)(facade, texts, x, sigma.expand(len(x)), wrapped.options)
        return dict(zip(numbers, made, strict=True))

    def mask_at(self, mask: Tensor, sigma: Tensor) -> Tensor:
        """The mask that counts at a level, by the pack's function."""
        extra = {"model": self._wrapped.guided.facade, "sigmas": self._ground.sigmas}
        made: Tensor = self._wrapped.options["denoise_mask_function"](
            sigma.expand(len(mask)), mask, extra_options=extra
        )
        return made

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


def read_with(reading: Reading, told: Mapping[str, Any]) -> Reading:
    """What the network reads, with the patches that `transformer_options` name."""
    patches, replaced = told.get("patches", {}), told.get("patches_replace", {})
    if not any(patches.values()) and not any(replaced.values()):
        return reading
    if patches.get("emb_patch"):
        reading = replace(reading, timed=partial(_timed, reading, patches["emb_patch"], told))
    if patches.get("middle_patch"):
        reading = replace(reading, settled=partial(_settled, reading, patches["middle_patch"], told))
    numbers: dict[object, int] = {}
    inside = _Inside(reading, told, patches, replaced, numbers)
    return replace(reading, attend=inside.attend, around=inside.around, join=inside.join, passed=inside.passed)


def _timed(reading: Reading, patches: Sequence[Callable[..., Any]], told: Mapping[str, Any], emb: Tensor) -> Tensor:
    emb = reading.timed(emb)
    for patch in patches:
        emb = patch(emb, emb.shape[-1] // 4, told)  # the embedding is four times as wide as the first block
    return emb


def _settled(reading: Reading, patches: Sequence[Callable[..., Any]], told: Mapping[str, Any], h: Tensor) -> Tensor:
    h = reading.settled(h)
    for patch in patches:
        h = patch(h, {**told, "block": ("middle", 0)})
    return h


def wrappers_of(told: Mapping[str, Any], kind: str) -> list[Callable[..., Any]]:
    """All functions around one part of sampling, by whichever keys."""
    return [one for given in told.get("wrappers", {}).get(kind, {}).values() for one in given]


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
