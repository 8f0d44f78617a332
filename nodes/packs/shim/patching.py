"""`comfy.model_patcher` and `comfy.patcher_extension`: what packs change of options that they hold themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodes.packs.objects.hooks import CallbacksMP, PatcherInjection
from nodes.packs.objects.model import PackModel
from nodes.packs.objects.options import Options, copied
from nodes.packs.objects.wrappers import Executor, WrappersMP


def model_patcher() -> Mapping[str, object]:
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

    def set_model_options_pre_cfg_function(
        model_options: Options, pre_cfg_function: Any, disable_cfg1_optimization: bool = False
    ) -> Options:
        """Other options, with one function more before guidance."""
        made = copied(model_options)
        made.setdefault("sampler_pre_cfg_function", []).append(pre_cfg_function)
        return made | ({"disable_cfg1_optimization": True} if disable_cfg1_optimization else {})

    functions = (
        create_model_options_clone,
        set_model_options_patch_replace,
        set_model_options_post_cfg_function,
        set_model_options_pre_cfg_function,
    )
    return {"ModelPatcher": PackModel, **{function.__name__: function for function in functions}}


def patcher_extension() -> Mapping[str, object]:
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
