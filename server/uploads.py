"""Files that clients send: whole or not at all, never over another's, never through a link."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from graph.whole_files import Draft, draft
from server.places import below
from server.refused import bad_request

_NUMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Stored:
    """What the file is called now."""

    name: str
    subfolder: str


def place(root: Path, subfolder: str, filename: str, content: bytes, overwrite: bool) -> Stored:
    """Write `content` below `root`; a name that other bytes have gets a number. Raises Refused, OSError."""
    if "/" in filename:
        raise bad_request("the file name holds a slash; use subfolder")
    name = f"{subfolder}/{filename}" if subfolder else filename
    target = below(root, name)
    with draft(target.parent) as part:
        part.path.write_bytes(content)
        if overwrite:
            part.replace(target)
        else:
            target = _free_name(part, target, content)
    return Stored(target.name, subfolder)


def _free_name(part: Draft, target: Path, content: bytes) -> Path:
    for number in range(_NUMBERED):
        candidate = target.with_name(f"{target.stem} ({number}){target.suffix}") if number else target
        if part.take(candidate):
            return candidate
        if not candidate.is_symlink() and candidate.is_file() and candidate.read_bytes() == content:
            return candidate
    raise bad_request("too many files have that name")
