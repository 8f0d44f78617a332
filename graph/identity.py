"""What a file is, as opposed to what it is called."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path
from typing import BinaryIO, TypeAlias

Stamp: TypeAlias = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, mtime_ns, ctime_ns: changes whenever a file is written or replaced."""

HASHED_WHOLE = 64 * 2**20
"""Bytes up to which the content itself is hashed; beyond, hashing would cost more than loading."""

_HEADER = 2**20
_RESTED_NS = 2 * 10**9


class FileIdentity:
    """Names contents: `identity(path)` is equal for equal bytes, and differs once a file was replaced.

    Digests of small files are remembered by stamp, but only for files that have rested for two seconds:
    a file system's clock is coarse, and a second write within one of its ticks would leave the stamp unchanged.
    """

    def __init__(self) -> None:
        self._known: dict[Stamp, str] = {}
        self._lock = threading.Lock()

    def __call__(self, path: Path) -> str:
        """The identity of the file now at `path`. Raises OSError if it cannot be read."""
        with path.open("rb") as file:
            stamp = _stamp(os.fstat(file.fileno()))
            if stamp[2] > HASHED_WHOLE:
                return _by_stamp(file, stamp)
            with self._lock:
                known = self._known.get(stamp)
            if known is not None:
                return known
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            if _stamp(os.fstat(file.fileno())) == stamp and time.time_ns() - max(stamp[3:]) > _RESTED_NS:
                with self._lock:
                    self._known[stamp] = digest
            return digest


def _stamp(stat: os.stat_result) -> Stamp:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _by_stamp(file: BinaryIO, stamp: Stamp) -> str:
    digest = hashlib.sha256(repr(stamp).encode())
    digest.update(file.read(_HEADER))
    return f"stamp:{digest.hexdigest()}"
