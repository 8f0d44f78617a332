"""k-diffusion's sampling.py, loaded by path: the package itself imports torchvision, which nothing here installs."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

from torch import Tensor


@cache
def k_diffusion_sampling() -> Any:
    """The module of samplers, with stand-ins for what it imports and these tests do not call."""
    package = importlib.util.find_spec("k_diffusion")
    assert package is not None and package.origin is not None, "k-diffusion is not installed (see requirements-dev.txt)"
    spec = importlib.util.spec_from_file_location("k_diffusion.sampling", Path(package.origin).with_name("sampling.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    stubs = {
        "k_diffusion": _module("k_diffusion", utils=_module("k_diffusion.utils", append_dims=_append_dims)),
        "torchdiffeq": _module("torchdiffeq", odeint=None),
    }
    with patch.dict(sys.modules, stubs):
        spec.loader.exec_module(module)
    return module


def _module(name: str, **members: object) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(members)
    return module


def _append_dims(x: Tensor, dims: int) -> Tensor:
    return x[(...,) + (None,) * (dims - x.ndim)]
