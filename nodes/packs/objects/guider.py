"""GUIDER and NOISE objects of packs as ours, ours as packs know them, and `comfy.samplers.CFGGuider`, which theirs are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from models.guidance import Cfg
from models.noise import Noise
from models.steering import Estimating
from models.steps import Denoise, GuidedDenoise
from models.types import Guider, Latent, Perform, Sampling
from nodes.denoising import sampled
from nodes.packs.host import Host
from nodes.packs.objects.at_work import AtWork, TextOf, level_of, telling
from nodes.packs.objects.conditioning import conditioning_of, entries
from nodes.packs.objects.patched import heeding
from nodes.packs.objects.samplers import DrawnNoise, drawn, sampler_of, their_sampler
from nodes.packs.objects.telling import telling_steps

_FIRST = ("positive", "negative")


def at_work(host: Host) -> AtWork:
    """The sampling under way. Raises RuntimeError if there is none."""
    sampling = host.sampling.get()
    if not isinstance(sampling, AtWork):
        raise RuntimeError("estimates can be had by what a model or a guider was given, while it samples")
    return sampling


class CFGGuider:
    """A model with its texts. Packs make classes of it, with a `predict_noise` or a `sample` of their own."""

    host: Host
    denoise: GuidedDenoise | None = None

    def __init__(self, model_patcher: Any) -> None:
        self.model_patcher = model_patcher
        self.model_options = model_patcher.model_options
        self.inner_model = model_patcher.model
        self.original_conds: dict[str, Any] = {}
        self.conds: dict[str, Any] = {}
        self.cfg = 1.0

    def set_conds(self, positive: Sequence[Any], negative: Sequence[Any]) -> None:
        """What to go towards, and what to go away from."""
        self.inner_set_conds({"positive": positive, "negative": negative})

    def set_cfg(self, cfg: float) -> None:
        """The scale."""
        self.cfg = cfg

    def inner_set_conds(self, conds: Mapping[str, Sequence[Any]]) -> None:
        """Texts by any names."""
        names = [*_FIRST, *(name for name in conds if name not in _FIRST)]
        self.original_conds = dict(conds)
        self.conds = {name: TextOf(names.index(name), given) for name, given in conds.items()}

    def __call__(self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: int | None = None) -> Tensor:
        """The estimate of the clean latent."""
        return self.predict_noise(x, timestep, model_options, seed)

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: int | None = None) -> Tensor:
        """The same, by classifier-free guidance. model_options: other ones than the guider's, for this estimate."""
        denoise = at_work(self.host).inner if self.denoise is None else self.denoise
        if not model_options or model_options is self.model_options:
            return denoise(x, level_of(timestep))
        with telling(self.host.told, model_options):
            return denoise(x, level_of(timestep))

    def sample(
        self, noise: Tensor, latent_image: Tensor, sampler: Any, sigmas: Tensor, denoise_mask: Tensor | None = None,
        callback: Any = None, disable_pbar: bool = False, seed: int | None = None,
    ) -> Tensor:  # fmt: skip
        """All steps from noise upon a latent, [B, C, h, w]. callback: f(step, estimate of the clean latent, x, steps)."""
        return self.outer_sample(noise, latent_image, sampler, sigmas, denoise_mask, callback, disable_pbar, seed)

    def outer_sample(
        self, noise: Tensor, latent_image: Tensor, sampler: Any, sigmas: Tensor, denoise_mask: Tensor | None = None,
        callback: Any = None, disable_pbar: bool = False, seed: int | None = None,
    ) -> Tensor:  # fmt: skip
        """The same, with what the model has around it."""
        own = replace(guider_of(self), around=())
        given = Given(noise, latent_image, sampler, sigmas, denoise_mask, callback, seed)
        return performed(self.host, own, self.model_patcher, given)


@dataclass(frozen=True, eq=False)
class Given:
    """What `sample` of a guider is called with."""

    noise: Tensor
    latent_image: Tensor
    sampler: Any
    sigmas: Tensor
    mask: Tensor | None = None
    callback: Any = None
    seed: int | None = None


@dataclass(eq=False)
class Performing:
    """A sampling that a pack has in its hands. guider: the pack's object; ended: what its last step took for clean."""

    perform: Perform
    sampling: Sampling
    guider: CFGGuider
    ended: Latent | None = None


def performed(host: Host, guider: Guider, patcher: Any, given: Given) -> Tensor:
    """All steps, as part of the sampling that a pack has in its hands, or of the pack's node that runs."""
    doing: Performing | None = host.performing.get()
    noise = doing.sampling.noise if doing else Noise(int(given.seed or 0))
    seed = noise.seed if given.seed is None else int(given.seed) % 2**64
    mask = given.mask
    if mask is not None:
        mask = mask.detach().float().cpu().reshape(-1, 1, *mask.shape[-2:])
    latent = Latent(given.latent_image.detach().float().cpu(), {}, mask)
    sampler = sampler_of(given.sampler, lambda it: TheirGuider(it, patcher, host))
    if given.callback is not None:
        sampler = telling_steps(sampler, given.callback)
    sampling = Sampling(
        guider, sampler, given.sigmas.detach().float().cpu(),
        DrawnNoise(seed, noise.blank, noise.rule, noise.part, given.noise.detach().float().cpu()), latent,
    )  # fmt: skip
    if doing is None:
        output = sampled(host.context, guider, sampler, sampling.sigmas, sampling.noise, latent).output
    else:
        output, doing.ended = doing.perform(sampling)
    return output.samples.clone()


def conducted(
    host: Host, perform: Perform, sampling: Sampling, guider: CFGGuider, sample: Callable[..., Tensor]
) -> tuple[Latent, Latent]:
    """A sampling by `sample`, a pack's function of what `CFGGuider.sample` takes, which calls that in the end."""
    latent, noise = sampling.latent, drawn(sampling.noise, sampling.latent)
    doing = Performing(perform, replace(sampling, noise=noise), guider)
    mask = None if latent.noise_mask is None else host.own(latent.noise_mask)
    token = host.performing.set(doing)
    try:
        made = sample(
            noise.upon(latent.samples).clone(), host.own(latent.samples), their_sampler(sampling.sampler),
            host.own(sampling.sigmas), mask, _nothing, True, noise.seed,
        )  # fmt: skip
    finally:
        host.performing.reset(token)
    output = replace(latent, samples=made.detach().float().cpu())
    return output, output if doing.ended is None else replace(latent, samples=doing.ended.samples)


def _nothing(step: int, denoised: Tensor, x: Tensor, steps: int) -> None:
    """Our own loop tells how far it is."""


class TheirGuider(CFGGuider):
    """A guider of ours as packs know it."""

    def __init__(self, own: Guider, patcher: Any, host: Host) -> None:
        super().__init__(patcher)
        self.host = host
        self.own = own
        self.cfg = own.guidance.strength
        names = [*_FIRST, *own.names[len(_FIRST) :]]
        texts = zip(names, own.texts, strict=False)
        self.inner_set_conds({name: entries(text, host) for name, text in texts})
        self._given = self.original_conds
        self._patcher = patcher

    def changed(self, model: Any) -> Guider:
        """Ours, with what the pack has set. model: that of its MODEL."""
        made = self.own
        if self.original_conds is not self._given:
            names = [*_FIRST, *(name for name in self.original_conds if name not in _FIRST)]
            texts = tuple(conditioning_of(self.original_conds.get(name, []), self.host) for name in names)
            made = replace(made, texts=texts, names=tuple(names))
        if self.cfg != made.guidance.strength:
            made = replace(made, guidance=Cfg(float(self.cfg)))
        return replace(made, model=model)


def guider_class(host: Host) -> type[CFGGuider]:
    """`CFGGuider` of a program."""
    return type("CFGGuider", (CFGGuider,), {"host": host})


def guider_of(given: CFGGuider) -> Guider:
    """A guider of a pack as ours. Raises TypeError for one whose steps are its own."""
    cls, patcher = type(given), given.model_patcher
    if hasattr(cls, "inner_sample"):
        raise TypeError(f"a guider of type {cls.__name__} samples by itself (inner_sample), which is not known here")
    if given.model_options is not patcher.model_options:
        patcher = patcher.clone()
        patcher.model_options = given.model_options
    if isinstance(given, TheirGuider):
        return given.changed(heeding(patcher.handle, patcher.model))
    names = (*_FIRST, *(name for name in given.original_conds if name not in _FIRST))
    texts = tuple(conditioning_of(given.original_conds.get(name, []), given.host) for name in names)
    predicts = cls.predict_noise is not CFGGuider.predict_noise or cls.__call__ is not CFGGuider.__call__
    samples = cls.sample is not CFGGuider.sample or cls.outer_sample is not CFGGuider.outer_sample
    around = (_Conducting(given).around,) if samples else ()
    predict = _Predict(given) if predicts else None
    return Guider(heeding(patcher.handle, patcher.model), texts, Cfg(float(given.cfg)), names, predict, around)


@dataclass(frozen=True, eq=False)
class _Conducting:
    """`sample` of a pack's guider."""

    of: CFGGuider

    def around(self, perform: Perform, sampling: Sampling) -> tuple[Latent, Latent]:
        def sample(*given: Any) -> Tensor:
            """As core nodes call it: the first four by their places, the others by name."""
            named = dict(zip(("denoise_mask", "callback", "disable_pbar", "seed"), given[4:], strict=True))
            return self.of.sample(*given[:4], **named)

        return conducted(self.of.host, perform, sampling, self.of, sample)


@dataclass(frozen=True, eq=False)
class _Predict:
    """`predict_noise` of a pack's guider."""

    of: CFGGuider

    def __call__(self, guided: Estimating, inner: Denoise, x: Tensor, sigma: Tensor) -> Tensor:
        host = self.of.host
        token = host.sampling.set(AtWork(guided, inner, host.told))
        try:
            options = host.told.get() or self.of.model_options
            made: Tensor = self.of(x, sigma.expand(len(x)), options, None)
            return made
        finally:
            host.sampling.reset(token)


@dataclass(frozen=True)
class PackNoise(Noise):
    """The noise of a pack's object, which is `of`; what samplers add between steps is our own of its seed."""

    of: Any = None

    def upon(self, samples: Tensor, places: Sequence[int] | None = None) -> Tensor:
        """What the object makes of the latents, [B, 4, h, w]."""
        latent: dict[str, Any] = {"samples": samples.clone()}
        made: Tensor = self.of.generate_noise(latent if places is None else {**latent, "batch_index": list(places)})
        return made.detach().float().cpu().expand(samples.shape)


def noise_of(given: Any) -> Noise:
    """A NOISE object of a pack as ours."""
    if isinstance(given, TheirNoise):
        return given.noise
    return PackNoise(int(getattr(given, "seed", 0) or 0), of=given)


@dataclass(frozen=True)
class TheirNoise:
    """Our noise as packs know it."""

    noise: Noise

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.noise.seed

    def generate_noise(self, input_latent: Mapping[str, Any]) -> Tensor:
        """The noise for a latent."""
        return self.noise.upon(input_latent["samples"], input_latent.get("batch_index")).clone()
