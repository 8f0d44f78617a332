"""`comfy.sample` and `comfy.sampler_helpers`: whole samplings, and what they are made ready by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from models.inpainting import fitted
from models.noise import Noise
from nodes.packs.objects.model import PackModel
from nodes.packs.shim.samplers import KSampler


def sample(ksamplers: type[KSampler]) -> Mapping[str, object]:
    """`comfy.sample`."""

    def sample_custom(
        model: PackModel, noise: Tensor, cfg: float, sampler: Any, sigmas: Tensor, positive: Any, negative: Any,
        latent_image: Tensor, noise_mask: Tensor | None = None, callback: Any = None, disable_pbar: bool = False,
        seed: int | None = None,
    ) -> Tensor:  # fmt: skip
        """All steps by a sampler and levels of the pack's own."""
        guider = ksamplers.guiders(model)
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
        sampler = ksamplers(model, steps, model.load_device, sampler_name, scheduler, denoise)
        return sampler.sample(
            torch.zeros_like(noise) if disable_noise else noise, positive, negative, cfg, latent_image, start_step,
            last_step, force_full_denoise, noise_mask, sigmas, callback, disable_pbar, seed,
        )  # fmt: skip

    functions = (sample, sample_custom, prepare_noise, fix_empty_latent_channels)
    return {function.__name__: function for function in functions}


def prepare_noise(latent_image: Tensor, seed: int, noise_inds: Sequence[int] | None = None) -> Tensor:
    """The noise of a seed for latents [B, C, h, w]. noise_inds: the place of each item in a longer batch."""
    return Noise(seed).initial(tuple(latent_image.shape), None if noise_inds is None else list(map(int, noise_inds)))


def fix_empty_latent_channels(model: PackModel, latent_image: Tensor) -> Tensor:
    """Blank latents with as many channels as the model has."""
    channels = model.handle.family.latent.channels
    if latent_image.shape[1] != channels and not latent_image.any():
        return latent_image[:, :1].repeat(1, channels, 1, 1)
    return latent_image


def helpers() -> Mapping[str, object]:
    """`comfy.sampler_helpers`. Networks that steer are had where they are asked, so none has to be made ready here."""

    def prepare_mask(noise_mask: Tensor, shape: Sequence[int], device: object = "cpu") -> Tensor:
        """A mask for latents of a shape, [B, C, h, w]."""
        mask = noise_mask.reshape(-1, 1, *noise_mask.shape[-2:])
        made = fitted(mask, shape[0], *shape[-2:]).expand(-1, shape[1], -1, -1)
        return made.to(torch.device(str(device)))

    def get_models_from_cond(cond: object, model_type: str) -> list[object]:
        return []

    def get_additional_models(conds: object, dtype: object = None) -> tuple[list[object], int]:
        return [], 0

    def cleanup_additional_models(models: object) -> None:
        pass

    def cleanup_models(conds: object, models: object) -> None:
        pass

    functions = (
        *(prepare_mask, get_models_from_cond, get_additional_models),
        *(cleanup_additional_models, cleanup_models),
    )
    return {function.__name__: function for function in functions}
