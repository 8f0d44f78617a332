"""One server for each database, and whether what it works on is still where it was."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self


class Held(Exception):
    """Another server has the database."""


def resolved(database: Path) -> Path:
    """Where the database really is: two names of one database must not lock two files. Raises OSError."""
    try:
        return database.resolve()
    except RuntimeError:  # before Python 3.13
        raise OSError(errno.ELOOP, "the link leads back to itself", str(database)) from None


class Lock:
    """Holds `DATABASE.lock` for the length of a `with`; the system lets go of it when the process dies.

    `database` is the path of the file itself: a link to it would have a lock of its own.
    """

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(f"{database.name}.lock")
        self._file = -1

    def __enter__(self) -> Self:
        """Raises Held, naming the other process."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(self._file)
        except OSError:
            holder = os.read(self._file, 20).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise Held(
                f"another server (process {holder}) works on {self.path.parent}; give this one its own "
                "--database, or stop the other"
            ) from None
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


class Places:
    """Files and directories as they are now."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """Raises OSError for one that is not there."""
        self._known = {path: _identity(path) for path in paths}

    def moved(self) -> Path | None:
        """One that is not where it was, or that another has taken the place of."""
        return next((path for path, known in self._known.items() if _now(path) != known), None)


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _now(path: Path) -> tuple[int, int] | None:
    try:
        return _identity(path)
    except OSError:
        return None


def _lock(file: int) -> None:
    if os.name == "nt":
        import msvcrt

        os.lseek(file, 100, os.SEEK_SET)  # beyond the process id, which others read
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        os.lseek(file, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
