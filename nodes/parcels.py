"""Results of nodes as bytes, for other processes: safetensors, with what lies around the tensors as JSON in its header."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from graph.result import NodeWarning, Outputs
from models.areas import Area, Share
from models.inpainting import Beside
from models.micro_conditioning import MicroConditioning
from models.noise import BatchPart
from models.types import Cond, Conditioning, Image, Latent, Mask, Sigmas
from nodes.sheet_cell import Thumbnail

_WHAT = "darkroom"
_CLASSES: Mapping[str, type[Any]] = MappingProxyType(
    {
        cls.__name__: cls
        for cls in (
            *(Image, Mask, Latent, Cond, Conditioning, Sigmas, Thumbnail),
            *(Area, Share, Beside, MicroConditioning, BatchPart, NodeWarning),
        )
    }
)

Json: TypeAlias = Any


class _StaysError(Exception):
    """A value that is of use in its own process alone, such as a handle of a model."""


def pack(outputs: Outputs) -> bytes | None:
    """The values and warnings of a result as bytes; None if some value cannot travel. What it shows is not in them."""
    tensors: dict[str, Tensor] = {}
    try:
        what = json.dumps([_encoded(outputs.values, tensors), _encoded(outputs.warnings, tensors)])
    except _StaysError:
        return None
    return safetensors.torch.save(tensors, {_WHAT: what})


def unpack(content: bytes) -> Outputs:
    """What was packed. Raises ValueError for other bytes."""
    try:
        (length,) = struct.unpack_from("<Q", content)
        what = json.loads(content[8 : 8 + length])["__metadata__"][_WHAT]
        tensors = safetensors.torch.load(content)
        values, warnings = (_decoded(part, tensors) for part in json.loads(what))
        return Outputs(values, {}, warnings)
    except (struct.error, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise ValueError(f"this is no result of a node: {error}") from error


def _encoded(value: object, tensors: dict[str, Tensor]) -> Json:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case tuple():
            return {"tuple": [_encoded(item, tensors) for item in value]}
        case Mapping() if all(type(key) is str for key in value):
            return {"map": {key: _encoded(item, tensors) for key, item in value.items()}}
        case Tensor():
            tensors[name := str(len(tensors))] = value.detach().cpu().contiguous().clone()
            return {"tensor": name}
    name = type(value).__name__
    if _CLASSES.get(name) is not type(value) or not is_dataclass(value):
        raise _StaysError(name)
    given = {it.name: getattr(value, it.name) for it in fields(value) if it.init}
    return {"class": name, "of": {name: _encoded(it, tensors) for name, it in given.items()}}


def _decoded(value: Json, tensors: Mapping[str, Tensor]) -> Any:
    match value:
        case {"tuple": items}:
            return tuple(_decoded(item, tensors) for item in items)
        case {"map": items}:
            return {key: _decoded(item, tensors) for key, item in items.items()}
        case {"tensor": name}:
            return tensors[name]
        case {"class": name, "of": given}:
            return _CLASSES[name](**{key: _decoded(item, tensors) for key, item in given.items()})
        case _:
            return value
