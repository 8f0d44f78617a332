"""Files that nodes write: numbered, never over another, never half-written, never outside their directory."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from graph.errors import InputError
from graph.files import objection
from graph.whole_files import draft


@dataclass(frozen=True)
class Prefix:
    """A `filename_prefix`, made safe: where its files go and how their names begin."""

    root: Path
    subfolder: str
    stem: str

    @property
    def folder(self) -> Path:
        """The directory of its files."""
        return self.root / self.subfolder


def expand(prefix: str, root: Path, values: Mapping[str, object]) -> Prefix:
    """Resolve a prefix such as `portraits/%year%-%month%/cat` below `root`.

    `%year% %month% %day% %hour% %minute% %second%` are local time, two digits; `values` adds further tokens.
    Raises InputError, on `filename_prefix`, for a prefix that names no file below `root`.
    """
    now = time.localtime()
    tokens = {
        "year": str(now.tm_year),
        "month": f"{now.tm_mon:02}",
        "day": f"{now.tm_mday:02}",
        "hour": f"{now.tm_hour:02}",
        "minute": f"{now.tm_min:02}",
        "second": f"{now.tm_sec:02}",
        **{name: str(value) for name, value in values.items()},
    }
    name = re.sub("%([a-z_]+)%", lambda m: tokens.get(m[1], m[0]), prefix).replace("\\", "/")
    if reason := objection(name + "_00001_"):
        raise InputError("filename_prefix", f"got {prefix!r}, which {reason}")
    subfolder, _, stem = name.rpartition("/")
    place = Prefix(root, subfolder, stem)
    if not place.folder.resolve().is_relative_to(root.resolve()):
        raise InputError("filename_prefix", f"got {prefix!r}, which leads outside the output directory")
    return place


def write_numbered(prefix: Prefix, suffix: str, write: Callable[[Path], None]) -> str:
    """Have `write` fill a file and give it the next free number, as `stem_00001_.png`. Returns its name.

    The file appears whole or not at all, is on disk when this returns, and takes no name that another process took
    meanwhile.
    Raises InputError, on `filename_prefix`, where the system refuses the name.
    """
    try:
        with draft(prefix.folder) as part:
            write(part.path)
            number = highest(prefix) + 1
            while not part.take(prefix.folder / f"{prefix.stem}_{number:05}_{suffix}"):
                number += 1
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError("filename_prefix", f"cannot write {prefix.stem}_ in {prefix.folder}: {reason}") from error
    return f"{prefix.stem}_{number:05}_{suffix}"


def write_shown(prefix: Prefix, suffix: str, write: Callable[[Path], None], kind: str = "output") -> Mapping[str, str]:
    """`write_numbered`, and what editors are told of the file. kind: whose directory the prefix is below."""
    return {"filename": write_numbered(prefix, suffix, write), "subfolder": prefix.subfolder, "type": kind}


def highest(prefix: Prefix) -> int:
    """The highest number that files of this prefix have."""
    pattern = re.compile(re.escape(os.path.normcase(prefix.stem)) + "_([0-9]+)_")
    found = (pattern.match(os.path.normcase(entry.name)) for entry in os.scandir(prefix.folder))
    return max((int(m[1]) for m in found if m), default=0)
