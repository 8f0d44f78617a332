"""Memory of two processes: files in which tensors lie that go from one to the other, and how much one has."""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch import Tensor

if sys.platform == "linux":
    import fcntl

ALIGNED = 64
"""Each tensor begins at a multiple of so many bytes."""
MAPPED = 2**16
"""Tensors of fewer bytes are always copied: they would hold on to all that came with them."""


Bytes: TypeAlias = npt.NDArray[np.uint8]


class Tensors(Protocol):
    """How the tensors of a file are read."""

    def at(self, place: int, length: int) -> Tensor:
        """So many bytes, uint8, which are there after `fill`. Raises ValueError if the file has not got them."""

    def fill(self) -> None:
        """Have all that was lent be there."""

    @property
    def are_used(self) -> bool:
        """Whether a tensor that lies in the file is still in use here, so that nobody may write there."""


class MemoryFile:
    """A file without a name, in memory where the system has such, which nobody can cut. number: of the open file.

    Raises OSError if there is no room for `size` bytes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        if sys.platform == "linux":
            self.number = os.memfd_create("pack", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        else:
            with tempfile.TemporaryFile() as file:
                self.number = os.dup(file.fileno())
        weakref.finalize(self, os.close, self.number)
        os.ftruncate(self.number, size)
        if sys.platform == "linux":
            fcntl.fcntl(self.number, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        self._whole = _mapped(self.number)

    def write(self, tensors: Iterable[Tensor]) -> None:
        """One behind the other."""
        place = 0
        for tensor in tensors:
            place = aligned(place)
            length = tensor.numel() * tensor.element_size()
            if length:
                there = torch.from_numpy(self._whole[place : place + length])
                there.view(tensor.dtype).view(tensor.shape).copy_(tensor.detach())
            place += length


class Copied:
    """Tensors of a file that the other process may write or lie about at any time: each is copied.

    Raises ValueError for a file that it may cut, too: who reads a map of such a file ends.
    """

    are_used = False

    def __init__(self, number: int) -> None:
        try:
            if sys.platform == "linux" and not fcntl.fcntl(number, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
                raise ValueError("what came for tensors can be cut short")
            self._whole = _mapped(number)
        finally:
            os.close(number)
        self._empty: list[tuple[Tensor, Tensor]] = []

    def at(self, place: int, length: int) -> Tensor:
        """See Tensors."""
        piece = torch.from_numpy(_piece(self._whole, place, length))
        made = torch.empty_like(piece)
        self._empty.append((made, piece))
        return made

    def fill(self) -> None:
        """Copy, after all else is read: what a large copy leaves in the processor's cache is of no use to anybody."""
        waiting, self._empty = self._empty, []
        for made, piece in waiting:
            made.copy_(piece)


class Mapped:
    """Tensors where they came, for a process that trusts the other; it may write there, since nobody else reads it."""

    def __init__(self, number: int) -> None:
        try:
            self._whole = _mapped(number)
        finally:
            os.close(number)
        self._lent: list[weakref.ref[Any]] = []
        self._gate = threading.Lock()

    @property
    def are_used(self) -> bool:
        """See Tensors."""
        with self._gate:
            self._lent = [it for it in self._lent if it() is not None]
            return bool(self._lent)

    def at(self, place: int, length: int) -> Tensor:
        """See Tensors."""
        piece = _piece(self._whole, place, length)
        if length < MAPPED:
            return torch.from_numpy(piece.copy())
        with self._gate:
            self._lent.append(weakref.ref(piece))  # the tensor's storage holds it, and so does all that is made of that
        return torch.from_numpy(piece)

    def fill(self) -> None:
        """It is all there."""


class Resident:
    """How much memory another process has. Asked after every node, so that the system's file stays open where there is one."""

    def __init__(self, process: int) -> None:
        self._process = psutil.Process(process)
        self._file: int | None = None
        if sys.platform == "linux":
            self._file = os.open(f"/proc/{process}/statm", os.O_RDONLY | os.O_CLOEXEC)
            weakref.finalize(self, os.close, self._file)

    def size(self) -> int:
        """Bytes; 0 of a process that is gone."""
        try:
            if self._file is not None:
                return int(os.pread(self._file, 100, 0).split()[1]) * mmap.PAGESIZE
            return int(self._process.memory_info().rss)
        except (OSError, psutil.Error):
            return 0


def aligned(place: int) -> int:
    """Where the next tensor may begin."""
    return -(-place // ALIGNED) * ALIGNED


def end(tensors: Iterable[Tensor]) -> int:
    """How large a file for these tensors is."""
    place = 0
    for tensor in tensors:
        place = aligned(place) + tensor.numel() * tensor.element_size()
    return max(place, 1)


def _mapped(number: int) -> Bytes:
    return np.frombuffer(mmap.mmap(number, os.fstat(number).st_size), np.uint8)


def _piece(whole: Bytes, place: int, length: int) -> Bytes:
    if place + length > len(whole):
        raise ValueError(f"there are no {length} bytes at {place}")
    return whole[place : place + length]
