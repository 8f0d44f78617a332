"""`comfy.samplers`, `comfy.sample` and `comfy.k_diffusion.sampling`: samplers, guiders, schedules, and whole samplings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from models.noise import Noise
from models.samplers import SAMPLERS
from models.schedules import SCHEDULES, karras_between, sigmas_for
from models.steps import ancestral, slope
from models.types import ChosenSampler
from nodes.packs.guider import at_work, guider_class
from nodes.packs.host import Host
from nodes.packs.model import PackModel
from nodes.packs.samplers import KSAMPLER, OurSampler, Sampler, sampler_function
from nodes.packs.sampling import sampled_as
from nodes.sampling import schedule_for


class KSampler:
    """The names of samplers and schedules, which packs offer as choices."""

    SAMPLERS: ClassVar[list[str]] = list(SAMPLERS)
    SCHEDULERS: ClassVar[list[str]] = list(SCHEDULES)


def sampler_object(name: str) -> OurSampler:
    """A sampler by its name. Raises KeyError."""
    return OurSampler(ChosenSampler(SAMPLERS[name], name))


def ksampler(
    sampler_name: str, extra_options: Mapping[str, Any] | None = None, inpaint_options: Mapping[str, Any] | None = None
) -> OurSampler:
    """The same. Raises TypeError for settings, which nodes of ours have."""
    if extra_options:
        raise TypeError(
            f"settings of a sampler ({', '.join(extra_options)}) are those of its node here, such as SamplerLMS"
        )
    return sampler_object(sampler_name)


def samplers(host: Host) -> Mapping[str, object]:
    """`comfy.samplers`."""

    def calculate_sigmas(model_sampling: object, scheduler_name: str, steps: int) -> Tensor:
        return SCHEDULES[scheduler_name](sampled_as(model_sampling).levels, steps)

    def calc_cond_batch(
        model: object, conds: Sequence[Any], x_in: Tensor, timestep: Tensor, model_options: Any = None
    ) -> list[Tensor]:
        """An estimate for each text, with options of its own. Raises RuntimeError outside of a sampling."""
        return at_work(host).estimates(conds, x_in, timestep, model_options)

    return {
        "calc_cond_batch": calc_cond_batch,
        "CFGGuider": guider_class(host),
        "KSampler": KSampler,
        "KSAMPLER": KSAMPLER,
        "Sampler": Sampler,
        "SAMPLER_NAMES": list(SAMPLERS),
        "SCHEDULER_NAMES": list(SCHEDULES),
        "calculate_sigmas": calculate_sigmas,
        "sampler_object": sampler_object,
        "ksampler": ksampler,
    }


def sample(host: Host) -> Mapping[str, object]:
    """`comfy.sample`."""
    guiders = guider_class(host)

    def sample_custom(
        model: PackModel, noise: Tensor, cfg: float, sampler: Any, sigmas: Tensor, positive: Any, negative: Any,
        latent_image: Tensor, noise_mask: Tensor | None = None, callback: Any = None, disable_pbar: bool = False,
        seed: int | None = None,
    ) -> Tensor:  # fmt: skip
        """All steps by a sampler and levels of the pack's own."""
        guider = guiders(model)
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)
        return guider.sample(noise, latent_image, sampler, sigmas, noise_mask, callback, disable_pbar, seed)

    def sample(
        model: PackModel, noise: Tensor, steps: int, cfg: float, sampler_name: str, scheduler: str, positive: Any,
        negative: Any, latent_image: Tensor, denoise: float = 1.0, disable_noise: bool = False,
        start_step: int | None = None, last_step: int | None = None, force_full_denoise: bool = False,
        noise_mask: Tensor | None = None, sigmas: Tensor | None = None, callback: Any = None,
        disable_pbar: bool = False, seed: int | None = None,
    ) -> Tensor:  # fmt: skip
        """All steps of a schedule, or some of them."""
        if sigmas is None:
            sigmas = sigmas_for(schedule_for(scheduler, sampler_name), model.handle.diffusion.levels, steps, denoise)
        if last_step is not None and last_step < len(sigmas) - 1:
            sigmas = sigmas[: last_step + 1].clone()
            if force_full_denoise:
                sigmas[-1] = 0
        sigmas = sigmas[start_step or 0 :]
        if len(sigmas) < 2:
            return latent_image
        return sample_custom(
            model, torch.zeros_like(noise) if disable_noise else noise, cfg, sampler_object(sampler_name), sigmas,
            positive, negative, latent_image, noise_mask, callback, disable_pbar, seed,
        )  # fmt: skip

    def prepare_noise(latent_image: Tensor, seed: int, noise_inds: Sequence[int] | None = None) -> Tensor:
        """The noise of a seed for latents [B, C, h, w]. noise_inds: the place of each item in a longer batch."""
        return Noise(seed).initial(
            tuple(latent_image.shape), None if noise_inds is None else list(map(int, noise_inds))
        )

    def fix_empty_latent_channels(model: PackModel, latent_image: Tensor) -> Tensor:
        """Blank latents with as many channels as the model has."""
        channels = model.handle.family.latent.channels
        if latent_image.shape[1] != channels and not latent_image.any():
            return latent_image[:, :1].repeat(1, channels, 1, 1)
        return latent_image

    functions = (sample, sample_custom, prepare_noise, fix_empty_latent_channels)
    return {function.__name__: function for function in functions}


def k_diffusion(host: Host) -> Mapping[str, object]:
    """`comfy.k_diffusion.sampling`: every sampler as a function, and the arithmetic of a step."""

    def to_d(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
        return slope(x, append_dims(sigma, x.ndim), denoised)

    def append_dims(x: Tensor, target_dims: int) -> Tensor:
        return x[(...,) + (None,) * (target_dims - x.ndim)]

    def get_ancestral_step(sigma_from: Tensor, sigma_to: Tensor, eta: float = 1.0) -> tuple[Tensor, Tensor]:
        """The level to step down to, and how much noise leads up from there."""
        return ancestral(torch.as_tensor(sigma_from), torch.as_tensor(sigma_to), eta)

    def default_noise_sampler(x: Tensor, seed: int | None = None) -> Callable[[Tensor, Tensor], Tensor]:
        """Noise that is new at every call."""
        stream = Noise(int(seed or 0)).stream()
        return lambda sigma, sigma_next: stream(x, sigma, sigma_next)

    def get_sigmas_karras(
        n: int, sigma_min: float, sigma_max: float, rho: float = 7.0, device: object = "cpu"
    ) -> Tensor:
        return karras_between(float(sigma_min), float(sigma_max), n, rho)

    functions = (to_d, append_dims, get_ancestral_step, default_noise_sampler, get_sigmas_karras)
    ours = {f"sample_{name}": sampler_function(ChosenSampler(sampler, name)) for name, sampler in SAMPLERS.items()}
    return {**ours, **{function.__name__: function for function in functions}}
