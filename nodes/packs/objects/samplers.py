"""SAMPLER objects of packs as ours, ours as packs know them, and `comfy.samplers.KSAMPLER`, which theirs are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from models.inpainting import fitted
from models.levels import NoiseLevels
from models.noise import Noise, StepNoise
from models.schedules import starts_from_noise
from models.steps import GuidedDenoise, Pair, Step
from models.types import ChosenSampler, Guider, Latent, Perform, Sampling
from nodes.packs.objects.patched import heeding
from nodes.packs.objects.stepping import Tell, stepping
from nodes.packs.objects.wrappers import Executor

Facade: TypeAlias = Callable[[Guider], Any]
"""A guider -> what packs know as the model that a sampler calls: a CFGGuider, whose `denoise` is to be set."""


class Sampler:
    """What packs make samplers of that are no functions."""

    def sample(
        self, model_wrap: Any, sigmas: Tensor, extra_args: Any, callback: Tell | None, noise: Tensor,
        latent_image: Tensor | None = None, denoise_mask: Tensor | None = None, disable_pbar: bool = False,
    ) -> Tensor:  # fmt: skip
        """From noise to a latent, in the model's own scale."""
        raise NotImplementedError

    def max_denoise(self, model_wrap: Any, sigmas: Tensor) -> bool:
        """Whether nothing of the latent counts, since the first level is the highest."""
        return starts_from_noise(sigmas.cpu(), model_wrap.denoise.levels)


class KSAMPLER(Sampler):
    """A sampler by a function (model, x, sigmas, extra_args, callback, disable, its settings) -> x, in which `model(x, sigma
    [B], **extra_args)` is the estimate of the clean latent."""

    def __init__(
        self,
        sampler_function: Callable[..., Tensor],
        extra_options: Mapping[str, Any] | None = None,
        inpaint_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.sampler_function = sampler_function
        self.extra_options = dict(extra_options or {})
        self.inpaint_options = dict(inpaint_options or {})

    def sample(
        self, model_wrap: Any, sigmas: Tensor, extra_args: Any, callback: Tell | None, noise: Tensor,
        latent_image: Tensor | None = None, denoise_mask: Tensor | None = None, disable_pbar: bool = False,
    ) -> Tensor:  # fmt: skip
        """The function, from noise upon the latent."""
        strength = (1 + sigmas[0] ** 2).sqrt() if self.max_denoise(model_wrap, sigmas) else sigmas[0]
        x = noise * strength if latent_image is None else latent_image + noise * strength
        steps = len(sigmas) - 1

        def told(step: Mapping[str, Any]) -> None:
            if callback is not None:
                callback(step["i"], step["denoised"], step["x"], steps)

        called = Called(model_wrap, sigmas, noise, latent_image, denoise_mask)
        return self.sampler_function(
            called, x, sigmas, extra_args=extra_args, callback=told, disable=disable_pbar, **self.extra_options
        )


class Called:
    """What a sampler's function calls. `inner_model` is the guider, whose `inner_model` is the network."""

    def __init__(
        self, wrap: Any, sigmas: Tensor, noise: Tensor, latent_image: Tensor | None, denoise_mask: Tensor | None
    ) -> None:
        self.inner_model = wrap
        self.sigmas = sigmas
        self.noise = noise
        self.latent_image = latent_image
        self.denoise_mask = denoise_mask

    def __call__(
        self, x: Tensor, sigma: Tensor, denoise_mask: Any = None, model_options: Any = None, seed: int | None = None
    ) -> Tensor:
        """The estimate of the clean latent; what a mask keeps is kept in it already."""
        made: Tensor = self.inner_model(x, sigma, model_options, seed)
        return made


class OurSampler(KSAMPLER):
    """A sampler of ours, whose function can be called like any other's."""

    def __init__(self, own: ChosenSampler) -> None:
        super().__init__(sampler_function(own))
        self.own = own
        self._given = self.sampler_function

    @property
    def is_as_it_was(self) -> bool:
        """Whether the pack has left it alone."""
        return self.sampler_function is self._given and not self.extra_options


def sampler_function(own: ChosenSampler) -> Callable[..., Tensor]:
    """A sampler of ours as a function that packs call."""

    def sample(
        model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, callback: Any = None, disable: Any = None
    ) -> Tensor:
        given = dict(extra_args or {})
        noise = Noise(int(given.get("seed") or 0) % 2**64)
        for step in own.sample(_Known(model, given), x, sigmas.cpu(), noise):
            if callback is not None:
                level = step.sigma
                told = {"x": x, "i": step.i, "sigma": level, "sigma_hat": level, "denoised": step.denoised}
                callback(told)
            x = step.x
        return x

    sample.__name__ = f"sample_{own.name}"
    return sample


class _Known:
    """The model that a function was called with, as our samplers call it. Raises TypeError where one asks for both
    estimates of a model that a pack has put something around."""

    def __init__(self, model: Any, extra_args: Mapping[str, Any]) -> None:
        self._model = model
        self._extra = extra_args
        while not hasattr(model, "denoise"):
            if (model := getattr(model, "inner_model", None)) is None:
                raise TypeError("a sampler calls what a sampler was given, or something with such an inner_model")
        self._denoise: GuidedDenoise = model.denoise

    @property
    def levels(self) -> NoiseLevels:
        """The noise levels of the model."""
        return self._denoise.levels

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x: [B, C, h, w] at level sigma [] -> the estimate of the clean latent."""
        made: Tensor = self._model(x, sigma.to(x.device).expand(len(x)), **self._extra)
        return made

    def pair(self, x: Tensor, sigma: Tensor) -> Pair:
        """That, and the estimate for the text to go away from."""
        if not isinstance(self._model, Called):
            raise TypeError("this sampler guides by itself, so nothing can be put around the model that it calls")
        return self._denoise.pair(x, sigma)


@dataclass(frozen=True, eq=False)
class DrawnNoise(Noise):
    """Noise that has been drawn; what samplers add between steps is that of its seed."""

    drawn: Tensor | None = None

    def upon(self, samples: Tensor, places: Sequence[int] | None = None) -> Tensor:
        """The noise, for latents of its shape, [B, C, h, w]."""
        return torch.zeros_like(samples) if self.drawn is None else self.drawn.expand(samples.shape)


def drawn(noise: Noise, latent: Latent) -> DrawnNoise:
    """The noise for a latent, drawn once."""
    if isinstance(noise, DrawnNoise):
        return noise
    noise = noise if latent.part is None else replace(noise, part=latent.part)
    made = noise.upon(latent.samples, latent.batch_index)
    return DrawnNoise(noise.seed, noise.blank, noise.rule, noise.part, made)


@dataclass(frozen=True, eq=False)
class PackSampler:
    """A pack's object with `sample`, which is `of`, at work in our loop."""

    of: Any
    facade: Facade

    def around(self, perform: Perform, sampling: Sampling) -> tuple[Latent, Latent]:
        """The sampling, by that object."""
        wrap = self.facade(sampling.guider)
        guider = replace(sampling.guider, model=heeding(sampling.guider.model, wrap.inner_model))
        sampling = replace(sampling, guider=guider, noise=drawn(sampling.noise, sampling.latent))
        steps = partial(self._steps, sampling, wrap)
        return perform(replace(sampling, sampler=ChosenSampler(steps, sampling.sampler.name)))

    def _steps(
        self, sampling: Sampling, wrap: Any, denoise: GuidedDenoise, x: Tensor, sigmas: Tensor, noise: StepNoise
    ) -> Iterator[Step]:
        latent = sampling.latent
        wrap.denoise = denoise
        clean = latent.samples * sampling.guider.model.family.latent.scale
        mask = latent.noise_mask
        where = None if mask is None else fitted(mask, len(x), *x.shape[-2:]).to(x.device)
        begun = sampling.noise.upon(latent.samples, latent.batch_index).to(x.device)
        extra = {"model_options": wrap.model_options, "seed": sampling.noise.seed}

        def solve(tell: Tell) -> Tensor:
            made: Tensor = self.of.sample(
                wrap, sigmas.to(x.device), extra, tell, begun, clean.to(x.device), where, True
            )
            return made

        return stepping(solve, x, sigmas)


def sampler_of(given: Any, facade: Facade) -> ChosenSampler:
    """A SAMPLER object of a pack as ours. Raises TypeError for one that cannot sample."""
    if isinstance(given, ChosenSampler):
        return given
    if isinstance(given, OurSampler) and given.is_as_it_was:
        return given.own
    if not hasattr(given, "sample"):
        raise TypeError(f"a SAMPLER of type {type(given).__name__} has no `sample`")
    function = getattr(given, "sampler_function", None)
    name = str(getattr(function, "__name__", type(given).__name__)).removeprefix("sample_")
    return ChosenSampler(_unbound, name, (PackSampler(given, facade).around,))


def _unbound(denoise: GuidedDenoise, x: Tensor, sigmas: Tensor, noise: StepNoise) -> Iterator[Step]:
    raise TypeError("a sampler of a pack samples as part of a whole sampling")


def their_sampler(sampler: ChosenSampler) -> Any:
    """A sampler of ours as packs know it; one that came from a pack is its own object."""
    for around in sampler.around:
        owner = getattr(around, "__self__", None)
        if isinstance(owner, PackSampler):
            return owner.of
    return OurSampler(sampler)


def chained(sampler: ChosenSampler, chain: Sequence[Callable[..., Any]], facade: Facade) -> ChosenSampler:
    """A sampler with functions of packs around it."""
    return sampler_of(_Chained(their_sampler(sampler), chain), facade)


class _Chained(Sampler):
    def __init__(self, inner: Any, chain: Sequence[Callable[..., Any]]) -> None:
        self._inner = inner
        self._chain = chain

    def sample(self, *given: Any) -> Tensor:
        """That of the object, inside of the functions."""
        made: Tensor = Executor(self._inner.sample, self._chain, self._inner)(*given)
        return made
