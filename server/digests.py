"""What files are, remembered over restarts: a checkpoint is read for its identity once, not at every start."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from pathlib import Path

from graph.identity import Stamp
from server.database import Database

KEPT = 20_000
"""Files that are remembered; those met first are forgotten first."""
PATIENCE_SECONDS = 0.2
"""A run may wait that long. What cannot be written now is only found out again after the next start."""

_logger = logging.getLogger(__name__)


class StoredDigests:
    """`graph.identity.Digests` in the database, read once. May be used from any thread."""

    def __init__(self, path: Path) -> None:
        """Raises what Database raises."""
        self._lock = threading.Lock()
        self._db = Database(path, PATIENCE_SECONDS)
        newest = "SELECT seq FROM digests ORDER BY seq DESC LIMIT -1 OFFSET ?"
        self._db.execute(f"DELETE FROM digests WHERE seq IN ({newest})", (KEPT,))
        self._stamps: dict[str, str] = dict(self._db.execute("SELECT stamp, identity FROM digests").fetchall())
        self._contents: dict[str, str] = dict(self._db.execute("SELECT content, identity FROM contents").fetchall())

    def close(self) -> None:
        """Let go of the file; what is remembered from now on is not kept."""
        with self._lock:
            self._db.close()

    def known(self, stamp: Stamp) -> str | None:
        return self._stamps.get(json.dumps(stamp))

    def remember(self, stamp: Stamp, identity: str) -> None:
        key = json.dumps(stamp)
        self._stamps[key] = identity
        self._write("INSERT OR REPLACE INTO digests(stamp, identity) VALUES(?, ?)", key, identity)

    def first(self, content: str, identity: str) -> str:
        with self._lock:
            known = self._contents.setdefault(content, identity)
        self._write("INSERT OR IGNORE INTO contents VALUES(?, ?)", content, known)
        return known

    def _write(self, statement: str, *values: str) -> None:
        try:
            with self._lock, self._db.transaction(durable=False):  # nobody was promised it, and a run waits
                self._db.execute(statement, values)
        except sqlite3.Error as error:
            _logger.debug("what a file is could not be remembered: %s", error)
