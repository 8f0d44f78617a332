"""Cells of sweeps that are done, kept in files until their job has ended: a server that is begun anew goes on after them."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from graph.document import NodeId
from graph.retelling import Lasting
from server.wire import Channel, WireError, decoded, encoded

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a piece of a sweep has told, and the results that it has handed over, as bytes."""

    told: Sequence[Lasting]
    handed: Mapping[NodeId, bytes]


class CellFiles:
    """The folder of one job. No disk is waited for: what is lost or cut short by a power cut is drawn again."""

    def __init__(self, folder: Path, job: str) -> None:
        """folder: that of all jobs."""
        self._folder = folder / _named(job)

    def keep(self, key: str, drawn: Drawn) -> None:
        """Keep a piece. One that cannot be kept is told of in the log, and drawn again if it comes to that."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            with part.open("wb") as file:
                written = Channel(file, file)
                for name, content in drawn.handed.items():
                    written.send("made", name, content)
                written.send("told", [encoded(event) for event in drawn.told])
            os.replace(part, path)  # noqa: PTH105
        except OSError as error:
            _logger.warning("a cell that is done is not kept: %s", error.strerror)

    def kept(self, keys: Sequence[str]) -> Iterator[tuple[str, Drawn]]:
        """Those of these pieces that are kept whole."""
        for key in keys:
            try:
                yield key, _read(self._path(key))
            except (OSError, TypeError, WireError):
                continue

    def handed(self, key: str) -> Mapping[NodeId, bytes]:
        """The results that a piece has handed over, as far as they are kept."""
        return next((drawn.handed for _, drawn in self.kept([key])), {})

    def _path(self, key: str) -> Path:
        return self._folder / f"{_named(key)}.cell"


def jobs_kept(folder: Path) -> Sequence[Path]:
    """What there is of jobs in the folder of all."""
    return list(folder.iterdir()) if folder.is_dir() else []


def forget(kept: Sequence[Path], but: Sequence[str]) -> None:
    """Remove what there is of jobs other than these."""
    names = set(map(_named, but))
    for folder in kept:
        if folder.name not in names:
            shutil.rmtree(folder, ignore_errors=True)


def _named(text: str) -> str:
    """A name for a file: ids and keys may be any text."""
    return sha256(text.encode()).hexdigest()[:32]


def _read(path: Path) -> Drawn:
    """What is kept in a file. Raises OSError or WireError; what it has told comes last, so that nothing is missing."""
    handed: dict[NodeId, bytes] = {}
    with path.open("rb") as file:
        written = Channel(file, file)
        while (message := written.receive()) is not None:
            if message.kind == "told":
                return Drawn(decoded(message.body), handed)
            handed[message.body] = message.content
    raise WireError("cut short")
