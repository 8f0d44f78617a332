"""What files contain, by blake3: found out off the event loop, remembered, and used so that no content is stored twice."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from blake3 import blake3

from graph.errors import ValueRefused
from graph.files import Folders
from graph.whole_files import draft
from server.assets import TEXTS, Asset, Assets
from server.desk import Desk
from server.listing import entries
from server.places import KINDS, below, directory, is_file
from server.refused import Refused, bad_request
from server.threads import in_thread

PREFIX = "blake3:"
LOOK_AGAIN_SECONDS = 60.0
_NUMBERED = 10_000
_PIECE = 2**20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file lies: `name` below the directory of `kind`."""

    kind: str
    name: str


class Blobs:
    """The files of one server by their content. Everything here is called on the event loop, and works in threads."""

    def __init__(self, folders: Folders, assets: Desk[Assets], threads: ThreadPoolExecutor) -> None:
        self._folders = folders
        self._assets = assets
        self._threads = threads
        self._looked = -LOOK_AGAIN_SECONDS

    def path(self, place: Place) -> Path:
        """The file of a place. Raises Refused if there is none."""
        if place.kind in KINDS:
            path = below(directory(self._folders, place.kind), place.name)
            if is_file(path):
                return path
        else:
            try:
                return self._folders.resolve(place.kind, place.name)
            except (ValueRefused, KeyError):
                pass
        raise Refused(404, "blob_not_found", "the file of that asset is not there any more")

    def sized(self, asset: Asset) -> Asset:
        """With the size of its file as it is now. Called in a thread."""
        if asset.kind == TEXTS:
            return asset
        try:
            return replace(asset, size=self.path(Place(asset.kind, asset.name)).stat().st_size)
        except (Refused, OSError):
            return asset

    def wanted(self, file_path: str) -> Place:
        """Where an upload belongs: `photo.png`, `input/a/photo.png` or `models/checkpoints/x.safetensors`. Raises Refused."""
        first, _, rest = file_path.partition("/")
        if first == "models":
            kind, _, name = rest.partition("/")
            folder = self._folders.folders.get(kind)
            if folder is None or kind in (*KINDS, "custom_nodes") or not name:
                raise Refused(422, "invalid_request", "file_path: no folder of model files has that name")
            if Path(name).suffix.lower() not in folder.suffixes:
                raise Refused(
                    415, "type_refused", f"file_path: expected a file in {', '.join(sorted(folder.suffixes))}"
                )
            place = Place(kind, name)
        else:
            place = Place("input", rest if first == "input" and rest else file_path)
        try:
            below(self._root(place.kind), place.name)
        except Refused as refused:
            raise Refused(422, "invalid_request", f"file_path: {refused.message}") from None
        return place

    async def find(self, hash_: str) -> Place | None:
        """A file that has this content now, among those that were looked at."""
        for stamp, kind, name in await self._assets(Assets.places, hash_):
            place = Place(kind, name)
            if await in_thread(self._threads, self._stamp_of, place) == stamp:
                return place
        return None

    async def digest(self, place: Place) -> str:
        """The content of a file as `blake3:<hex>`. Raises Refused, OSError."""
        path = await in_thread(self._threads, self.path, place)
        stamp = await in_thread(self._threads, _stamp, path)
        known = await self._assets(Assets.digest, stamp)
        if known is None:
            known = await in_thread(self._threads, blake3_of, path)
            if await in_thread(self._threads, _stamp, path) == stamp:
                await self._assets.lightly(Assets.remember, stamp, known, place.kind, place.name)
        return known

    async def keep(self, source: Path, place: Place, hash_: str) -> tuple[Place, bool]:
        """Put a copy of `source` at `place`, or under the next free name; a file that is the same already will do.

        Returns where it is, and whether it is new there.
        """
        name, made = await in_thread(self._threads, _placed, source, self._root(place.kind), place.name, hash_)
        kept = Place(place.kind, name)
        stamp = await in_thread(self._threads, self._stamp_of, kept)
        await self._assets(Assets.remember, stamp, hash_, kept.kind, kept.name)
        return kept, made

    async def remove(self, place: Place) -> None:
        """Delete a file, if it is there."""
        path = below(self._root(place.kind), place.name)
        await in_thread(self._threads, path.unlink, missing_ok=True)

    async def look_through(self) -> None:
        """Find out what the files of the input, output and model folders contain, so that nobody need send them again.

        Does so at most once a minute, and reads only files that it does not know.
        """
        if time.monotonic() - self._looked < LOOK_AGAIN_SECONDS:
            return
        self._looked = time.monotonic()
        for place in await in_thread(self._threads, lambda: list(self._all())):
            try:
                await self.digest(place)
            except (Refused, OSError):  # it is gone, or may not be read
                continue

    def _all(self) -> Iterator[Place]:
        for kind in ("input", "output"):
            for entry in entries(directory(self._folders, kind), recursive=True) or ():
                if not entry.is_directory and not Path(entry.name).name.startswith("."):
                    yield Place(kind, entry.name)
        for kind in self._folders.folders:
            if kind not in (*KINDS, "custom_nodes"):
                yield from (Place(kind, name) for name in self._folders.list(kind))

    def _root(self, kind: str) -> Path:
        return directory(self._folders, kind) if kind in KINDS else self._folders.roots(kind)[0]

    def _stamp_of(self, place: Place) -> str:
        try:
            return _stamp(self.path(place))
        except (Refused, OSError):
            return ""


def blake3_of(path: Path) -> str:
    """The content of a file as `blake3:<hex>`."""
    hasher = blake3()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            hasher.update(piece)
    return f"{PREFIX}{hasher.hexdigest()}"


def _stamp(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_dev}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}"


def _placed(source: Path, root: Path, name: str, hash_: str) -> tuple[str, bool]:
    target = below(root, name)
    with draft(target.parent) as part:
        try:
            os.link(source, part.path)
        except OSError:  # another file system
            shutil.copyfile(source, part.path)
        for number in range(_NUMBERED):
            candidate = target.with_name(f"{target.stem} ({number}){target.suffix}") if number else target
            if part.take(candidate):
                return candidate.relative_to(root).as_posix(), True
            if not candidate.is_symlink() and is_file(candidate) and blake3_of(candidate) == hash_:
                return candidate.relative_to(root).as_posix(), False
    raise bad_request("too many files have that name")
