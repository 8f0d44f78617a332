"""`comfy.sd`, `comfy.model_patcher`, `comfy.patcher_extension` and `comfy.model_sampling`: models from files, and changed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from graph.files import FileRef
from graph.result import Outputs
from models.levels import NoiseLevels
from nodes.packs.handles import PackClip, PackVae
from nodes.packs.hooks import CallbacksMP, PatcherInjection
from nodes.packs.host import Host
from nodes.packs.model import PackModel
from nodes.packs.options import Executor, Options, copied
from nodes.packs.shim.comfy_utils import FileTensors
from nodes.packs.values import to_pack


def sd(host: Host) -> Mapping[str, object]:
    """`comfy.sd`."""

    def ran(type_name: str, **inputs: object) -> tuple[Any, ...]:
        result = host.specs[type_name].run(host.context, inputs)
        assert isinstance(result, Outputs)
        return tuple(to_pack(value, host) for value in result.values)

    def load_checkpoint_guess_config(
        ckpt_path: str, output_vae: bool = True, output_clip: bool = True, *rest: object, **_: object
    ) -> tuple[Any, Any, Any, None]:
        """The three networks of a file, and no CLIP vision."""
        path = Path(ckpt_path)
        model, clip, vae = ran("CheckpointLoaderSimple", ckpt_name=FileRef("checkpoints", path.name, path))
        return model, clip if output_clip else None, vae if output_vae else None, None

    def load_lora_for_models(
        model: PackModel, clip: PackClip | None, lora: object, strength_model: float, strength_clip: float
    ) -> tuple[Any, Any]:
        """Both networks with what `load_torch_file` has read."""
        if not isinstance(lora, FileTensors):
            raise TypeError("load_lora_for_models takes what load_torch_file has read, as it was read")
        given = {"model": model.handle, "lora_name": FileRef("loras", lora.path.name, lora.path)}
        given["strength_model"] = strength_model
        if clip is None:
            return ran("LoraLoaderModelOnly", **given)[0], None
        made = ran("LoraLoader", **given, clip=clip.handle, strength_clip=strength_clip)
        return made[0], made[1]

    return {
        "load_checkpoint_guess_config": load_checkpoint_guess_config,
        "load_lora_for_models": load_lora_for_models,
        "VAE": PackVae,
        "CLIP": PackClip,
    }


def model_patcher(host: Host) -> Mapping[str, object]:
    """`comfy.model_patcher`."""

    def create_model_options_clone(orig_model_options: Mapping[str, Any]) -> Options:
        return copied(orig_model_options)

    def set_model_options_patch_replace(
        model_options: Options,
        patch: Any,
        name: str,
        block_name: str,
        number: int,
        transformer_index: int | None = None,
    ) -> Options:
        """Other options, with one attention more replaced."""
        made, place = copied(model_options), (block_name, number)
        whole = place if transformer_index is None else (*place, transformer_index)
        inside = made.setdefault("transformer_options", {}).setdefault("patches_replace", {})
        inside.setdefault(name, {})[whole] = patch
        return made

    def set_model_options_post_cfg_function(
        model_options: Options, post_cfg_function: Any, disable_cfg1_optimization: bool = False
    ) -> Options:
        """Other options, with one function more after guidance."""
        made = copied(model_options)
        made.setdefault("sampler_post_cfg_function", []).append(post_cfg_function)
        return made | ({"disable_cfg1_optimization": True} if disable_cfg1_optimization else {})

    functions = (create_model_options_clone, set_model_options_patch_replace, set_model_options_post_cfg_function)
    return {"ModelPatcher": PackModel, **{function.__name__: function for function in functions}}


def patcher_extension(host: Host) -> Mapping[str, object]:
    """`comfy.patcher_extension`."""

    def add_wrapper_with_key(
        wrapper_type: str, key: str, wrapper: Any, transformer_options: Options, is_model_options: bool = False
    ) -> None:
        """Put a function around a part of sampling, by options that packs hold themselves."""
        inside = transformer_options.setdefault("transformer_options", {}) if is_model_options else transformer_options
        inside.setdefault("wrappers", {}).setdefault(str(wrapper_type), {}).setdefault(key, []).append(wrapper)

    classes = (WrappersMP, CallbacksMP, PatcherInjection)
    return {
        **{cls.__name__: cls for cls in classes},
        "WrapperExecutor": Executor,
        "add_wrapper_with_key": add_wrapper_with_key,
    }


class WrappersMP(StrEnum):
    """The parts of sampling that functions can be put around, by the names that packs have for them."""

    OUTER_SAMPLE = "outer_sample"
    PREPARE_SAMPLING = "prepare_sampling"
    SAMPLER_SAMPLE = "sampler_sample"
    PREDICT_NOISE = "predict_noise"
    CALC_COND_BATCH = "calc_cond_batch"
    APPLY_MODEL = "apply_model"
    DIFFUSION_MODEL = "diffusion_model"


class EPS:
    """What a network tells that predicts the noise; and what all of them are given."""

    def calculate_input(self, sigma: Tensor, noise: Tensor) -> Tensor:
        """At unit variance."""
        return noise / (_beside(sigma, noise) ** 2 + 1) ** 0.5

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor) -> Tensor:
        """The clean latent."""
        return model_input - model_output * _beside(sigma, model_output)

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False) -> Tensor:
        """Noise upon a latent."""
        return latent_image + noise * ((1 + sigma**2) ** 0.5 if max_denoise else sigma)

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        """A latent as it comes out."""
        return latent


class VPrediction(EPS):
    """What a network tells that predicts v."""

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor) -> Tensor:
        """The clean latent."""
        level = _beside(sigma, model_output)
        return model_input / (level**2 + 1) - model_output * level / (level**2 + 1) ** 0.5


class X0(EPS):
    """What a network tells that predicts the clean latent."""

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor) -> Tensor:
        """The clean latent."""
        return model_output


class ModelSamplingDiscrete(torch.nn.Module):
    """Levels of a thousand steps. Packs make classes of this one and one of those above."""

    sigma_data: ClassVar[float] = 1.0

    def __init__(self, model_config: object = None, zsnr: bool | None = None) -> None:
        super().__init__()
        self._levels = NoiseLevels(zero_terminal=bool(zsnr))
        self.set_sigmas(self._levels.sigmas)

    def set_sigmas(self, sigmas: Tensor) -> None:
        """Other levels, ascending."""
        self.sigmas, self.log_sigmas = sigmas.float(), sigmas.float().log()

    @property
    def sigma_min(self) -> Tensor:
        """The lowest level."""
        return self.sigmas[0]

    @property
    def sigma_max(self) -> Tensor:
        """The highest level."""
        return self.sigmas[-1]

    def timestep(self, sigma: Tensor) -> Tensor:
        """The time step whose level is nearest in log sigma."""
        return (sigma.log()[..., None] - self.log_sigmas).abs().argmin(dim=-1)

    def sigma(self, timestep: Tensor) -> Tensor:
        """The level at a fractional time step."""
        t = timestep.float().clamp(0, len(self.sigmas) - 1)
        low, high = t.floor().long(), t.ceil().long()
        return torch.lerp(self.log_sigmas[low], self.log_sigmas[high], t - low).exp()

    def percent_to_sigma(self, percent: float) -> float:
        """The level at a part of the way from noise to picture."""
        if percent <= 0.0:
            return 999999999.9
        return 0.0 if percent >= 1.0 else float(self.sigma(torch.tensor((1.0 - percent) * 999.0)))


def model_sampling(host: Host) -> Mapping[str, object]:
    """`comfy.model_sampling`."""
    return {"EPS": EPS, "V_PREDICTION": VPrediction, "X0": X0, "ModelSamplingDiscrete": ModelSamplingDiscrete}


def _beside(sigma: Tensor, x: Tensor) -> Tensor:
    """[] or [B] -> what multiplies x [B, …]."""
    return sigma.reshape(sigma.shape[:1] + (1,) * (x.ndim - 1)) if sigma.ndim else sigma
