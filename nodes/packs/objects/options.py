"""`model_options`: what packs set of a MODEL, in ComfyUI's form, which they may write into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Options: TypeAlias = dict[str, Any]
"""`transformer_options`, `model_function_wrapper`, `sampler_cfg_function` and its kin."""


def copied(options: Mapping[str, Any]) -> Options:
    """The same with dictionaries and lists of its own, however deep."""
    return {key: _copied(value) for key, value in options.items()}


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return copied(value)
    return [_copied(item) for item in value] if isinstance(value, list) else value
