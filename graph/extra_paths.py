"""The settings file for further model folders, after YAML was read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ExtraPaths:
    """One section: directories by folder name. `first` asks for them to be searched before all others."""

    folders: Mapping[str, tuple[Path, ...]]
    first: bool = False


def extra_paths(config: object, anchor: Path) -> Iterator[ExtraPaths]:
    """The sections of a parsed settings file; relative paths start at `anchor`, the directory it lies in.

    A section's label is free; `base_path` and `is_default` are settings, every other key is a folder name whose
    value holds one path a line. Raises ValueError naming the section and key.
    """
    if not isinstance(config, Mapping | None):
        raise ValueError("expected sections, each with folder names and paths")
    for label, section in (config or {}).items():
        if section is None:
            continue
        if not isinstance(section, Mapping):
            raise ValueError(f"section {label!r}: expected folder names with paths")
        base = anchor / _expanded(section.get("base_path") or "", f"section {label!r}, key 'base_path'")
        yield ExtraPaths(
            {
                str(name): tuple(base / line for line in _lines(value, f"section {label!r}, key {name!r}"))
                for name, value in section.items()
                if name not in ("base_path", "is_default")
            },
            first=bool(section.get("is_default", False)),
        )


def _lines(value: object, place: str) -> Iterator[str]:
    if value is None:
        return
    if not isinstance(value, str):
        raise ValueError(f"{place}: expected one path a line")
    for line in value.splitlines():
        if stripped := line.strip():
            yield _expanded(stripped, place)


def _expanded(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{place}: expected a path")
    return os.path.expandvars(Path(value).expanduser())
