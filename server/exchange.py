"""Files for workers on machines that do not share the server's folders, by what they contain, and those that they make."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from graph.build import build
from graph.context import Run
from graph.document import NodeId
from graph.events import NodeFinished
from graph.files import FileRef, Folders, objection
from graph.sweep import Alternatives
from graph.whole_files import draft
from server.backend import Engine
from server.blobs import PREFIX, blake3_of
from server.links import Far
from server.places import KINDS, directory

EMBEDDINGS = "embeddings"
_NAMED = re.compile(r"embedding:([^\s,:()]+)")
_NUMBERED = re.compile(r"(.*_)(\d+)(_?\.\w+)")

_logger = logging.getLogger(__name__)


class Exchange:
    """Knows the server's folders. May be asked from any thread."""

    def __init__(self, folders: Folders, engine: Callable[[], Engine]) -> None:
        """engine: waits for the engine that knows the node types."""
        self._folders = folders
        self._engine = engine
        self._digests: dict[tuple[Path, int, int], str] = {}
        self._machines: dict[str, threading.Lock] = {}

    @property
    def base(self) -> Path:
        """The server's folder."""
        return self._folders.base

    def send(self, far: Far, run: Run, targets: Sequence[NodeId]) -> None:
        """Bring what a run reads to a machine: each content once. Raises OSError."""
        with self._machines.setdefault(far.machine, threading.Lock()):
            for file in dict.fromkeys(self._needed(run, targets)):
                digest = self._digest(file.path)
                if far.lacks(digest):
                    _logger.info("%s goes to machine %s", file.name, far.machine)
                    far.store(digest, file.path)
                far.place(digest, file.folder, file.name)

    def bring(self, far: Far, event: NodeFinished) -> NodeFinished:
        """The event with the files that it shows among the server's, where they may have another number."""
        shown = {
            name: [self._brought(far, entry) if isinstance(entry, Mapping) else entry for entry in entries]
            if isinstance(entries, list | tuple)
            else entries
            for name, entries in event.ui.items()
        }
        return replace(event, ui=shown)

    def _needed(self, run: Run, targets: Sequence[NodeId]) -> Iterator[FileRef]:
        """The files that a run names."""
        graph = build(run.document, self._engine().registry, self._folders, targets)
        words: list[str] = []
        for node in graph.nodes.values():
            for value in node.inputs.values():
                for one in value.values if isinstance(value, Alternatives) else (value,):
                    if isinstance(one, FileRef):
                        yield one
                    elif isinstance(one, str):
                        words += _NAMED.findall(one)
        if words:
            known = {Path(name).with_suffix("").as_posix(): name for name in self._folders.list(EMBEDDINGS)}
            for word in words:
                if name := known.get(Path(word).with_suffix("").as_posix(), known.get(word)):
                    yield self._folders.find(EMBEDDINGS, name)

    def _digest(self, path: Path) -> str:
        status = path.stat()
        key = path, status.st_size, status.st_mtime_ns
        if (known := self._digests.get(key)) is None:
            known = self._digests[key] = blake3_of(path).removeprefix(PREFIX)
        return known

    def _brought(self, far: Far, entry: Mapping[str, object]) -> Mapping[str, object]:
        name, kind = str(entry.get("filename", "")), str(entry.get("type", "output"))
        subfolder = str(entry.get("subfolder", ""))
        if not name or kind not in KINDS or objection("/".join(filter(None, (subfolder, name)))):
            return entry
        try:
            content = far.take(kind, subfolder, name)
            return {**entry, "filename": _kept(directory(self._folders, kind) / subfolder, name, content)}
        except OSError as error:
            _logger.error("%s, which a worker has made, did not arrive: %s", name, error)
            return entry


def _kept(folder: Path, name: str, content: bytes) -> str:
    """Keep a file under its name, or with the next number that is free; gives the name. Raises OSError."""
    with draft(folder) as part:
        part.path.write_bytes(content)
        while not part.take(folder / name):
            name = _next(name)
    return name


def _next(name: str) -> str:
    if (numbered := _NUMBERED.fullmatch(name)) is not None:
        before, number, after = numbered.groups()
        return f"{before}{int(number) + 1:0{len(number)}d}{after}"
    path = Path(name)
    return f"{path.stem}_00001{path.suffix}"
