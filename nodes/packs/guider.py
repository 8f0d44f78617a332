"""GUIDER and NOISE objects of packs as ours, and `comfy.samplers.CFGGuider`, which theirs are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from models.guidance import Cfg
from models.noise import Noise
from models.steering import Estimating
from models.steps import Denoise
from models.types import Conditioning, Guider
from nodes.packs.at_work import AtWork, TextOf
from nodes.packs.host import Host
from nodes.packs.options import read_with

_FIRST = ("positive", "negative")


def at_work(host: Host) -> AtWork:
    """The sampling under way. Raises RuntimeError if there is none."""
    sampling = host.sampling.get()
    if not isinstance(sampling, AtWork):
        raise RuntimeError("estimates can be had by what a model or a guider was given, while it samples")
    return sampling


class CFGGuider:
    """A model with its texts. Packs make classes of it, with a `predict_noise` of their own."""

    host: Host

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
        """The same, by classifier-free guidance."""
        return at_work(self.host).inner(x, timestep.reshape(-1)[0])


def guider_class(host: Host) -> type[CFGGuider]:
    """`CFGGuider` of a program."""
    return type("CFGGuider", (CFGGuider,), {"host": host})


def guider_of(given: CFGGuider, conditioning: Any) -> Guider:
    """A guider of a pack as ours. conditioning: from theirs to ours. Raises TypeError for one that samples by itself."""
    cls = type(given)
    for name in ("sample", "outer_sample", "inner_sample"):
        if hasattr(cls, name):
            raise TypeError(f"a guider of type {cls.__name__} samples by itself ({name}), which is not known here")
    names = (*_FIRST, *(name for name in given.original_conds if name not in _FIRST))
    texts: list[Conditioning] = [conditioning(given.original_conds.get(name, [])) for name in names]
    own = cls.predict_noise is not CFGGuider.predict_noise or cls.__call__ is not CFGGuider.__call__
    predict = _Predict(given) if own else None
    return Guider(given.model_patcher.handle, tuple(texts), Cfg(float(given.cfg)), names, predict)


@dataclass(frozen=True, eq=False)
class _Predict:
    """`predict_noise` of a pack's guider."""

    of: CFGGuider

    def __call__(self, guided: Estimating, inner: Denoise, x: Tensor, sigma: Tensor) -> Tensor:
        host = self.of.host
        token = host.sampling.set(AtWork(guided, inner, host.told, read_with))
        try:
            made: Tensor = self.of(x, sigma.expand(len(x)), self.of.model_options, None)
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
