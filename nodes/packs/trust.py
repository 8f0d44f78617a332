"""`packs.toml`: which packs the owner of this machine lets run, and at which state of their files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import tomlkit
from tomlkit.exceptions import TOMLKitError

from graph.whole_files import write_whole
from nodes.packs.found import Pack

ASK = "ask"
_HEADER = """\
# Packs are other people's code: what runs here may do whatever you may. For each: whether it is loaded (true, false, or
# "ask"), and the digest of the files that you said yes to. Another digest is asked about again. With mode = "isolated" it
# runs in a process of its own, without the network and other folders than its own and those of pictures and models;
# network = true, folders = ["/data"], memory = "8G" and patience = 600 (seconds without a sign of life) change that.
"""
ISOLATED = "isolated"
PATIENCE = 600.0
_UNITS: Mapping[str, int] = MappingProxyType({"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40})


class Standing(Enum):
    """What the owner has said of a pack."""

    ALLOWED = "allowed"
    DISABLED = "disabled"
    UNKNOWN = "not seen before"
    CHANGED = "its files have changed"


@dataclass(frozen=True, slots=True)
class Isolation:
    """What the owner allows a pack in a process of its own. folders: which it may also read and write. memory: bytes,
    0 for half of the machine's. patience: seconds that it may go without a sign of life while a node runs."""

    network: bool = False
    folders: tuple[Path, ...] = ()
    memory: int = 0
    patience: float = PATIENCE


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

    def isolate(self, name: str, *, isolated: bool) -> None:
        """Have the pack run in a process of its own from now on, or within the program."""
        self._put(name, mode=ISOLATED if isolated else "inside")

    def isolation(self, name: str) -> Isolation | None:
        """What a pack in a process of its own may do; None for one that runs within the program.

        Raises ValueError, naming the pack and the key, for what it does not understand.
        """
        entry = self._entry(name) or {}
        mode = entry.get("mode", "inside")
        if mode not in (ISOLATED, "inside"):
            raise ValueError(f"{self._file}: packs.{name}.mode is {mode!r}, expected {ISOLATED!r} or 'inside'")
        if mode != ISOLATED:
            return None
        network, folders = entry.get("network", False), entry.get("folders", [])
        patience = entry.get("patience", PATIENCE)
        if not isinstance(network, bool):
            raise ValueError(f"{self._file}: packs.{name}.network is {network!r}, expected true or false")
        if not isinstance(folders, list) or not all(isinstance(it, str) and Path(it).is_absolute() for it in folders):
            raise ValueError(f"{self._file}: packs.{name}.folders is {folders!r}, expected a list of absolute paths")
        if isinstance(patience, bool) or not isinstance(patience, int | float) or patience <= 0:
            raise ValueError(f"{self._file}: packs.{name}.patience is {patience!r}, expected seconds")
        return Isolation(network, tuple(map(Path, folders)), self._memory(name, entry), float(patience))

    def _memory(self, name: str, entry: Mapping[str, object]) -> int:
        given = entry.get("memory", 0)
        found = re.fullmatch(r"(\d+)\s*([KMGT]?)(i?B)?", str(given).strip(), re.IGNORECASE)
        if found is None:
            raise ValueError(f"{self._file}: packs.{name}.memory is {given!r}, expected a size such as '8G'")
        return int(found[1]) * _UNITS[found[2].upper()]

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
