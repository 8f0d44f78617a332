"""What `comfy.utils` does with weights by their names: files of them, other names, and the weights of modules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.weights import read_table, read_tensors
from nodes.packs.objects.lora import FileTensors


def load_torch_file(ckpt: str, safe_load: bool = True, device: object = None, return_metadata: bool = False) -> Any:
    """The tensors of a weight file by their names; nothing that a pickle asks for is run, whatever is asked for."""
    table = read_table(Path(ckpt))
    place = torch.device("cpu") if device is None else torch.device(str(device))
    read = read_tensors(table, table.tensors, dtype=None, device=place, mapped=False)
    tensors = FileTensors(dict(read), Path(ckpt))
    return (tensors, dict(table.metadata)) if return_metadata else tensors


def save_torch_file(sd: Mapping[str, Tensor], ckpt: str, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as a .safetensors file."""
    whole = {name: tensor.contiguous() for name, tensor in sd.items()}
    save_file(whole, ckpt, None if metadata is None else dict(metadata))


def state_dict_prefix_replace(
    state_dict: dict[str, Tensor], replace_prefix: Mapping[str, str], filter_keys: bool = False
) -> dict[str, Tensor]:
    """The tensors with other beginnings of their names; filter_keys: those alone that had one of them."""
    out: dict[str, Tensor] = {} if filter_keys else dict(state_dict)
    for old, new in replace_prefix.items():
        for name in [name for name in state_dict if name.startswith(old)]:
            tensor = state_dict[name] if filter_keys else out.pop(name)
            out[new + name.removeprefix(old)] = tensor
    return out


def calculate_parameters(sd: Mapping[str, Tensor], prefix: str = "") -> int:
    """How many numbers there are in all tensors whose names begin so."""
    return sum(tensor.nelement() for name, tensor in sd.items() if name.startswith(prefix))


def weight_dtype(sd: Mapping[str, Tensor], prefix: str = "") -> torch.dtype | None:
    """The type of most of these numbers; None if there are none."""
    counts: Counter[torch.dtype] = Counter()
    for name, tensor in sd.items():
        if name.startswith(prefix):
            counts[tensor.dtype] += tensor.numel()
    return counts.most_common(1)[0][0] if counts else None


def get_attr(obj: Any, attr: str) -> Any:
    """The value at the end of a dotted name."""
    for name in attr.split("."):
        obj = getattr(obj, name)
    return obj


def set_attr(obj: Any, attr: str, value: Any) -> Any:
    """Put `value` at the end of a dotted name, and return what was there."""
    *path, last = attr.split(".")
    holder = get_attr(obj, ".".join(path)) if path else obj
    before = getattr(holder, last)
    setattr(holder, last, value)
    return before


def set_attr_param(obj: Any, attr: str, value: Tensor) -> Any:
    """The same with a parameter that is not trained."""
    return set_attr(obj, attr, nn.Parameter(value, requires_grad=False))


def copy_to_param(obj: Any, attr: str, value: Tensor) -> None:
    """Write into the parameter at the end of a dotted name."""
    get_attr(obj, attr).data.copy_(value)


def names() -> Mapping[str, object]:
    """Those of `comfy.utils`."""
    functions = (
        *(load_torch_file, save_torch_file, state_dict_prefix_replace, calculate_parameters, weight_dtype),
        *(get_attr, set_attr, set_attr_param, copy_to_param),
    )
    return {function.__name__: function for function in functions}
