"""Files that clients send: whole or not at all, never over another's, never through a link."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

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
    part = target.parent / f".{uuid.uuid4().hex}.part"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        if overwrite:
            os.replace(part, target)  # noqa: PTH105  replaces a link, never writes through it
        else:
            target = _free_name(part, target, content)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return Stored(target.name, subfolder)


def _free_name(part: Path, target: Path, content: bytes) -> Path:
    for number in range(_NUMBERED):
        candidate = target.with_name(f"{target.stem} ({number}){target.suffix}") if number else target
        try:
            os.link(part, candidate)
        except FileExistsError:
            if not candidate.is_symlink() and candidate.is_file() and candidate.read_bytes() == content:
                return candidate
        else:
            return candidate
    raise bad_request("too many files have that name")
