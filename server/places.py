"""Names that clients send -> paths that stay where they belong."""

from __future__ import annotations

import os
import re
from pathlib import Path

from graph.files import Folders, objection
from server.refused import Refused, bad_request

KINDS = ("input", "output", "temp")

_ANNOTATED = re.compile(r"(?P<name>.+) \[(?P<kind>input|output|temp)\]", re.DOTALL)
_LONGEST = 240
"""Bytes of one part of a path; file systems take 255, and uploads may add a number."""
_LONGEST_NAME = 1024
"""Bytes of all of it; systems take 4096, with the directory."""


def directory(folders: Folders, kind: str) -> Path:
    """The directory of files of a kind. Raises Refused."""
    match kind:
        case "input":
            return folders.input_dir
        case "output":
            return folders.output_dir
        case "temp":
            return folders.temp_dir
        case _:
            raise bad_request(f"type: expected one of {', '.join(KINDS)}")


def below(root: Path, name: str, status: int = 400) -> Path:
    """The path of `name` below `root`: first by its letters, then by where it really leads.

    A link below `root` is the operator's, since no client can place one, and is followed. Raises Refused.
    """
    if reason := objection(name):
        raise Refused(status, "invalid_path", f"the name {reason}")
    if len(name.encode()) > _LONGEST_NAME or any(len(part.encode()) > _LONGEST for part in name.split("/")):
        raise Refused(status, "invalid_path", "the name is too long")
    path = root / name
    real, roots = _real(path), [_real(root)]
    if not real.is_relative_to(roots[0]):
        roots += _operators_links(root, name)
    if not any(real.is_relative_to(allowed) for allowed in roots):
        raise Refused(status, "invalid_path", "the name leads outside of its folder")
    return path


def is_file(path: Path) -> bool:
    """Whether there is a file; Path.is_file raises for names that no file can have."""
    return os.path.isfile(path)  # noqa: PTH113


def annotated(name: str, kind: str) -> tuple[str, str]:
    """`name [output]` names the kind in the name; else it is `kind`."""
    if found := _ANNOTATED.fullmatch(name):
        return found["name"], found["kind"]
    return name, kind


def _operators_links(root: Path, name: str) -> list[Path]:
    """Where the first link on the way leads; links in there are not followed further."""
    path = root
    for part in name.split("/"):
        path = path / part
        if path.is_symlink():
            return [_real(path)]
    return []


def _real(path: Path) -> Path:
    """Where a path leads; Path.resolve raises for links that lead in a circle."""
    return Path(os.path.realpath(path))
