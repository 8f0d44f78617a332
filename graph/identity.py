"""What a file is, as opposed to what it is called."""

from __future__ import annotations

import copy
import hashlib
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias

Stamp: TypeAlias = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, mtime_ns, ctime_ns: changes whenever a file is written or replaced."""

HASHED_WHOLE = 64 * 2**20
"""Bytes up to which the content itself is hashed; beyond, hashing would cost more than loading."""

_HEADER = 2**20
_RESTED_NS = 2 * 10**9


class Digests(Protocol):
    """Remembers what files are. Used from any thread."""

    def known(self, stamp: Stamp) -> str | None:
        """The identity of the file of this stamp."""

    def remember(self, stamp: Stamp, identity: str) -> None:
        """Keep the identity of the file of this stamp, which has none yet."""

    def first(self, content: str, identity: str) -> str:
        """The identity under which this content was first seen: `identity`, if that is now."""


class MemoryDigests:
    """Digests for as long as the process lives."""

    def __init__(self) -> None:
        self._stamps: dict[Stamp, str] = {}
        self._contents: dict[str, str] = {}

    def known(self, stamp: Stamp) -> str | None:
        return self._stamps.get(stamp)

    def remember(self, stamp: Stamp, identity: str) -> None:
        self._stamps[stamp] = identity

    def first(self, content: str, identity: str) -> str:
        return self._contents.setdefault(content, identity)


class FileIdentity:
    """Names contents: `identity(path)` differs once a file was replaced, and is equal for equal bytes.

    Nobody waits for that: a large file is named at once by its stamp and its header. `settle` reads it later, when
    there is time; a copy of what is known by another name takes that name from then on. The name of the first stays.

    What a file is, is remembered by stamp, but only for files that have rested for two seconds: a file system's clock
    is coarse, and a second write within one of its ticks would leave the stamp unchanged.
    """

    def __init__(self, digests: Digests | None = None) -> None:
        self._note: Callable[[Path, str], None] | None = None
        self._digests = digests or MemoryDigests()
        self._unread: dict[Stamp, Path] = {}
        self._lock = threading.Lock()

    def keep_in(self, digests: Digests) -> None:
        """Remember there from now on what files are, and believe what it remembers."""
        self._digests = digests

    def noting(self, note: Callable[[Path, str], None]) -> FileIdentity:
        """The same, which tells `note` what it was asked and what it said."""
        noting = copy.copy(self)
        noting._note = note
        return noting

    def __call__(self, path: Path) -> str:
        """The identity of the file now at `path`. Raises OSError if it cannot be read."""
        identity = self._identify(path)
        if self._note is not None:
            self._note(path, identity)
        return identity

    def _identify(self, path: Path) -> str:
        with path.open("rb") as file:
            stamp = _stamp(file)
            if (known := self._digests.known(stamp)) is not None:
                return known
            if stamp[2] > HASHED_WHOLE:
                with self._lock:
                    self._unread[stamp] = path
                return _by_stamp(file, stamp)
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            if _has_rested(file, stamp):
                self._digests.remember(stamp, digest)
            return digest

    def still(self, path: Path, identity: str) -> bool:
        """Whether `path` still is the file that was named so; not if it cannot be read."""
        try:
            return self.matches(path, identity)
        except OSError:
            return False

    def matches(self, path: Path, identity: str) -> bool:
        """Whether `path` still is the file that was named so. Raises OSError if it cannot be read."""
        if self._identify(path) == identity:
            return True
        with path.open("rb") as file:
            return _by_stamp(file, _stamp(file)) == identity  # its name before it was found to be a copy

    @property
    def is_settled(self) -> bool:
        """Whether every file that was named has been read."""
        return not self._unread

    def settle(self, stop: Callable[[], bool]) -> None:
        """Read the large files that were named since the last time, unless `stop` says so, which is asked often.

        A file that cannot be read now, or has not rested, is left until it is named again.
        """
        while self._unread and not stop():
            with self._lock:
                stamp, path = self._unread.popitem()
            with suppress(OSError), path.open("rb") as file:
                if _stamp(file) == stamp and (content := _content(file, stop)) and _has_rested(file, stamp):
                    self._digests.remember(stamp, self._digests.first(content, _by_stamp(file, stamp)))


def _stamp(file: BinaryIO) -> Stamp:
    stat = os.fstat(file.fileno())
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _has_rested(file: BinaryIO, stamp: Stamp) -> bool:
    return _stamp(file) == stamp and time.time_ns() - max(stamp[3:]) > _RESTED_NS


def _by_stamp(file: BinaryIO, stamp: Stamp) -> str:
    file.seek(0)
    digest = hashlib.sha256(repr(stamp).encode())
    digest.update(file.read(_HEADER))
    return f"stamp:{digest.hexdigest()}"


def _content(file: BinaryIO, stop: Callable[[], bool]) -> str:
    """The sha256 of all bytes; nothing if it was stopped."""
    digest = hashlib.sha256()
    while piece := file.read(_HEADER):
        if stop():
            return ""
        digest.update(piece)
    return digest.hexdigest()
