"""What the process of a pack is told when it begins, before it has loaded anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

from graph.files import Folder, Folders
from graph.identity import FileIdentity

FolderAsText: TypeAlias = tuple[tuple[str, ...], tuple[str, ...], bool]
"""A Folder: its directories, its suffixes, and whether folders below count."""


@dataclass(frozen=True, slots=True)
class Settings:
    """connection: the number of an open socket, see Channel. readable and writable: the paths that it may use.

    memory: bytes of its own. base, input, output, temp and roots: the Folders.
    """

    name: str
    path: str
    code: str
    connection: int
    readable: tuple[str, ...]
    writable: tuple[str, ...]
    network: bool
    memory: int
    threads: int
    base: str
    input: str
    output: str
    temp: str
    roots: Mapping[str, FolderAsText]

    def written(self) -> str:
        """As an argument of a command."""
        return json.dumps(asdict(self))

    @staticmethod
    def read(text: str) -> Settings:
        """From an argument of a command."""
        given = json.loads(text)
        for name in ("readable", "writable"):
            given[name] = tuple(given[name])
        return Settings(**given)

    @property
    def places(self) -> tuple[list[Path], list[Path]]:
        """The paths that may be read, and those that may be written too."""
        return [Path(it) for it in self.readable], [Path(it) for it in self.writable]

    @property
    def folders(self) -> Folders:
        """The user's directories. Nothing is created."""
        named = {
            name: Folder(tuple(map(Path, roots)), frozenset(suffixes), recursive)
            for name, (roots, suffixes, recursive) in self.roots.items()
        }
        base, put, out, temp = (Path(it) for it in (self.base, self.input, self.output, self.temp))
        return Folders(base, named, put, out, temp, FileIdentity())


def as_text(folders: Folders) -> dict[str, FolderAsText]:
    """`roots` of Settings."""
    return {
        name: (tuple(map(str, it.roots)), tuple(sorted(it.suffixes)), it.recursive)
        for name, it in folders.folders.items()
    }
