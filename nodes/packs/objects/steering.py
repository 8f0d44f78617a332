"""What packs have set around the network of a MODEL, and around its estimates, at work in a sampling.

The names and what each function is given are those of the public interface that packs are written for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from models.guidance import NEGATIVE, POSITIVE, Estimates
from models.reading import Reading
from models.steering import (
    Begun,
    Estimating,
    Evaluation,
    Finishing,
    Ground,
    Inside,
    Steered,
    unsteered,
)
from models.steering import Estimates as EstimatesOf
from models.steps import Denoise
from nodes.packs.objects.at_work import AtWork, TextOf
from nodes.packs.objects.guided import GuidedBy
from nodes.packs.objects.inside import read_with
from nodes.packs.objects.wrappers import Executor, wrappers_of


@dataclass(frozen=True, eq=False)
class Steers:
    """What a pack does around the network and in it. heeds: evaluations may come with options of their own."""

    guided: GuidedBy
    heeds: bool = False

    def begin(self, ground: Ground) -> Begun:
        """See models.steering."""
        own = self.guided.own
        sampling, inside = _Sampling(self.guided, ground), own["transformer_options"]
        always, guides = own.get("disable_cfg1_optimization", False), self.heeds or bool(self.guided.functions)
        return Begun(
            finish=sampling.finish if guides else None,
            needs=frozenset({POSITIVE, NEGATIVE}) if always else frozenset(),
            wrap=sampling.wrap,
            around=sampling.around if self.heeds or wrappers_of(inside, "diffusion_model") else None,
            predict=sampling.predict if guides or wrappers_of(inside, "predict_noise") else None,
            mask_at=sampling.mask_at if own.get("denoise_mask_function") else None,
            around_estimates=sampling.estimates if self.heeds or wrappers_of(inside, "calc_cond_batch") else None,
        )


class _Sampling:
    """One sampling. sigma: the level that it is at."""

    def __init__(self, guided: GuidedBy, ground: Ground) -> None:
        self._guided = guided
        self._facade = guided.facade
        self._ground = ground
        self._sigma: Tensor | None = None

    @property
    def _told(self) -> dict[str, Any]:
        """`transformer_options` of the evaluation that is under way."""
        told: dict[str, Any] = self._guided.options.get("transformer_options", {})
        return told

    def predict(self, guided: Estimating, inner: Denoise, x: Tensor, sigma: Tensor) -> Tensor:
        """The guided estimate, with what packs do around it, who may ask for others meanwhile."""
        host, chain = self._facade.host, wrappers_of(self._told, "predict_noise")

        def predict_noise(x: Tensor, timestep: Tensor, model_options: Any = None, seed: Any = None) -> Tensor:
            return inner(x, timestep.reshape(-1)[0])

        token = host.sampling.set(AtWork(guided, inner, host.told))
        try:
            if not chain:
                return inner(x, sigma)
            made: Tensor = Executor(predict_noise, chain, self._facade)(
                x, sigma.expand(len(x)), self._guided.options, None
            )
            return made
        finally:
            host.sampling.reset(token)

    def estimates(self, inner: EstimatesOf, x: Tensor, sigma: Tensor, needed: frozenset[int]) -> dict[int, Tensor]:
        """The estimates that guidance combines, with what packs do around all of them."""
        numbers, chain = sorted(needed), wrappers_of(self._told, "calc_cond_batch")

        def calc_cond_batch(
            model: Any, conds: Sequence[Any], x_in: Tensor, timestep: Tensor, model_options: Any = None
        ) -> list[Tensor]:
            asked = frozenset(it.number for it in conds if it is not None)
            found = inner(x_in, timestep.reshape(-1)[0].to(sigma), asked)
            return [torch.zeros_like(x_in) if it is None else found[it.number] for it in conds]

        if not chain:
            return inner(x, sigma, needed)
        texts, levels = [TextOf(number) for number in numbers], sigma.expand(len(x))
        made = Executor(calc_cond_batch, chain, None)(self._facade, texts, x, levels, self._guided.options)
        return dict(zip(numbers, made, strict=True))

    def mask_at(self, mask: Tensor, sigma: Tensor) -> Tensor:
        """The mask that counts at a level, by the pack's function."""
        extra = {"model": self._facade, "sigmas": self._ground.sigmas}
        made: Tensor = self._guided.own["denoise_mask_function"](sigma.expand(len(mask)), mask, extra_options=extra)
        return made

    def wrap(
        self, evaluate: Evaluation, x: Tensor, sigma: Tensor, reading: Reading, texts: Sequence[Steered]
    ) -> Tensor:
        """An evaluation of the network, as the pack wants it."""
        self._sigma = sigma
        sides = [text.number for text in texts] or [0]
        levels = sigma.expand(len(x))
        shared = {"cond_or_uncond": sides, "sigmas": levels, "original_shape": list(x.shape)}
        told = {**self._told, **shared, "sample_sigmas": self._ground.sigmas}
        wrapper, chain = self._guided.options.get("model_function_wrapper"), wrappers_of(told, "apply_model")
        if wrapper is None and not chain:
            return evaluate(x, sigma, read_with(reading, told), texts)
        called = _ApplyModel(evaluate, sigma, reading, texts, len(x), told)
        conditions = {"c_crossattn": reading.context, "transformer_options": told}
        conditions |= {} if reading.concat is None else {"c_concat": reading.concat}
        inner = partial(called.within, chain, self._facade) if chain else called
        if wrapper is None:
            return inner(x, levels, **conditions)
        made: Tensor = wrapper(inner, {"input": x, "timestep": levels, "c": conditions, "cond_or_uncond": sides})
        return made

    def around(self, inside: Inside, x: Tensor, t: Tensor, reading: Reading) -> Tensor:
        """The functions around the network itself."""
        told = self._told
        if not (chain := wrappers_of(told, "diffusion_model")):
            return inside(x, t, reading)

        def network(
            x: Tensor, timesteps: Tensor, context: Any = None, y: Any = None, control: Any = None,
            transformer_options: Any = None, **_: Any,
        ) -> Tensor:  # fmt: skip
            return inside(x, timesteps, reading if context is None else replace(reading, context=context))

        made: Tensor = Executor(network, chain, self._facade)(x, t, reading.context, reading.vector, None, dict(told))
        return made

    def finish(self, finishing: Finishing) -> Tensor:
        """The pack's functions where a scale of 1 left nothing to guide; what was not evaluated is 0 to them, unless the
        options want it to be."""
        positive, guided, functions = finishing.estimates.get(POSITIVE), finishing.guided, self._guided.functions
        if not functions or guided is not positive or self._sigma is None:
            return guided
        negative = finishing.estimates.get(NEGATIVE)
        if negative is None and functions.options.get("disable_cfg1_optimization"):
            negative = finishing.evaluate(finishing.x, NEGATIVE, unsteered)
        negative = torch.zeros_like(guided) if negative is None else negative
        return functions.whole(
            Estimates(finishing.x, self._sigma, guided, negative), 1.0, lambda estimates, scale: estimates.positive
        )


@dataclass(frozen=True, eq=False)
class _ApplyModel:
    """The network as packs call it, also for a part of the batch, or with something else to read. rows: of the whole batch."""

    evaluate: Evaluation
    sigma: Tensor
    reading: Reading
    texts: Sequence[Steered]
    rows: int
    told: dict[str, Any]

    def __call__(self, input_x: Tensor, timestep: Tensor, **given: Any) -> Tensor:
        """The estimate of the clean latent."""
        level = timestep.reshape(-1)[0].to(self.sigma)
        options = given.get("transformer_options", self.told)
        read = replace(self.reading, context=given.get("c_crossattn", self.reading.context))
        read = replace(read, concat=given.get("c_concat", self.reading.concat))
        texts = self.texts if len(input_x) == self.rows else ()
        return self.evaluate(input_x, level, read_with(read, options), texts)

    def within(
        self, chain: Sequence[Callable[..., Any]], facade: Any, input_x: Tensor, timestep: Tensor, **given: Any
    ) -> Tensor:
        """The same with functions around it."""
        concat, context = given.pop("c_concat", None), given.pop("c_crossattn", self.reading.context)
        told = given.pop("transformer_options", self.told)
        made: Tensor = Executor(self._placed, chain, facade)(input_x, timestep, concat, context, None, told, **given)
        return made

    def _placed(
        self, x: Tensor, t: Tensor, c_concat: Any = None, c_crossattn: Any = None, control: Any = None,
        transformer_options: Any = None, **given: Any,
    ) -> Tensor:  # fmt: skip
        """As these functions call it: by places."""
        named = {"c_concat": c_concat, "c_crossattn": c_crossattn, "transformer_options": transformer_options}
        return self(x, t, **{key: value for key, value in named.items() if value is not None})
