"""Messages between Darkroom and the process of a pack: JSON, with tensors beside it in shared memory.

Nothing that is received is run: a message is made of numbers, texts, tensors and the few plain classes listed here.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import Tensor

from graph.document import DocNode, Link
from graph.files import FileRef
from graph.inputs import REQUIRED, Cases, Group, InputSpec, Key, OutputSpec
from graph.result import LATER, Blocked, Expand, Items, Need, NodeWarning, Outputs
from graph.sockets import Anything, Choice, File, Float, Int, Text, Toggle
from models.areas import Area, Share
from models.inpainting import Beside
from models.micro_conditioning import MicroConditioning
from models.types import Cond, Conditioning, Image, Latent, Mask, Sigmas

LONGEST = 2**28
"""Bytes of a message without its tensors; a longer one is taken for a fault."""
_LENGTH = "<I"
_CLASSES: Mapping[str, type[Any]] = MappingProxyType(
    {
        cls.__name__: cls
        for cls in (
            *(Image, Mask, Latent, Cond, Conditioning, Sigmas, Area, Share, Beside, MicroConditioning),
            *(Items, Blocked, Need, NodeWarning, Outputs, Expand, DocNode, Link, FileRef),
            *(InputSpec, OutputSpec, Group, Cases, Key, Choice, File, Int, Float, Text, Toggle, Anything),
        )
    }
)
_DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {
        str(dtype): dtype
        for dtype in (
            *(torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.bool, torch.uint8),
            *(torch.int8, torch.int16, torch.int32, torch.int64),
        )
    }
)

Json: TypeAlias = Any


class WireError(Exception):
    """A message that cannot be sent, or that is none."""


@dataclass(frozen=True, slots=True)
class Message:
    """`number`: of the question that it is, or that it answers; 0 for what is only told."""

    kind: str
    number: int
    body: Any


def shared_memory() -> int:
    """A file without a name that only memory holds, where the system has such; as its number."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("pack")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Channel:
    """One end of a connection. Tensors are written into `out` and read from `into`, files that both ends have open.

    Both ends wait for the answer to what they sent tensors with before they send others.
    """

    def __init__(self, connection: socket.socket, out: int, into: int) -> None:
        self._connection = connection
        self._out = out
        self._into = into
        self._sending = threading.Lock()

    def send(self, kind: str, number: int, body: object) -> None:
        """From any thread. Raises WireError for what cannot be sent, OSError if the other end is gone."""
        tensors: list[Tensor] = []
        whole = json.dumps([kind, number, _encoded(body, tensors)]).encode()
        if len(whole) > LONGEST:
            raise WireError(f"a message of {len(whole)} bytes is too long")
        with self._sending:
            place = 0
            for tensor in tensors:
                place = _write(self._out, tensor, place)
            self._connection.sendall(struct.pack(_LENGTH, len(whole)) + whole)

    def receive(self) -> Message | None:
        """The next message; None at the end. From one thread. Raises WireError for what is no message."""
        head = self._read(struct.calcsize(_LENGTH))
        if head is None:
            return None
        [length] = struct.unpack(_LENGTH, head)
        whole = self._read(length) if length <= LONGEST else None
        if whole is None:
            raise WireError("a message that is too long, or has no end")
        try:
            kind, number, body = json.loads(whole)
            reader = _Reader(self._into)
            return Message(str(kind), int(number), reader.decoded(body))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, RuntimeError) as error:
            raise WireError(f"what came is no message: {error!r}") from error

    def close(self) -> None:
        """Let go of the connection and the memory."""
        self._connection.close()
        for number in {self._out, self._into}:
            os.close(number)

    def _read(self, length: int) -> bytes | None:
        pieces = bytearray()
        while len(pieces) < length:
            try:
                piece = self._connection.recv(length - len(pieces))
            except OSError:
                return None
            if not piece:
                return None
            pieces += piece
        return bytes(pieces)


def can_travel(value: object) -> bool:
    """Whether a value can be sent."""
    try:
        json.dumps(_encoded(value, []))
    except (WireError, ValueError, RecursionError):
        return False
    return True


def _encoded(value: object, tensors: list[Tensor]) -> Json:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return str(value)
        case list():
            return [_encoded(item, tensors) for item in value]
        case _ if value is LATER or value is REQUIRED:
            return {"is": "later" if value is LATER else "required"}
        case tuple():
            return {"tuple": [_encoded(item, tensors) for item in value]}
        case set() | frozenset():
            return {"set": [_encoded(item, tensors) for item in value]}
        case Mapping():
            return {"map": [[_encoded(key, tensors), _encoded(item, tensors)] for key, item in value.items()]}
        case Tensor():
            return _announced(value, tensors)
        case bytes():
            return {"bytes": base64.b64encode(value).decode()}
        case Path():
            return {"path": str(value)}
    name = type(value).__name__
    if _CLASSES.get(name) is not type(value) or not is_dataclass(value):
        raise WireError(f"a value of type {name} cannot go between Darkroom and a pack in a process of its own")
    return {"class": name, "of": {f.name: _encoded(getattr(value, f.name), tensors) for f in fields(value) if f.init}}


def _announced(tensor: Tensor, tensors: list[Tensor]) -> Json:
    if str(tensor.dtype) not in _DTYPES:
        raise WireError(f"a tensor of {tensor.dtype} cannot go between Darkroom and a pack in a process of its own")
    tensors.append(tensor)
    return {"tensor": [str(tensor.dtype), list(tensor.shape)]}


def _bytes(tensor: Tensor) -> memoryview:
    if not tensor.numel():
        return memoryview(b"")
    whole: Any = tensor.reshape(-1).view(torch.uint8).numpy()
    return memoryview(whole)


def _write(file: int, tensor: Tensor, place: int) -> int:
    data = _bytes(tensor.detach().cpu().contiguous())
    while data:
        done = os.pwrite(file, data, place)
        data, place = data[done:], place + done
    return place


class _Reader:
    """Takes a message apart; its tensors lie one behind the other."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._place = 0

    def decoded(self, value: Json) -> Any:
        if isinstance(value, list):
            return [self.decoded(item) for item in value]
        if not isinstance(value, dict):
            return value
        [(kind, inner), *more] = value.items()
        match kind:
            case "is":
                return LATER if inner == "later" else REQUIRED
            case "tuple":
                return tuple(self.decoded(item) for item in inner)
            case "set":
                return frozenset(self.decoded(item) for item in inner)
            case "map":
                return {self.decoded(key): self.decoded(item) for key, item in inner}
            case "tensor":
                return self._tensor(_DTYPES[inner[0]], tuple(map(int, inner[1])))
            case "bytes":
                return base64.b64decode(inner)
            case "path":
                return Path(inner)
            case "class":
                return _CLASSES[inner](**dict(self._fields(more)))
            case _:
                raise WireError(f"there is no {kind!r}")

    def _fields(self, more: list[tuple[str, Json]]) -> Iterator[tuple[str, Any]]:
        [(_, given)] = more
        for name, value in given.items():
            yield name, self.decoded(value)

    def _tensor(self, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        """A copy: the other end may write into the memory at any time."""
        length = dtype.itemsize
        for size in shape:
            length *= size
        if min(shape, default=0) < 0 or self._place + length > os.fstat(self._file).st_size:
            raise WireError(f"a tensor of shape {shape} was announced and is not there")
        tensor = torch.empty(shape, dtype=dtype)
        data = _bytes(tensor)
        while data:
            done = os.preadv(self._file, [data], self._place)
            if not done:
                raise WireError(f"a tensor of shape {shape} has no end")
            data, self._place = data[done:], self._place + done
        return tensor
