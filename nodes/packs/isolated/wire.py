"""Messages between Darkroom and the process of a pack: JSON, with tensors beside it in shared memory.

Nothing that is received is run: a message is made of numbers, texts, tensors and the few plain classes listed here.
"""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from nodes.packs.isolated.memory import MemoryFile, Tensors, aligned, end
from nodes.packs.truth import Truth

LONGEST = 2**28
"""Bytes of a message without its tensors; a longer one is taken for a fault."""
KEPT = 2**26
"""Files of more bytes are let go of with the message they were made for."""
_HEAD = "<I?Q"
"""The bytes of the message, whether it has tensors, and how many messages with tensors the sender has let go of."""
_CLASSES: Mapping[str, type[Any]] = MappingProxyType(
    {
        cls.__name__: cls
        for cls in (
            *(Image, Mask, Latent, Cond, Conditioning, Sigmas, Area, Share, Beside, MicroConditioning),
            *(Items, Blocked, Need, NodeWarning, Outputs, Expand, DocNode, Link, FileRef),
            *(InputSpec, OutputSpec, Group, Cases, Key, Choice, File, Int, Float, Text, Toggle, Truth, Anything),
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


@dataclass(frozen=True, slots=True)
class Written:
    """A message that can be sent, and the file that its tensors lie in."""

    whole: bytes
    file: MemoryFile | None


class Channel:
    """One end of a connection. `lend`: makes of a file that came how its tensors are read.

    Tensors are written into a memory file that goes along with the first message that needs it. It is written again once
    the other end has let go of all that it was sent, which every message says; until then there is another one.
    """

    def __init__(self, connection: socket.socket, lend: Callable[[int], Tensors]) -> None:
        self._connection = connection
        self._lend = lend
        self._sending = threading.Lock()
        self._out: MemoryFile | None = None  # to be written again
        self._last: MemoryFile | None = None  # what the other end reads
        self._sent = 0  # messages with tensors
        self._free = 0  # how many of these the other end has let go of
        self._tensors: Tensors | None = None
        self._received = 0
        self._let_go = 0

    def send(self, kind: str, number: int, body: object) -> None:
        """From any thread. Raises WireError for what cannot be sent, OSError if the other end is gone."""
        self.post(self.written(kind, number, body))

    def written(self, kind: str, number: int, body: object) -> Written:
        """A message with all that is in it, so that `body` can be let go of before it is sent. Raises WireError."""
        tensors: list[Tensor] = []
        whole = json.dumps([kind, number, _encoded(body, tensors)]).encode()
        if len(whole) > LONGEST:
            raise WireError(f"a message of {len(whole)} bytes is too long")
        return Written(whole, self._lay(tensors) if tensors else None)

    def post(self, message: Written) -> None:
        """Send it. From any thread. Raises OSError if the other end is gone."""
        file, whole = message.file, message.whole
        with self._sending:
            files = [file.number] if file is not None and file is not self._last else []
            head = struct.pack(_HEAD, len(whole), file is not None, self._unused())
            done = socket.send_fds(self._connection, [head, whole], files)
            if done < len(head) + len(whole):
                self._connection.sendall((head + whole)[done:])
            if file is not None:
                self._sent += 1
                self._last = self._out = file if file.size <= KEPT else None

    def receive(self) -> Message | None:
        """The next message; None at the end. From one thread. Raises WireError for what is no message."""
        try:
            head, file = self._head()
            if file is not None:
                self._tensors = self._lend(file)
            if head is None:
                return None
            length, has_tensors, self._free = struct.unpack(_HEAD, head)
            whole = self._read(length) if length <= LONGEST else None
            if whole is None:
                raise WireError("a message that is too long, or has no end")
            kind, number, body = json.loads(whole)
            reader = _Reader(self._tensors)
            message = Message(str(kind), int(number), reader.decoded(body))
        except (
            *(ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, RuntimeError, OSError),
        ) as error:
            raise WireError(f"what came is no message: {error!r}") from error
        self._received += has_tensors  # only now: what was read is in use
        if reader.place > KEPT:  # as the other end does
            self._tensors = None
        return message

    def close(self) -> None:
        """Let go of the connection and the memory."""
        self._connection.close()
        self._out = self._last = self._tensors = None

    def _lay(self, tensors: Sequence[Tensor]) -> MemoryFile:
        """The tensors in a file that nobody reads any more, or in a new one."""
        size = end(tensors)
        with self._sending:
            file, self._out = self._out, None
            is_free = self._free == self._sent
        if file is None or not is_free or size > file.size:
            try:
                file = MemoryFile(size)
            except OSError as error:
                raise WireError(f"there is no memory for tensors of {size} bytes: {error.strerror}") from error
        file.write(tensors)
        return file

    def _unused(self) -> int:
        """How many of the messages with tensors are of no use here any more."""
        if self._tensors is None or not self._tensors.are_used:
            self._let_go = self._received
        return self._let_go

    def _head(self) -> tuple[bytes | None, int | None]:
        """How long the next message is, and the file that came with it."""
        size = struct.calcsize(_HEAD)
        ours_alone = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # not of programs that are begun here
        try:
            head, files, _, _ = socket.recv_fds(self._connection, size, 1, ours_alone)
        except OSError:
            return None, None
        rest = self._read(size - len(head)) if head else None
        return (None if rest is None else head + rest), files[0] if files else None

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


class _Reader:
    """Takes a message apart; its tensors lie one behind the other."""

    def __init__(self, tensors: Tensors | None) -> None:
        self._tensors = tensors
        self.place = 0

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
        length = dtype.itemsize
        for size in shape:
            length *= size
        if self._tensors is None or min(shape, default=0) < 0:
            raise WireError(f"a tensor of shape {shape} was announced and is not there")
        place = aligned(self.place)
        self.place = place + length
        return self._tensors.at(place, length).view(dtype).reshape(shape)
