"""Packs as they lie on the disk: where they are, what they are called, and what their files are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_SKIPPED = frozenset({"__pycache__", ".git", ".venv", "node_modules"})
"""Folders below a pack that say nothing of its code: caches, history, and what was installed for it."""


@dataclass(frozen=True, slots=True)
class Pack:
    """A folder or a file below a root of packs."""

    name: str
    path: Path

    @property
    def main_file(self) -> Path:
        """The file that is imported."""
        return self.path / "__init__.py" if self.path.is_dir() else self.path

    @property
    def module(self) -> str:
        """Its name among Python's modules. A dot in the name of a folder is no package."""
        return "custom_nodes." + self.name.replace(".", "_x_")

    @property
    def folder(self) -> Path:
        """Where its own files lie."""
        return self.path if self.path.is_dir() else self.path.parent


def find_packs(roots: Iterable[Path]) -> Iterator[Pack]:
    """The packs of every root, by name; one that is there twice is taken from the first root that has it.

    A pack is a folder with Python in it, or a `.py` file. Names that begin with a dot or end in `.disabled` are passed
    over, as are roots that do not exist or cannot be read.
    """
    seen = set[str]()
    for root in roots:
        try:
            entries = sorted(os.scandir(root), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            name = entry.name if entry.is_dir() else entry.name.removesuffix(".py")
            if entry.name in _SKIPPED or entry.name.startswith(".") or entry.name.endswith(".disabled"):
                continue
            pack = Pack(name, Path(entry.path))
            if name not in seen and (entry.is_dir() or entry.name.endswith(".py")) and pack.main_file.is_file():
                seen.add(name)
                yield pack


def digest(pack: Pack) -> str:
    """The sha256 of all files of a pack and their names; caches and what was installed for it do not count.

    Raises OSError if one of them cannot be read.
    """
    whole = hashlib.sha256()
    for path in _files(pack):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{path.relative_to(pack.folder).as_posix()}\0{content}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def stamp(pack: Pack) -> tuple[object, ...]:
    """What changes when any of its files does, for a look that costs no reading."""
    return tuple((str(path), stat.st_mtime_ns, stat.st_size) for path in _files(pack) for stat in [path.stat()])


def _files(pack: Pack) -> Iterator[Path]:
    if not pack.path.is_dir():
        yield pack.path
        return
    for folder, names, files in os.walk(pack.path):
        names[:] = sorted(set(names) - _SKIPPED)
        for name in sorted(files):
            if not name.endswith(".pyc"):
                yield Path(folder, name)
