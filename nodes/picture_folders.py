"""Folders of pictures below the input and output directories, by the names that workflows have for them."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from graph.errors import InputError
from graph.files import IMAGES, Folders, objection

_ANNOTATED = re.compile(r"(?P<name>.*?) ?\[(?P<place>input|output|temp)\]", re.DOTALL)


def pictures_in(name: str, folders: Folders, blamed: str) -> Sequence[Path]:
    """The picture files of the folder `name`, sorted; `name [output]` lies in the output directory, and no name is
    the directory itself. Raises InputError."""
    found = _ANNOTATED.fullmatch(name.strip())
    place, inner = (found["place"], found["name"]) if found else ("input", name.strip())
    root = {"input": folders.input_dir, "output": folders.output_dir, "temp": folders.temp_dir}[place]
    if inner and (reason := objection(inner)):
        raise InputError(blamed, f"{inner!r} {reason}")
    folder = root / inner
    if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises for too long names
        raise InputError(blamed, f"there is no folder {inner!r} in the {place} directory{_others(root)}")
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES and path.is_file())
    if not pictures:
        raise InputError(blamed, f"the folder {inner!r} of the {place} directory holds no pictures")
    return pictures


def stamps(node_id: str, inputs: Mapping[str, object], folders: Folders) -> object:
    """What tells whether the pictures of the input `folder` are still those of the last run.

    Of a folder whose name arrives over a link nothing is known: such a result is not taken from the cache.
    """
    name = inputs["folder"]
    if not isinstance(name, str):
        return uuid.uuid4().hex
    try:
        files = [(path.name, path.stat()) for path in pictures_in(name, folders, "folder")]
    except (InputError, OSError):  # the node itself will say what is wrong
        return None
    return [[file, stat.st_size, stat.st_mtime_ns] for file, stat in files]


def _others(root: Path) -> str:
    names = sorted(path.name for path in root.iterdir() if path.is_dir())[:5] if root.is_dir() else []
    return f"; there are {', '.join(names)}" if names else ""
