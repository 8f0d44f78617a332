"""A MODEL as packs hold it: its setters change the object, and each object stands for a handle that never changes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from models.types import Model
from nodes.packs.host import Host
from nodes.packs.objects.guided import three_parameters
from nodes.packs.objects.handles import Handle
from nodes.packs.objects.hooks import Hooked, callbacks_of
from nodes.packs.objects.lora import LoadedLora, on_model
from nodes.packs.objects.network import BaseModel, network_of
from nodes.packs.objects.options import copied
from nodes.packs.objects.patched import with_options, without_options
from nodes.packs.objects.sampling import sampled_as
from nodes.packs.objects.weight_patches import ModelWeight, WeightPatch, check, weight_name, weights_of
from nodes.packs.objects.whole import with_whole, without_whole


class PackModel(Handle[Model], Hooked):
    """A MODEL. `model_options` may be written into, as packs do."""

    def __init__(self, handle: Model, host: Host) -> None:
        own, self.model_options = without_options(handle)
        super().__init__(without_whole(own), host)

    @property
    def handle(self) -> Model:
        """The model with all that was set."""
        made = with_options(self._own, self.model_options, self.model)
        return with_whole(made, self.model_options, self)

    def clone(self) -> PackModel:
        """Another object for the same model, with settings of its own."""
        made = PackModel(self._own, self._host)
        made.model_options = copied(self.model_options)
        for callback in callbacks_of(self.model_options, "on_clone"):
            callback(self, made)
        return made

    @property
    def host(self) -> Host:
        """What it shares with all that packs use."""
        return self._host

    @property
    def model(self) -> BaseModel:
        """The network, as far as packs look at it."""
        return network_of(self._own, self._host, self._missed)

    @property
    def load_device(self) -> torch.device:
        """Where it computes."""
        return self._host.context.services.residency.device

    @property
    def offload_device(self) -> torch.device:
        """Where its weights are while it does not."""
        return torch.device("cpu")

    def model_dtype(self) -> torch.dtype:
        """In which precision it computes."""
        return self._host.context.services.residency.computes(self._own)

    def get_model_object(self, name: str) -> Any:
        """`model_sampling` or `latent_format`. Raises AttributeError for others."""
        return getattr(self.model, name)

    def add_object_patch(self, name: str, obj: Any) -> None:
        """Have `model_sampling` be another. Raises AttributeError for other names."""
        if name != "model_sampling":
            self._missed(f"add_object_patch({name!r})")
        self._own = replace(self._own, sampled_as=sampled_as(obj))

    def add_patches(
        self, patches: Mapping[Any, Any], strength_patch: float = 1.0, strength_model: float = 1.0
    ) -> list[Any]:
        """Change weights: `{name: ("diff", (difference,))}`, or `("lora", (up, down, alpha, …))`, or what `comfy.lora.load_lora`
        made of a file. Returns the names that it has."""
        if isinstance(patches, LoadedLora):
            if strength_model != 1.0:
                self._missed("add_patches(strength_model) of a file")
            self._own = on_model(self._host.context, patches, self._own, strength_patch)
            return list(patches)
        shapes = self._own.weights.shapes("model")
        named = {weight_name(key): change for key, change in patches.items()}
        known = {name: change for name, change in named.items() if name in shapes}
        for change in known.values():
            check(change)
        if known:
            patch = WeightPatch(known, strength_patch, strength_model)
            self._own = replace(self._own, patches=(*self._own.patches, patch))
        return [key for key in patches if weight_name(key) in known]

    def get_key_patches(self, filter_prefix: str | None = None) -> dict[str, tuple[ModelWeight]]:
        """Its weights, with what was changed of them, for another model's `add_patches`. They are read when that is loaded."""
        return {name: (weight,) for name, weight in weights_of(self._own, filter_prefix or "").items()}

    def model_state_dict(self, filter_prefix: str | None = None) -> dict[str, Tensor]:
        """Its weights, with what was changed of them, float32 on the CPU."""
        return {name: weight.read() for name, weight in weights_of(self._own, filter_prefix or "").items()}

    def model_size(self) -> int:
        """Bytes of its weights in the precision that it computes in."""
        shapes = self._own.weights.shapes("model").values()
        return sum(math.prod(shape) for shape in shapes) * self.model_dtype().itemsize

    def is_clone(self, other: object) -> bool:
        """Whether another object is of the same file."""
        return isinstance(other, PackModel) and other._own.files[0] == self._own.files[0]

    def set_model_compute_dtype(self, dtype: torch.dtype) -> None:
        """Have it compute in another precision."""
        self._own = replace(self._own, dtype=dtype)

    def set_model_unet_function_wrapper(self, unet_wrapper_function: Callable[..., Any]) -> None:
        """f(apply_model, {input, timestep, c, cond_or_uncond}) in the place of the network."""
        self.model_options["model_function_wrapper"] = unet_wrapper_function

    def set_model_sampler_cfg_function(
        self, sampler_cfg_function: Callable[..., Any], disable_cfg1_optimization: bool = False
    ) -> None:
        """f(dict), or f(cond, uncond, scale), in the place of classifier-free guidance."""
        old = len(inspect.signature(sampler_cfg_function).parameters) == 3
        function = three_parameters(sampler_cfg_function) if old else sampler_cfg_function
        self.model_options["sampler_cfg_function"] = function
        self._at_scale_1(both=disable_cfg1_optimization)

    def set_model_sampler_post_cfg_function(
        self, post_cfg_function: Callable[..., Any], disable_cfg1_optimization: bool = False
    ) -> None:
        """f(dict) after guidance."""
        self.model_options.setdefault("sampler_post_cfg_function", []).append(post_cfg_function)
        self._at_scale_1(both=disable_cfg1_optimization)

    def set_model_sampler_pre_cfg_function(
        self, pre_cfg_function: Callable[..., Any], disable_cfg1_optimization: bool = False
    ) -> None:
        """f(dict) before guidance; it returns both estimates."""
        self.model_options.setdefault("sampler_pre_cfg_function", []).append(pre_cfg_function)
        self._at_scale_1(both=disable_cfg1_optimization)

    def set_model_patch(self, patch: Callable[..., Any], name: str) -> None:
        """One more of the patches of this name. Raises AttributeError for one that is not known here."""
        if name not in PATCHES:
            self._missed(f"set_model_patch({name!r})")
        self._inside("patches").setdefault(name, []).append(patch)

    def set_model_patch_replace(
        self, patch: Callable[..., Any], name: str, block_name: str, number: int, transformer_index: int | None = None
    ) -> None:
        """Attention of one transformer. name: attn1 or attn2."""
        if name not in ("attn1", "attn2"):
            self._missed(f"set_model_patch_replace({name!r})")
        place = (block_name, number) if transformer_index is None else (block_name, number, transformer_index)
        self._inside("patches_replace").setdefault(name, {})[place] = patch

    def set_model_attn1_patch(self, patch: Callable[..., Any]) -> None:
        """f(q, k, v, extra) before self-attention's projections."""
        self.set_model_patch(patch, "attn1_patch")

    def set_model_attn2_patch(self, patch: Callable[..., Any]) -> None:
        """The same for cross-attention."""
        self.set_model_patch(patch, "attn2_patch")

    def set_model_attn1_output_patch(self, patch: Callable[..., Any]) -> None:
        """f(out, extra) after self-attention."""
        self.set_model_patch(patch, "attn1_output_patch")

    def set_model_attn2_output_patch(self, patch: Callable[..., Any]) -> None:
        """The same for cross-attention."""
        self.set_model_patch(patch, "attn2_output_patch")

    def set_model_attn1_replace(
        self, patch: Callable[..., Any], block_name: str, number: int, transformer_index: int | None = None
    ) -> None:
        """f(q, k, v, extra) in the place of self-attention, between its projections."""
        self.set_model_patch_replace(patch, "attn1", block_name, number, transformer_index)

    def set_model_attn2_replace(
        self, patch: Callable[..., Any], block_name: str, number: int, transformer_index: int | None = None
    ) -> None:
        """The same for cross-attention."""
        self.set_model_patch_replace(patch, "attn2", block_name, number, transformer_index)

    def set_model_input_block_patch(self, patch: Callable[..., Any]) -> None:
        """f(h, options) after each input block."""
        self.set_model_patch(patch, "input_block_patch")

    def set_model_input_block_patch_after_skip(self, patch: Callable[..., Any]) -> None:
        """The same for the next block alone."""
        self.set_model_patch(patch, "input_block_patch_after_skip")

    def set_model_output_block_patch(self, patch: Callable[..., Any]) -> None:
        """f(h, skip, options) -> (h, skip) before each output block."""
        self.set_model_patch(patch, "output_block_patch")

    def set_model_emb_patch(self, patch: Callable[..., Any]) -> None:
        """f(emb, channels, options) of the time step's embedding."""
        self.set_model_patch(patch, "emb_patch")

    def set_model_denoise_mask_function(self, denoise_mask_function: Callable[..., Any]) -> None:
        """f(sigma, mask, extra_options={model, sigmas}) -> the mask that counts at a level."""
        self.model_options["denoise_mask_function"] = denoise_mask_function

    def _at_scale_1(self, *, both: bool) -> None:
        """Have both texts evaluated where a scale of 1 leaves nothing of the negative one."""
        if both:
            self.model_options["disable_cfg1_optimization"] = True


PATCHES = frozenset(
    {
        *("attn1_patch", "attn2_patch", "attn1_output_patch", "attn2_output_patch"),
        *("input_block_patch", "input_block_patch_after_skip", "output_block_patch"),
        *("middle_patch", "emb_patch"),
    }
)
"""The names of patches that are heeded; another would be set and never called."""
