"""Whether directories still hold what they held: by their own stamps, without listing them again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

_RESTED_NS = 2 * 10**9
"""A file system's clock is coarse: what comes within one of its ticks leaves the stamp as it was."""


class FolderState:
    """The directories below `roots` as they are now; links to directories are followed."""

    def __init__(self, roots: Iterable[Path]) -> None:
        now = time.time_ns()
        self._stamps: dict[str, tuple[int, int, int] | None] = {}
        pending = [str(root) for root in roots]
        seen: set[tuple[int, int]] = set()
        while pending:
            path = pending.pop()
            stamp = self._stamps[path] = _stamp(path)
            if stamp is None or stamp[:2] in seen:
                continue
            seen.add(stamp[:2])
            pending += _directories(path)
        self._rested = all(stamp is None or now - stamp[2] > _RESTED_NS for stamp in self._stamps.values())

    def stands(self) -> bool:
        """Whether nothing was added, removed or renamed since. Of files behind links this is not known."""
        return self._rested and all(_stamp(path) == stamp for path, stamp in self._stamps.items())


def _directories(path: str) -> list[str]:
    try:
        with os.scandir(path) as listing:
            return [entry.path for entry in listing if _is_directory(entry)]
    except OSError:  # not ours to read: it offers nothing
        return []


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False


def _stamp(path: str) -> tuple[int, int, int] | None:
    """Device, inode and mtime_ns; None where there is nothing."""
    try:
        found = os.stat(path)  # noqa: PTH116  asked for each directory at each request
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns
