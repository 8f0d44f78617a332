"""A MODEL as packs hold it: its setters change the object, and each object stands for a handle that never changes."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from models.checkpoint import Change, Part
from models.config import Shapes, unet_config
from models.types import Model
from nodes.packs.handles import Handle
from nodes.packs.hooks import Hooked, callbacks_of
from nodes.packs.host import Host
from nodes.packs.options import copied, three_parameters, with_options, without_options
from nodes.packs.sampling import ModelSampling, sampled_as
from nodes.packs.whole import with_whole, without_whole

NETWORK = "diffusion_model."
"""How packs' names of a U-Net's weights begin."""


class PackModel(Handle[Model], Hooked):
    """A MODEL. `model_options` may be written into, as packs do."""

    def __init__(self, handle: Model, host: Host) -> None:
        own, self.model_options = without_options(handle)
        super().__init__(without_whole(own), host)

    @property
    def handle(self) -> Model:
        """The model with all that was set."""
        made = with_options(self._own, self.model_options, PackNetwork(self))
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
    def model(self) -> PackNetwork:
        """The network, as far as packs look at it."""
        return PackNetwork(self)

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
        return self._host.context.services.residency.precision.model

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
        """Change weights: `{name: ("diff", (difference,))}`, or `("lora", (up, down, alpha, …))`. Returns the names that it has."""
        shapes = self._own.weights.shapes("model")
        named = {_weight(key): change for key, change in patches.items()}
        known = {name: change for name, change in named.items() if name in shapes}
        if known:
            patch = WeightPatch(known, strength_patch, strength_model)
            self._own = replace(self._own, patches=(*self._own.patches, patch))
        return [key for key in patches if _weight(key) in known]

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


class PackNetwork:
    """What packs know as `model.model`: what there is to know of a network without loading it."""

    def __init__(self, owner: PackModel) -> None:
        self._owner = owner

    @property
    def host(self) -> Host:
        """What it shares with all that packs use."""
        return self._owner._host

    @property
    def model_sampling(self) -> ModelSampling:
        """Its noise levels, and what it tells of them."""
        return ModelSampling(self._owner._own.diffusion)

    @property
    def latent_format(self) -> Any:
        """How latents are scaled for it."""
        space = self._owner._own.family.latent
        return SimpleNamespace(
            scale_factor=space.scale, latent_channels=space.channels, process_in=self.process_latent_in,
            process_out=self.process_latent_out, spacial_downscale_ratio=space.factor,
        )  # fmt: skip

    @property
    def model_config(self) -> Any:
        """Its shape, by the names that packs ask for."""
        shape = unet_config(self._owner._own.weights.shapes("model"))
        known = {
            "in_channels": shape.in_channels,
            "out_channels": shape.out_channels,
            "model_channels": shape.model_channels,
            "channel_mult": list(shape.channel_mult),
            "context_dim": shape.context_dim,
        }
        return SimpleNamespace(unet_config=known, latent_format=self.latent_format, sampling_settings={})

    def process_latent_in(self, latent: Tensor) -> Tensor:
        """As the VAE gives it -> as the network reads it."""
        return latent * self._owner._own.family.latent.scale

    def process_latent_out(self, latent: Tensor) -> Tensor:
        """And back."""
        return latent / self._owner._own.family.latent.scale

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._owner._missed(f"model.{name}")


@dataclass(frozen=True, eq=False)
class WeightPatch:
    """What a pack changes of weights, by the network's names. Held in memory: no file has it."""

    made: Mapping[str, Any]
    strength: float
    of_model: float
    key: Hashable = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def sources(self) -> Sequence[tuple[Path, str]]:
        """None."""
        return ()

    def changes(self, shapes: Shapes, part: Part) -> Mapping[str, Change]:
        """The changes, for the weights that there are."""
        return {
            name: partial(self._changed, difference=difference(change, shapes[name]))
            for name, change in self.made.items()
            if name in shapes
        }

    def _changed(self, weight: Tensor, difference: Tensor) -> Tensor:
        return weight * self.of_model + difference * self.strength


def difference(change: Any, shape: Iterable[int]) -> Tensor:
    """What a patch adds to a weight of this shape, float32. Raises ValueError for a kind that is not known here."""
    match change:
        case ("diff", (Tensor() as whole, *_)) | (Tensor() as whole,) | ("diff", Tensor() as whole):
            made = whole.float()
        case ("lora", (Tensor() as up, Tensor() as down, alpha, *rest)) if not any(it is not None for it in rest):
            scale = 1.0 if alpha is None else float(alpha) / down.shape[0]
            made = scale * up.float().flatten(1) @ down.float().flatten(1)
        case _:
            kind = change[0] if isinstance(change, tuple) and isinstance(change[0], str) else type(change).__name__
            raise ValueError(f"a patch of kind {kind!r} is not known here; `diff` and plain `lora` are")
    return made.reshape(tuple(shape)).cpu()


def _weight(key: Any) -> str:
    name = key[0] if isinstance(key, tuple) else key
    return str(name).removeprefix("model.").removeprefix(NETWORK)
