"""What a GGUF file holds: names, kinds of numbers, shapes and places, and what its writer says of the model.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3. Nothing is believed before it is counted: what a
header claims to be longer than its file is damaged, so no claim of its makes anyone ask for memory.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from io import BufferedReader
from types import MappingProxyType
from typing import NamedTuple

import torch

from models.ggml_blocks import BLOCKS, Block

MAGIC = b"GGUF"

_PLAIN: Mapping[int, torch.dtype] = MappingProxyType(
    {
        0: torch.float32, 1: torch.float16, 24: torch.int8, 25: torch.int16, 26: torch.int32, 27: torch.int64,
        28: torch.float64, 30: torch.bfloat16,
    }
)  # fmt: skip
_NUMBERS: Mapping[int, str] = MappingProxyType(
    {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
)
_MOST = 2**20  # entries, tensors, and values of lists, together: more than any model has
_DEEPEST = 8  # arrays in arrays
_SHAPE = "comfy.gguf.orig_shape."  # before a tensor's name: its shape, where it was flattened to make whole blocks


class GGUFError(Exception):
    """A file that cannot be used. The message goes on after the file's name."""


class Stored(NamedTuple):
    """One tensor. block: how its numbers are packed; None: they are plain ones of `dtype`. offset: in bytes from the start
    of the file."""

    dtype: torch.dtype
    block: Block | None
    shape: tuple[int, ...]
    offset: int


class Header(NamedTuple):
    """tensors: by name. texts: what the writer said, of it what is text."""

    tensors: dict[str, Stored]
    texts: dict[str, str]


def read_gguf_header(file: BufferedReader, length: int) -> Header:
    """Read the header of `file`, which has `length` bytes. Raises GGUFError."""
    try:
        return _header(_Reading(file, length))
    except ValueError as error:
        raise GGUFError(f"has a damaged GGUF header: {error}") from error


def _header(reading: _Reading) -> Header:
    reading.take(len(MAGIC))
    version = reading.number("I")
    if version not in (2, 3):
        raise GGUFError(
            f"is a GGUF file of version {version}, or of another byte order; versions 2 and 3, little-endian, are read"
        )
    tensors, entries = reading.count("tensors"), reading.count("entries")
    said: dict[str, object] = {}
    for _ in range(entries):
        name = reading.text()
        said[name] = reading.value(reading.number("I"))
    found = [_tensor(reading) for _ in range(tensors)]
    alignment = said.get("general.alignment", 32)
    if type(alignment) is not int or not 0 < alignment <= 2**16:
        raise ValueError(f"its tensors would lie at multiples of {alignment!r} bytes")
    start = -(-reading.place // alignment) * alignment
    placed: dict[str, Stored] = {}
    for name, stored in found:
        if name in placed:
            raise ValueError(f"two tensors are called {name}")
        placed[name] = stored._replace(offset=start + stored.offset, shape=_shape(name, stored, said))
    return Header(placed, {name: value for name, value in said.items() if isinstance(value, str)})


def _tensor(reading: _Reading) -> tuple[str, Stored]:
    name = reading.text()
    sizes = reading.number("I")
    if sizes > 8:
        raise ValueError(f"{name[:100]} would have {sizes} dimensions")
    shape = tuple(reading.number("Q") for _ in range(sizes))[::-1]  # a file names the innermost first
    kind, offset = reading.number("I"), reading.number("Q")
    block = BLOCKS.get(kind)
    dtype = torch.float32 if block else _PLAIN.get(kind)
    if dtype is None:
        known = ", ".join(("F32", "F16", "BF16", *(block.name for block in BLOCKS.values())))
        raise GGUFError(
            f"has a kind of numbers that is not read ({name[:100]}: GGML's type {kind}); those that are: {known}"
        )
    if block and (not shape or shape[-1] % block.numbers):
        raise ValueError(f"rows of {name[:100]}, {list(shape)}, are not whole blocks of {block.numbers}")
    return name, Stored(dtype, block, shape, offset)


def _shape(name: str, stored: Stored, said: Mapping[str, object]) -> tuple[int, ...]:
    told = said.get(_SHAPE + name)
    if told is None:
        return stored.shape
    if not isinstance(told, tuple) or not all(n > 0 for n in told) or math.prod(told) != math.prod(stored.shape):
        raise ValueError(f"{name}, {list(stored.shape)}, cannot have the shape {told}")
    return told


class _Reading:
    """Reads a header piece by piece, none of which may go beyond the end of the file."""

    def __init__(self, file: BufferedReader, length: int) -> None:
        self._file = file
        self._length = length
        self._left = _MOST
        self.place = 0

    def take(self, size: int) -> bytes:
        self._go(size)
        return self._file.read(size)

    def number(self, code: str) -> int:
        size = struct.calcsize("<" + code)
        return int(struct.unpack("<" + code, self.take(size))[0])

    def count(self, of: str) -> int:
        """How many of something are to come."""
        count = self.number("Q")
        self._left -= count
        if self._left < 0:
            raise ValueError(f"it would have {count} {of}")
        return count

    def text(self) -> str:
        return self.take(self.number("Q")).decode(errors="replace")

    def value(self, kind: int, depth: int = 0) -> object:
        """The value of an entry: texts, whole numbers, and tuples of few whole numbers; None for others, passed over."""
        match kind:
            case 8:
                return self.text()
            case 9 if depth < _DEEPEST:
                return self._array(depth)
            case _ if kind in _NUMBERS:
                code = _NUMBERS[kind]
                found = struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]
                return found if type(found) is int else None
        raise ValueError(f"it has an entry of kind {kind}")

    def _array(self, depth: int) -> tuple[int, ...] | None:
        kind = self.number("I")
        if kind in _NUMBERS:
            code, count = _NUMBERS[kind], self.number("Q")
            size = count * struct.calcsize("<" + code)
            if count > 8 or code in "fd?":
                self._go(size)
                self._file.seek(self.place)
                return None
            return tuple(struct.unpack(f"<{count}{code}", self.take(size)))
        for _ in range(self.count("values of a list")):
            self.value(kind, depth + 1)
        return None

    def _go(self, size: int) -> None:
        self.place += size
        if self.place > self._length:
            raise GGUFError("is truncated: it ends inside its GGUF header")
