"""What packs need that is not there, and what is there of them: requirements, versions, and a lock of both."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import tomlkit
from packaging.requirements import InvalidRequirement, Requirement
from tomlkit.exceptions import TOMLKitError

from graph.whole_files import write_whole
from nodes.packs.found import Pack, digest
from nodes.packs.isolated.environment import VENV

LOCK = "packs.lock.toml"


def unmet(pack: Pack) -> Iterator[str]:
    """The lines of a pack's `requirements.txt` that what is installed does not meet, and why.

    Lines that are no requirement, such as options of pip and addresses, are passed over.
    """
    try:
        lines = (pack.folder / "requirements.txt").read_text("utf-8").splitlines() if pack.path.is_dir() else []
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        try:
            wanted = Requirement(line.partition("#")[0].strip())
        except InvalidRequirement:
            continue
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        there = _version_there(wanted.name, pack)
        if there is None:
            yield f"{wanted} is not installed"
            continue
        if not wanted.specifier.contains(there, prereleases=True):
            yield f"{wanted.name}{wanted.specifier} is wanted, {there} is installed"


def _version_there(name: str, pack: Pack) -> str | None:
    """The version of a package in the pack's own environment, or in Darkroom's."""
    own = sorted(map(str, pack.folder.glob(f"{VENV}/lib/*/site-packages")))
    found = next(iter(distributions(name=name, path=[*own, *sys.path])), None)
    return None if found is None else found.version


@dataclass(frozen=True, slots=True)
class Held:
    """A pack as a lock has it."""

    name: str
    source: str
    version: str
    digest: str


def held(pack: Pack) -> Held:
    """What a pack is now. Raises OSError if its files cannot be read."""
    return Held(pack.name, _source(pack), _version(pack), digest(pack))


def write_lock(file: Path, packs: Iterable[Pack]) -> int:
    """Write down what all packs are now. Returns how many they are. Raises OSError."""
    whole = tomlkit.document()
    whole.add(tomlkit.comment("What the packs were when this was written; `main.py packs verify` compares."))
    table = tomlkit.table(is_super_table=True)
    for pack in packs:
        it = held(pack)
        table[it.name] = {"source": it.source, "version": it.version, "digest": it.digest}
    whole["packs"] = table
    write_whole(file, tomlkit.dumps(whole).encode())
    return len(table)


def differences(file: Path, packs: Iterable[Pack]) -> Iterator[str]:
    """What packs are otherwise than the lock says. Raises OSError, and ValueError if it is no lock."""
    try:
        entries = dict(tomlkit.parse(file.read_text("utf-8")).unwrap()["packs"])
    except (TOMLKitError, KeyError, UnicodeDecodeError, TypeError) as error:
        raise ValueError(f"{file} is no lock of packs: {error}") from error
    for pack in packs:
        entry = entries.pop(pack.name, None)
        it = held(pack)
        if entry is None:
            yield f"{pack.name}: not in the lock"
        elif entry.get("digest") != it.digest:
            then, now = entry.get("version", ""), it.version
            yield f"{pack.name}: its files differ" + (f" (then {then or '-'}, now {now or '-'})" if then != now else "")
    for name in entries:
        yield f"{name}: not there"


def _version(pack: Pack) -> str:
    project = _project(pack)
    return str(project.get("version", ""))


def _project(pack: Pack) -> dict[str, object]:
    try:
        whole = tomllib.loads((pack.folder / "pyproject.toml").read_text("utf-8")) if pack.path.is_dir() else {}
    except (OSError, ValueError):
        return {}
    project = whole.get("project", {})
    return project if isinstance(project, dict) else {}


def _source(pack: Pack) -> str:
    """Where it was cloned from, or its own word for it."""
    try:
        config = (pack.folder / ".git" / "config").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        config = ""
    if found := re.search(r"^\s*url\s*=\s*(\S+)", config, re.MULTILINE):
        return re.sub(r"//[^/@]*@", "//", found[1])  # no token that was written into the address
    urls = _project(pack).get("urls", {})
    return str(next(iter(urls.values()), "")) if isinstance(urls, dict) else ""
