"""`comfy.samplers`: samplers, guiders, estimates for several texts, and KSampler as an object."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor

from models.guidance import Estimates
from models.samplers import SAMPLERS, SKIP_PENULTIMATE
from models.types import ChosenSampler
from nodes.packs.host import Host
from nodes.packs.objects.at_work import level_of
from nodes.packs.objects.guided import Functions
from nodes.packs.objects.guider import CFGGuider, at_work, guider_class
from nodes.packs.objects.options import Options
from nodes.packs.objects.samplers import KSAMPLER, OurSampler, Sampler
from nodes.packs.shim import schedules
from nodes.packs.shim.schedules import Handlers


class KSampler:
    """A model with a sampler and a schedule, and the names of both, which packs offer as choices."""

    SAMPLERS: ClassVar[list[str]]
    SCHEDULERS: ClassVar[list[str]]
    DISCARD_PENULTIMATE_SIGMA_SAMPLERS: ClassVar[frozenset[str]] = SKIP_PENULTIMATE
    handlers: ClassVar[Handlers]
    guiders: ClassVar[type[CFGGuider]]
    functions: ClassVar[ModuleType]
    sigmas: Tensor

    def __init__(
        self, model: Any, steps: int, device: object = None, sampler: str | None = None, scheduler: str | None = None,
        denoise: float | None = None, model_options: Options | None = None,
    ) -> None:  # fmt: skip
        self.model = model
        self.device = device
        self.sampler = self.SAMPLERS[0] if sampler is None else sampler
        self.scheduler = self.SCHEDULERS[0] if scheduler is None else scheduler
        self.denoise = denoise
        self.model_options = model_options
        self.set_steps(steps, denoise)

    def calculate_sigmas(self, steps: int) -> Tensor:
        """The levels of its schedule, [steps + 1]."""
        return self._levels(steps, 1.0)

    def set_steps(self, steps: int, denoise: float | None = None) -> None:
        """Other steps, or the last ones of a longer list."""
        self.steps = steps
        self.sigmas = self._levels(steps, 1.0 if denoise is None else denoise)

    def sample(
        self, noise: Tensor, positive: Any, negative: Any, cfg: float, latent_image: Tensor | None = None,
        start_step: int | None = None, last_step: int | None = None, force_full_denoise: bool = False,
        denoise_mask: Tensor | None = None, sigmas: Tensor | None = None, callback: Any = None,
        disable_pbar: bool = False, seed: int | None = None,
    ) -> Tensor:  # fmt: skip
        """All steps of the schedule, or some of them, from noise [B, C, h, w] upon a latent."""
        levels = self.sigmas if sigmas is None else sigmas
        if last_step is not None and last_step < len(levels) - 1:
            levels = levels[: last_step + 1].clone()
            if force_full_denoise:
                levels[-1] = 0
        levels = levels[start_step or 0 :]
        if len(levels) < 2:
            return torch.zeros_like(noise) if latent_image is None else latent_image
        guider = self.guiders(self.model)
        guider.model_options = self.model_options or guider.model_options
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)
        latent = torch.zeros_like(noise) if latent_image is None else latent_image
        chosen = sampler_by_name(self.sampler, self.functions)
        return guider.sample(noise, latent, chosen, levels, denoise_mask, callback, disable_pbar, seed)

    def _levels(self, steps: int, denoise: float) -> Tensor:
        sampling = self.model.get_model_object("model_sampling")
        return self.handlers.for_sampler(sampling, self.scheduler, self.sampler, steps, denoise)


def ksampler_class(host: Host, functions: ModuleType, handlers: Handlers) -> type[KSampler]:
    """`KSampler` of a program. functions: `comfy.k_diffusion.sampling`, to which packs may add samplers."""
    names = {"SAMPLERS": list(SAMPLERS), "SCHEDULERS": handlers.names}
    return type(
        "KSampler",
        (KSampler,),
        {**names, "functions": functions, "handlers": handlers, "guiders": guider_class(host)},
    )


def sampler_by_name(name: str, functions: ModuleType) -> KSAMPLER:
    """A sampler of ours, or a function that a pack has added. Raises KeyError."""
    if name in SAMPLERS:
        return OurSampler(ChosenSampler(SAMPLERS[name], name))
    if function := vars(functions).get(f"sample_{name}"):
        return KSAMPLER(function)
    raise KeyError(name)


def names(host: Host, ksamplers: type[KSampler]) -> Mapping[str, object]:
    """What the module holds."""

    def sampler_object(name: str) -> KSAMPLER:
        return sampler_by_name(name, ksamplers.functions)

    def ksampler(
        sampler_name: str,
        extra_options: Mapping[str, Any] | None = None,
        inpaint_options: Mapping[str, Any] | None = None,
    ) -> KSAMPLER:
        """A sampler by its name. Raises TypeError for settings, which nodes of ours have."""
        chosen = sampler_object(sampler_name)
        if extra_options and isinstance(chosen, OurSampler):
            raise TypeError(
                f"settings of a sampler ({', '.join(extra_options)}) are those of its node here, such as SamplerLMS"
            )
        chosen.extra_options = dict(extra_options or {})
        return chosen

    def sample(
        model: Any, noise: Tensor, positive: Any, negative: Any, cfg: float, device: object, sampler: Any,
        sigmas: Tensor, model_options: Options | None = None, latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None, callback: Any = None, disable_pbar: bool = False, seed: int | None = None,
    ) -> Tensor:  # fmt: skip
        """A whole sampling by a sampler and levels of the pack's own."""
        guider = ksamplers.guiders(model)
        guider.model_options = model_options or guider.model_options
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)
        latent = torch.zeros_like(noise) if latent_image is None else latent_image
        return guider.sample(noise, latent, sampler, sigmas, denoise_mask, callback, disable_pbar, seed)

    functions = (sampler_object, ksampler, sample)
    return {
        "KSampler": ksamplers,
        "KSAMPLER": KSAMPLER,
        "Sampler": Sampler,
        "CFGGuider": ksamplers.guiders,
        "SAMPLER_NAMES": ksamplers.SAMPLERS,
        "KSAMPLER_NAMES": ksamplers.SAMPLERS,
        **schedules.names(ksamplers.handlers),
        **_estimates(host),
        **{function.__name__: function for function in functions},
    }


def _estimates(host: Host) -> Mapping[str, object]:
    """What a pack's guider or function asks of the sampling that is under way."""

    def calc_cond_batch(
        model: object, conds: Sequence[Any], x_in: Tensor, timestep: Tensor, model_options: Options | None = None
    ) -> list[Tensor]:
        """An estimate for each text, with options of its own. Raises RuntimeError outside of a sampling."""
        return at_work(host).estimates(conds, x_in, timestep, model_options)

    def sampling_function(
        model: object, x: Tensor, timestep: Tensor, uncond: Any, cond: Any, cond_scale: float,
        model_options: Options | None = None, seed: int | None = None,
    ) -> Tensor:  # fmt: skip
        """The guided estimate for two texts of this sampling, with options of its own."""
        options = model_options or {}
        alone = math.isclose(cond_scale, 1.0) and not options.get("disable_cfg1_optimization", False)
        positive, negative = at_work(host).estimates([cond, None if alone else uncond], x, timestep, options)
        estimates = Estimates(x, level_of(timestep), positive, negative)
        return Functions(options, model).whole(estimates, cond_scale)

    def cfg_function(
        model: object, cond_pred: Tensor, uncond_pred: Tensor, cond_scale: float, x: Tensor, timestep: Tensor,
        model_options: Options | None = None, cond: Any = None, uncond: Any = None,
    ) -> Tensor:  # fmt: skip
        """What functions of packs make of two estimates; without such, classifier-free guidance."""
        estimates = Estimates(x, level_of(timestep), cond_pred, uncond_pred)
        functions = Functions({**(model_options or {}), "sampler_pre_cfg_function": []}, model)
        return functions.whole(estimates, cond_scale)

    functions = (calc_cond_batch, sampling_function, cfg_function)
    return {function.__name__: function for function in functions}
