"""Files that appear whole or not at all, and are on disk before they have their name."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Draft:
    """A file at `path`, to be written there and then given its name. It was made by `draft`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def take(self, target: Path) -> bool:
        """Give it the name `target`, in the same directory, unless that exists; whether it has it now. Raises OSError.

        No name is taken that another process took meanwhile, and no link at `target` is followed.
        """
        _sync(self.path)
        try:
            os.link(self.path, target)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links, where renaming would replace what another just wrote
            if not _take_alone(self.path, target):
                return False
        _sync_folder(target.parent)
        return True

    def replace(self, target: Path) -> None:
        """Give it the name `target`, in the same directory, whatever had it before; a link is replaced, never written
        through. Raises OSError.
        """
        _sync(self.path)
        os.replace(self.path, target)  # noqa: PTH105  says what is meant, beside os.link
        _sync_folder(target.parent)


@contextmanager
def draft(folder: Path) -> Iterator[Draft]:
    """A draft in `folder`, which is made where it is missing; gone afterwards if it was given no name. Raises OSError."""
    make_folder(folder)
    path = folder / f".{uuid.uuid4().hex}.part"
    try:
        yield Draft(path)
    finally:
        with suppress(OSError):  # not written at all, or it has its name
            path.unlink()


def write_whole(target: Path, content: bytes) -> None:
    """Have `target` hold `content`, or what it held before. Raises OSError."""
    with draft(target.parent) as part:
        part.path.write_bytes(content)
        part.replace(target)


def make_folder(folder: Path) -> None:
    """Make a directory and those above it that are missing, on disk as well. Raises OSError."""
    missing = []
    for place in (folder, *folder.parents):
        if place.is_dir():
            break
        missing.append(place)
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _sync_folder(made.parent)


def _sync(path: Path) -> None:
    """Wait until what was written is on disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Wait until the names in a directory are on disk. Not every system and file system knows this of directories."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def _take_alone(part: Path, target: Path) -> bool:
    """The same as a hard link: only who makes the claim beside `target` may look for it and take it."""
    claim = target.with_name(f".{target.name}.claim")
    try:
        claim.touch(exist_ok=False)
    except FileExistsError:
        return False
    try:
        if os.path.lexists(target):
            return False
        part.rename(target)
        return True
    finally:
        claim.unlink(missing_ok=True)
