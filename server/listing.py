"""What a directory holds, for clients to read: what vanishes meanwhile, and links that lead nowhere, are left out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory. `name` is below the directory that was listed; times are seconds since 1970."""

    name: str
    is_directory: bool
    is_link: bool
    size: int
    modified: float
    changed: float


def entries(directory: Path, recursive: bool = False) -> list[Entry] | None:
    """What `directory` holds, sorted; None if there is none. `recursive` goes into directories, not through links."""
    if not os.path.isdir(directory):  # noqa: PTH112 - Path.is_dir raises for names that are too long
        return None
    found: list[Entry] = []
    pending = [""]
    while pending:
        prefix = pending.pop()
        for entry in _listed(directory / prefix):
            with suppress(OSError):
                stat, link = entry.stat(), entry.is_symlink()
                here = Entry(f"{prefix}{entry.name}", entry.is_dir(), link, stat.st_size, stat.st_mtime, stat.st_ctime)
                found.append(here)
                if recursive and here.is_directory and not link:
                    pending.append(f"{here.name}/")
    return sorted(found, key=lambda entry: entry.name)


def _listed(directory: Path) -> Iterator[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(directory) as listing:
        yield from listing
