"""`packs.toml`: which packs the owner of this machine lets run, and at which state of their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import TypeAlias

import tomlkit
from tomlkit.exceptions import TOMLKitError

from graph.whole_files import write_whole
from nodes.packs.found import Pack

ASK = "ask"
_HEADER = """\
# Packs are other people's code: what runs here may do whatever you may. For each: whether it is loaded (true, false, or
# "ask"), and the digest of the files that you said yes to. Another digest is asked about again.
"""


class Standing(Enum):
    """What the owner has said of a pack."""

    ALLOWED = "allowed"
    DISABLED = "disabled"
    UNKNOWN = "not seen before"
    CHANGED = "its files have changed"


class Answer(Enum):
    """What is said to a pack that is unknown or has changed."""

    YES = "load it until its files change"
    ONCE = "load it now"
    NO = "do not load it"


Ask: TypeAlias = Callable[[Pack, Standing], Answer]


class PackList:
    """The file, read once and written whole. Raises ValueError if it is no TOML: it is never overwritten then."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._whole = tomlkit.parse(file.read_text("utf-8"))
        except FileNotFoundError:
            self._whole = tomlkit.parse(_HEADER)
        except (TOMLKitError, UnicodeDecodeError) as error:
            raise ValueError(f"{file} cannot be read, and no pack is loaded before it can: {error}") from error

    def standing(self, pack: Pack, digest: str) -> Standing:
        """What was said of `pack`, whose files are `digest` now."""
        entry = self._entry(pack.name)
        if entry is None or entry.get("enabled") == ASK:
            return Standing.UNKNOWN
        if entry.get("enabled") is not True:
            return Standing.DISABLED
        return Standing.ALLOWED if entry.get("digest") == digest else Standing.CHANGED

    def allow(self, pack: Pack, digest: str) -> None:
        """Load `pack` from now on, while its files are these."""
        self._put(pack.name, enabled=True, digest=digest)

    def note(self, pack: Pack, digest: str) -> None:
        """Write down that a pack was seen, for the owner to decide."""
        if self._entry(pack.name) is None:
            self._put(pack.name, enabled=ASK, digest=digest)

    def disable(self, name: str) -> None:
        """Never load the pack of this name."""
        self._put(name, enabled=False)

    def _entry(self, name: str) -> Mapping[str, object] | None:
        packs = self._whole.get("packs")
        entry = packs.get(name) if isinstance(packs, Mapping) else None
        return entry if isinstance(entry, Mapping) else None

    def _put(self, name: str, **values: object) -> None:
        if not isinstance(self._whole.get("packs"), Mapping):
            self._whole["packs"] = tomlkit.table(is_super_table=True)
        packs = self._whole["packs"]
        assert isinstance(packs, dict)
        if not isinstance(packs.get(name), Mapping):
            packs[name] = tomlkit.table()
        for key, value in values.items():
            packs[name][key] = value
        write_whole(self._file, tomlkit.dumps(self._whole).encode())
