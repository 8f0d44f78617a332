"""One server for each database."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self


class Held(Exception):
    """Another server has the database."""


class Lock:
    """Holds `DATABASE.lock` for the length of a `with`; the system lets go of it when the process dies."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(f"{database.name}.lock")
        self._file = -1

    def __enter__(self) -> Self:
        """Raises Held, naming the other process."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(self._file)
        except OSError:
            holder = os.read(self._file, 20).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise Held(
                f"another server (process {holder}) works on {self._path.parent}; give this one its own "
                "--database, or stop the other"
            ) from None
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


def _lock(file: int) -> None:
    if os.name == "nt":
        import msvcrt

        os.lseek(file, 100, os.SEEK_SET)  # beyond the process id, which others read
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        os.lseek(file, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
