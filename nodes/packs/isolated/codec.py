"""Values as messages to and from the process of a pack: JSON, whose tensors lie beside it, one behind the other.

Nothing that is received is run: it is made of numbers, texts, tensors and the few plain classes listed here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any, TypeAlias

import torch
from torch import Tensor

from graph.document import DocNode, Link
from graph.files import FileRef
from graph.inputs import REQUIRED, Cases, Group, InputSpec, Key, OutputSpec
from graph.replacements import Replacement
from graph.result import LATER, Blocked, Expand, Items, Need, NodeWarning, Outputs
from graph.sockets import Anything, Choice, File, Float, Int, Text, Toggle
from models.areas import Area, Share
from models.inpainting import Beside
from models.micro_conditioning import MicroConditioning
from models.revision import PictureVector
from models.types import Cond, Conditioning, Image, Latent, Mask, Sigmas
from nodes.packs.choices import AnyChoice, OpenChoice, SeveralChoices
from nodes.packs.isolated.memory import Tensors, aligned
from nodes.packs.truth import Truth

_CLASSES: Mapping[str, type[Any]] = MappingProxyType(
    {
        cls.__name__: cls
        for cls in (
            *(Image, Mask, Latent, Cond, Conditioning, Sigmas, Area, Share, Beside, MicroConditioning, PictureVector),
            *(Items, Blocked, Need, NodeWarning, Outputs, Expand, DocNode, Link, FileRef),
            *(InputSpec, OutputSpec, Group, Cases, Key, Choice, File, Int, Float, Text, Toggle, Truth, Anything),
            *(AnyChoice, OpenChoice, SeveralChoices, Replacement),
        )
    }
)
_FIELDS: Mapping[type[Any], tuple[str, ...]] = MappingProxyType(
    {cls: tuple(f.name for f in fields(cls) if f.init) for cls in _CLASSES.values()}
)
"""What each of them is made of, in this order."""
_DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {
        str(dtype): dtype
        for dtype in (
            *(torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.bool, torch.uint8),
            *(torch.int8, torch.int16, torch.int32, torch.int64),
        )
    }
)
_PLAIN = frozenset({NoneType, bool, int, float, str})

Json: TypeAlias = Any


class WireError(Exception):
    """A message that cannot be sent, or that is none."""


def encoded(value: object, tensors: list[Tensor]) -> Json:
    """`value` for `json.dumps`; its tensors are added to `tensors`. Raises WireError for what cannot be sent."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, Tensor):
        return _announced(value, tensors)
    if isinstance(value, dict):
        return {"map": [[encoded(key, tensors), encoded(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list):
        return [encoded(item, tensors) for item in value]
    if (names := _FIELDS.get(kind)) is not None:
        return {kind.__name__: [encoded(getattr(value, name), tensors) for name in names]}
    return _of_another_kind(value, tensors)


def _of_another_kind(value: object, tensors: list[Tensor]) -> Json:
    match value:
        case str():
            return str(value)
        case int() | float():
            return value
        case tuple():
            return {"tuple": [encoded(item, tensors) for item in value]}
        case set() | frozenset():
            return {"set": [encoded(item, tensors) for item in value]}
        case _ if value is LATER or value is REQUIRED:
            return {"is": "later" if value is LATER else "required"}
        case Mapping():
            return {"map": [[encoded(key, tensors), encoded(item, tensors)] for key, item in value.items()]}
        case bytes():
            return {"bytes": base64.b64encode(value).decode()}
        case Path():
            return {"path": str(value)}
    name = type(value).__name__
    raise WireError(f"a value of type {name} cannot go between Darkroom and a pack in a process of its own")


def _announced(tensor: Tensor, tensors: list[Tensor]) -> Json:
    if str(tensor.dtype) not in _DTYPES:
        raise WireError(f"a tensor of {tensor.dtype} cannot go between Darkroom and a pack in a process of its own")
    tensors.append(tensor)
    return {"tensor": [str(tensor.dtype), list(tensor.shape)]}


def can_travel(value: object) -> bool:
    """Whether a value can be sent."""
    try:
        json.dumps(encoded(value, []))
    except (WireError, ValueError, RecursionError):
        return False
    return True


class Reader:
    """Makes what a message says, from its innermost parts outwards. place: behind the last tensor that was read."""

    def __init__(self, tensors: Tensors | None) -> None:
        self._tensors = tensors
        self.place = 0

    def read(self, whole: bytes) -> Any:
        """The message. Raises WireError, ValueError, KeyError, TypeError and the like for what is none."""
        made = json.loads(whole, object_hook=self._made)
        if self._tensors is not None:
            self._tensors.fill()
        return made

    def _made(self, told: Mapping[str, Json]) -> Any:
        [(kind, inner)] = told.items()
        if (cls := _CLASSES.get(kind)) is not None:
            return cls(*inner)
        match kind:
            case "tensor":
                return self._tensor(_DTYPES[inner[0]], tuple(map(int, inner[1])))
            case "tuple":
                return tuple(inner)
            case "map":
                return dict(inner)
            case "set":
                return frozenset(inner)
            case "is":
                return LATER if inner == "later" else REQUIRED
            case "bytes":
                return base64.b64decode(inner)
            case "path":
                return Path(inner)
            case _:
                raise WireError(f"there is no {kind!r}")

    def _tensor(self, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        length = dtype.itemsize
        for size in shape:
            length *= size
        if self._tensors is None or min(shape, default=0) < 0:
            raise WireError(f"a tensor of shape {shape} was announced and is not there")
        place = aligned(self.place)
        self.place = place + length
        return self._tensors.at(place, length).view(dtype).reshape(shape)
