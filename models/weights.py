"""Files of tensors: `.safetensors`, `.gguf` and what torch.save wrote, told apart by content, not by ending.

A header (names, shapes, places) is read at once; the numbers later, one tensor at a time. Tensors that are wanted
as they are stored are mapped into memory. Others pass through one reused buffer: mapped pages that a conversion
has touched would count as resident memory, beside their converted copies.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from models.ggml_blocks import Block, expand_into, expanded
from models.gguf import MAGIC, GGUFError, read_gguf_header
from models.unpickle import LEGACY_MAGIC, UnpickleError, is_plain, read_legacy, read_legacy_header, read_zip

Format = Literal["safetensors", "gguf", "zip", "legacy", "shards"]

_INDEX = re.compile(r"\.index(\.[\w-]+)?\.json$")
"""How the name of a file ends that says which tensors are in which of several files (diffusers, transformers)."""
_MAX_HEADER = 100_000_000  # bytes; safetensors' own limit
_PIECE = 2**18  # numbers converted at once, few enough to stay in the processor's cache
_ADVISED = 2**17  # bytes; of a longer piece some kernels read only the beginning
_DTYPES = (
    ("F64", torch.float64), ("F32", torch.float32), ("F16", torch.float16), ("BF16", torch.bfloat16),
    ("F8_E4M3", torch.float8_e4m3fn), ("F8_E5M2", torch.float8_e5m2),
    ("I64", torch.int64), ("I32", torch.int32), ("I16", torch.int16), ("I8", torch.int8),
    ("U64", torch.uint64), ("U32", torch.uint32), ("U16", torch.uint16), ("U8", torch.uint8), ("BOOL", torch.bool),
)  # fmt: skip


class CheckpointError(Exception):
    """A weight file that cannot be used. The message names the file and says what is wrong, for people."""


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]  # in elements
    offset: int | None  # of its first element, in bytes from the start of the file; None: known only by reading all
    block: Block | None = None  # how its numbers are quantised; `dtype` is what they are once expanded
    source: str = ""  # the tensor of the file that it is a part of, if it is no whole one
    first: int = 0  # its first element there
    shard: int = 0  # which of several files it is in

    @property
    def span(self) -> int:
        """Bytes from its first element to the end of its last."""
        if 0 in self.shape:
            return 0
        last = sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        return self.bytes_of(last + 1)

    def bytes_of(self, numbers: int) -> int:
        """How many bytes of the file as many of its numbers take, from the first on."""
        return self.block.bytes_of(numbers) if self.block else numbers * self.dtype.itemsize

    @property
    def is_contiguous(self) -> bool:
        """Whether its numbers lie one after the other, the last dimension's beside each other."""
        return self.stride == _contiguous(self.shape)

    @property
    def packed(self) -> TensorInfo:
        """The same bytes as they lie in the file."""
        return TensorInfo(torch.uint8, (self.span,), (1,), self.offset) if self.block else self


@dataclass(frozen=True)
class TensorFile:
    """What a file holds: names, shapes, dtypes and places, no numbers. Can be pickled."""

    path: Path
    format: Format
    stamp: tuple[int, int]  # size in bytes, time of change in ns, of the file when it was read
    tensors: Mapping[str, TensorInfo]
    others: frozenset[str]  # entries that are not tensors, such as a training file's epoch
    metadata: Mapping[str, str] = field(default_factory=dict)  # what the writer of a safetensors file said of it
    pieces: frozenset[str] = frozenset()  # the names in `tensors` that mean a part of one of the file's
    shards: tuple[TensorFile, ...] = ()  # the files that an index names, which hold the tensors instead

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files that it is: itself, and those that it names."""
        return (self.path, *(shard.path for shard in self.shards))

    def by_file(self, names: Iterable[str]) -> Iterator[tuple[TensorFile, list[str]]]:
        """The files that the named tensors are in, and which of them each has."""
        wanted = list(names)
        if not self.shards:
            yield self, wanted
        for i, shard in enumerate(self.shards):
            held = {name: replace(self.tensors[name], shard=0) for name in wanted if self.tensors[name].shard == i}
            if held:
                yield replace(shard, tensors=held, pieces=self.pieces & held.keys()), list(held)

    def with_pieces(self, pieces: Mapping[str, TensorInfo], cut: Collection[str]) -> TensorFile:
        """The same file, where parts of tensors have names of their own, and those that are `cut` have none."""
        kept = {name: info for name, info in self.tensors.items() if name not in cut}
        return replace(self, tensors={**kept, **pieces}, pieces=self.pieces | pieces.keys())

    def keeps_packed(self, name: str, dtype: torch.dtype) -> bool:
        """Whether a weight that is wanted as `dtype` stays in memory as it is stored, and is expanded whenever it is read:
        one of a GGUF file does where that takes less."""
        info = self.tensors[name]
        return self.format == "gguf" and info.is_contiguous and info.span < math.prod(info.shape) * dtype.itemsize

    def is_still(self, now: TensorFile) -> bool:
        """Whether a file that was read again, `now`, holds the same tensors at the same places."""
        whole = {name: info for name, info in self.tensors.items() if name not in self.pieces}
        return whole.items() <= now.tensors.items()


def read_table(path: Path) -> TensorFile:
    """Read a file's header, and check that the file is as long as its header says. Raises CheckpointError."""
    with _opened(path) as file:
        stamp = _stamp(path.stat())
        try:
            match _format(path, file.peek(512)):
                case "safetensors":
                    tensors, metadata = _safetensors_header(path, file)
                    table = TensorFile(path, "safetensors", stamp, tensors, frozenset(), metadata)
                case "gguf":
                    table = _gguf(path, stamp, file)
                case "zip":
                    table = _pickled(path, "zip", stamp, read_zip(file))
                case "legacy":
                    table = _pickled(path, "legacy", stamp, read_legacy_header(file))
                case "shards":
                    return _sharded(path, stamp, file)
        except (UnpickleError, GGUFError) as error:
            raise CheckpointError(f"{path.name} {error}") from error
    needed = max((info.offset + info.span for info in table.tensors.values() if info.offset is not None), default=0)
    if needed > stamp[0]:
        raise CheckpointError(f"{path.name} is truncated: its tensors need {needed} bytes, the file has {stamp[0]}")
    return table


def read_tensors(
    table: TensorFile,
    names: Iterable[str],
    *,
    dtype: torch.dtype | None,
    device: torch.device,
    mapped: bool = True,
) -> Iterator[tuple[str, Tensor]]:
    """Yield the named tensors, in the order they lie in the file, as `dtype` (None: as stored) on `device`.

    With `mapped`, a tensor that needs neither conversion nor transfer is a map of the file, which must then not be overwritten in
    place (replacing it by another file is safe). Raises CheckpointError, also when the file is no longer the one
    whose header was read.
    """
    if table.shards:
        for shard, held in table.by_file(names):
            yield from read_tensors(shard, held, dtype=dtype, device=device, mapped=mapped)
        return
    with _opened(table.path) as file:
        if _stamp(table.path.stat()) != table.stamp and not table.is_still(read_table(table.path)):
            raise CheckpointError(f"{table.path.name} was changed since it was opened; load it again")
        if table.format == "legacy":
            yield from _read_whole(table, file, names, dtype, device)
        else:
            infos = sorted(((name, table.tensors[name]) for name in names), key=lambda item: item[1].offset or 0)
            yield from _read_each(table, file, infos, dtype, device, mapped)


def read_packed(table: TensorFile, names: Iterable[str], device: torch.device) -> Iterator[tuple[str, Tensor]]:
    """Yield the named tensors on `device` as they are stored, those that are quantised as the bytes of their blocks.

    Raises CheckpointError, also when the file is no longer the one whose header was read.
    """
    packed = {name: table.tensors[name].packed for name in names}
    as_bytes = replace(table, tensors={**table.tensors, **packed}, pieces=table.pieces | packed.keys())
    yield from read_tensors(as_bytes, packed, dtype=None, device=device, mapped=False)


def unpacked(stored: Tensor, info: TensorInfo, dtype: torch.dtype) -> Tensor:
    """What `read_packed` gave of one tensor, as `dtype` where it lies."""
    return expanded(stored, info.block, dtype).view(info.shape) if info.block else stored.to(dtype)


class LaterTensors:
    """Tensors of a file that are read when they are wanted, into the same memory: what one call gave, the next overwrites.

    The file stays open, so that it may be replaced or removed meanwhile.
    """

    def __init__(self, table: TensorFile, names: Iterable[str], dtype: torch.dtype, once: bool = True) -> None:
        """once: each tensor is wanted once, and the memory is given back after the last. Raises CheckpointError if the file
        is no longer the one whose header was read."""
        self._once = once
        self._table = table
        self._names = set(names)
        self._dtype = dtype
        self._file = _opened(table.path)
        self._raise_if_changed()
        self._memory = torch.empty(0, dtype=dtype)
        self._piece = torch.empty(0, dtype=torch.uint8)

    def read(self, name: str) -> Tensor:
        """The numbers of the tensor `name`. Raises CheckpointError if the file was written to."""
        self._raise_if_changed()
        info = self._table.tensors[name]
        if len(self._memory) < math.prod(info.shape):
            self._memory = torch.empty(math.prod(info.shape), dtype=self._dtype)
        memory = self._memory[: math.prod(info.shape)]
        self._file.seek(info.offset or 0)
        if info.block:
            stored = self._next(name, info.span)
            if info.is_contiguous:
                expand_into(memory.view(-1, info.block.numbers), stored.view(-1, info.block.size), info.block)
                tensor = memory.view(info.shape)
            else:
                tensor = memory.view(info.shape).copy_(_expanded(stored, info))
        elif info.is_contiguous:
            for piece in memory.split(_PIECE):
                piece.copy_(self._next(name, len(piece) * info.dtype.itemsize).view(info.dtype))
            tensor = memory.view(info.shape)
        else:
            stored = self._next(name, info.span)
            tensor = memory.view(info.shape).copy_(_view(stored.untyped_storage(), info))
        if self._once:
            self._names.discard(name)
        if not self._names:
            self._file.close()
            del self._memory, self._piece
        return tensor

    def _next(self, name: str, length: int) -> Tensor:
        if len(self._piece) < length:
            self._piece = torch.empty(length, dtype=torch.uint8)
        if self._file.readinto(self._piece.numpy().data[:length]) != length:
            raise CheckpointError(f"{self._table.path.name} is truncated: it ends inside {name}")
        return self._piece[:length]

    def _raise_if_changed(self) -> None:
        if _stamp(os.fstat(self._file.fileno())) != self._table.stamp:
            raise CheckpointError(f"{self._table.path.name} was changed since it was opened; load it again")


def read_later(
    table: TensorFile, names: Iterable[str], dtype: torch.dtype, once: bool = True
) -> Mapping[str, Callable[[], Tensor]]:
    """What reads each of the named tensors when it is wanted, as `LaterTensors` do. Raises CheckpointError."""
    files = [(LaterTensors(file, held, dtype, once), held) for file, held in table.by_file(names)]
    return {name: partial(tensors.read, name) for tensors, held in files for name in held}


def read_ahead(table: TensorFile, names: Iterable[str]) -> None:
    """Have the disk bring the named tensors into the system's cache; takes about a second where all have to come.

    They take no memory of this process, and whoever reads them waits less. Where the system cannot do it, and for
    files that cannot be read, nothing happens: whoever reads them will tell.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    for part, held in table.by_file(names):
        _read_ahead(part, held)


def _read_ahead(table: TensorFile, names: Iterable[str]) -> None:
    with suppress(OSError), table.path.open("rb") as file:
        for start, length in sorted((table.tensors[name].offset or 0, table.tensors[name].span) for name in names):
            for place in range(start, start + length, _ADVISED):
                os.posix_fadvise(file.fileno(), place, _ADVISED, os.POSIX_FADV_WILLNEED)


def _read_each(
    table: TensorFile,
    file: BufferedReader,
    infos: list[tuple[str, TensorInfo]],
    dtype: torch.dtype | None,
    device: torch.device,
    mapped: bool,
) -> Iterator[tuple[str, Tensor]]:
    def mappable(info: TensorInfo) -> bool:
        aligned = (info.offset or 0) % info.dtype.itemsize == 0 and info.block is None
        return mapped and aligned and info.span > 0 and device.type == "cpu" and dtype in (None, info.dtype)

    file_map = torch.UntypedStorage.from_file(str(table.path), False, table.stamp[0])
    buffer = bytearray(max((info.span for _, info in infos if not mappable(info)), default=0) or 1)
    copied = torch.frombuffer(buffer, dtype=torch.uint8).untyped_storage()
    for name, info in infos:
        start = info.offset or 0
        if mappable(info):
            yield name, _view(file_map[start : start + info.span], info)
            continue
        file.seek(start)
        if file.readinto(memoryview(buffer)[: info.span]) != info.span:
            raise CheckpointError(f"{table.path.name} is truncated: it ends inside {name}")
        if info.block:
            yield name, _expanded(_view(copied, info.packed), info).to(device, dtype or info.dtype)
        else:
            yield name, _view(copied, info).to(device, dtype or info.dtype, copy=True)


def _expanded(stored: Tensor, info: TensorInfo) -> Tensor:
    assert info.block is not None
    return expanded(stored, info.block, info.dtype).as_strided(info.shape, info.stride)


def _view(storage: torch.UntypedStorage, info: TensorInfo) -> Tensor:
    return torch.empty(0, dtype=info.dtype).set_(storage, 0, info.shape, info.stride)


def _read_whole(
    table: TensorFile, file: BufferedReader, names: Iterable[str], dtype: torch.dtype | None, device: torch.device
) -> Iterator[tuple[str, Tensor]]:
    """The old format, whose pickle tells no places: read all, then hand out and drop one by one."""
    try:
        entries = read_legacy(file)
    except UnpickleError as error:
        raise CheckpointError(f"{table.path.name} {error}") from error
    wanted: dict[str, list[str]] = {}
    for name in names:
        wanted.setdefault(table.tensors[name].source or name, []).append(name)
    kept = {name: value for name, value in entries.items() if name in wanted and is_plain(value)}
    del entries
    while kept:
        source, tensor = kept.popitem()
        for name in wanted[source]:
            yield name, _part(tensor.detach(), table.tensors[name]).to(device, dtype or tensor.dtype)


def _part(tensor: Tensor, info: TensorInfo) -> Tensor:
    """What `info` means of a tensor of the file."""
    if not info.source:
        return tensor
    return tensor.as_strided(info.shape, info.stride, int(tensor.storage_offset()) + info.first)


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except IsADirectoryError:
        raise CheckpointError(f"{path.name} is a folder, not a file") from None
    except FileNotFoundError:
        raise CheckpointError(f"{path.name} does not exist") from None
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read: {error.strerror or error}") from error


def _stamp(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


def _format(path: Path, start: bytes) -> Format:
    """Tell the format by a file's first bytes."""
    if start.startswith(b"PK\x03\x04"):
        return "zip"
    if start.startswith(LEGACY_MAGIC):
        return "legacy"
    if start.startswith(MAGIC):
        return "gguf"
    if start.startswith(b"{") and _INDEX.search(path.name):
        return "shards"
    if start[8:9] == b"{":
        return "safetensors"
    if not start:
        raise CheckpointError(f"{path.name} is empty")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path.name} is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`")
    if start.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        raise CheckpointError(f"{path.name} is a web page: what was downloaded is not the file itself")
    if start[257:262] == b"ustar":
        raise CheckpointError(
            f"{path.name} is a tar archive, as torch before 0.2 wrote, a format that is not supported"
        )
    if start.startswith(b"\x80"):
        raise CheckpointError(f"{path.name} is a pickle that torch.save did not write; it was not opened")
    raise CheckpointError(f"{path.name} is neither a safetensors or GGUF file nor one that torch.save wrote")


def _safetensors_header(path: Path, file: BufferedReader) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """[length: 8 bytes][JSON: name -> dtype, shape, data_offsets][data]; places count from the start of the data."""
    length = int.from_bytes(file.read(8), "little")
    if length > _MAX_HEADER:
        raise CheckpointError(f"{path.name} is not a safetensors file: its header would be {length} bytes long")
    text = file.read(length)
    if len(text) < length:
        raise CheckpointError(f"{path.name} is truncated: it ends inside its header of {length} bytes")
    try:
        header = json.loads(text)
        metadata = header.pop("__metadata__", None) or {}
        tensors = {name: _safetensors_info(entry, 8 + length) for name, entry in header.items()}
        return tensors, {str(name): str(text) for name, text in metadata.items()}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path.name} has a damaged safetensors header: {error}") from error


def _safetensors_info(entry: Mapping[str, Any], start: int) -> TensorInfo:
    """Raises ValueError, TypeError or KeyError for an entry that does not describe a tensor."""
    shape, (begin, end) = entry["shape"], entry["data_offsets"]
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
        raise ValueError("a size or an offset that is no natural number")
    dtype = dict(_DTYPES).get(entry["dtype"])
    if dtype is None:
        raise ValueError(f"the number format {entry['dtype']} is not supported")
    info = TensorInfo(dtype, tuple(shape), _contiguous(shape), start + begin)
    if end - begin != info.span:
        raise ValueError(f"{end - begin} bytes given to shape {shape} of {entry['dtype']}")
    return info


def _gguf(path: Path, stamp: tuple[int, int], file: BufferedReader) -> TensorFile:
    stored, texts = read_gguf_header(file, stamp[0])
    tensors = {
        name: TensorInfo(one.dtype, one.shape, _contiguous(one.shape), one.offset, one.block)
        for name, one in stored.items()
    }
    return TensorFile(path, "gguf", stamp, tensors, frozenset(), texts)


def _sharded(path: Path, stamp: tuple[int, int], file: BufferedReader) -> TensorFile:
    """What several files hold together, by the index beside them."""
    try:
        placed = json.loads(file.read(_MAX_HEADER))["weight_map"]
        names = sorted(set(placed.values()))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path.name} is no index of weights in several files: {error}") from error
    if wrong := [name for name in names if not re.fullmatch(r"[^/\\]+\.(safetensors|bin)", str(name))]:
        raise CheckpointError(f"{path.name} names {wrong[0]!r:.80}, which is no file of weights beside it")
    shards = tuple(read_table(path.with_name(name)) for name in names)
    tensors = {name: replace(info, shard=i) for i, shard in enumerate(shards) for name, info in shard.tensors.items()}
    if missing := sorted(placed.keys() - tensors.keys()):
        raise CheckpointError(f"{path.name} names {missing[0]:.80}, which {placed[missing[0]]} does not hold")
    return TensorFile(path, "shards", stamp, tensors, frozenset(), shards=shards)


def _contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def _pickled(path: Path, kind: Format, stamp: tuple[int, int], entries: Mapping[str, object]) -> TensorFile:
    tensors: dict[str, TensorInfo] = {}
    for name, value in entries.items():
        if not is_plain(value):
            continue
        place: int | None = None
        if kind == "zip":
            storage_place = value.untyped_storage()._checkpoint_offset
            if storage_place is None:  # not stored but made by the pickle
                continue
            place = storage_place + int(value.storage_offset()) * value.dtype.itemsize
        tensors[name] = TensorInfo(value.dtype, tuple(value.shape), value.stride(), place)
    return TensorFile(path, kind, stamp, tensors, frozenset(entries.keys() - tensors.keys()))
