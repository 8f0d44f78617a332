"""BOOLEAN as packs know it: numbers count too, which loops give to conditions in what they expand to."""

from __future__ import annotations

from dataclasses import dataclass

from graph.files import Folders
from graph.sockets import Toggle


@dataclass(frozen=True, slots=True)
class Truth(Toggle):
    """true or false, or a number, which is true unless it is 0."""

    def coerce(self, value: object, folders: Folders) -> bool:
        return bool(value) if isinstance(value, int | float) else Toggle.coerce(self, value, folders)
