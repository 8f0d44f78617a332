"""What named the results of nodes when they ran last, and what each job's nodes did: kept in the database."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from graph.explain import Key
from graph.recipe import Recipe, read_recipe
from server.database import Database

DATABASE = "darkroom.db"
"""Its name in the base directory."""
KEPT = 20_000
"""Recipes that are kept in all."""
OF_ONE_NODE = 64
"""Recipes of one node that are kept: it may be run with other values in turn, or for the cells of a sweep."""
PATIENCE_SECONDS = 0.5


class StoredLedger:
    """`graph.explain.Ledger` in the database, with the explanations of jobs. May be used from any thread.

    Raises what Database raises.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = Database(path, PATIENCE_SECONDS)
        newest = "SELECT seq FROM recipes ORDER BY seq DESC LIMIT -1 OFFSET ?"
        self._db.execute(f"DELETE FROM recipes WHERE seq IN ({newest})", (KEPT,))

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def newest(self, key: Key) -> Iterator[Recipe]:
        """Mostly the first is near enough, so the others are fetched when somebody looks further."""
        found = "SELECT name, recipe FROM recipes WHERE node = ? AND type = ? ORDER BY seq DESC LIMIT ? OFFSET ?"
        for most, past in ((1, 0), (-1, 1)):
            with self._lock:
                rows = self._db.execute(found, (*key, most, past)).fetchall()
            for name, text in rows:
                yield read_recipe(*key, name, text)

    def named(self, key: Key, name: str) -> Recipe | None:
        found = "SELECT recipe FROM recipes WHERE node = ? AND type = ? AND name = ?"
        with self._lock:
            row = self._db.execute(found, (*key, name)).fetchone()
        return None if row is None else read_recipe(*key, name, row[0])

    def keep(self, recipes: Iterable[Recipe]) -> None:
        rows = [(recipe.node, recipe.type, recipe.name, recipe.text()) for recipe in recipes]
        if not rows:
            return
        older = "SELECT seq FROM recipes WHERE node = ? AND type = ? ORDER BY seq DESC LIMIT -1 OFFSET ?"
        keys = dict.fromkeys((node, type_) for node, type_, _, _ in rows)
        with self._lock, self._db.transaction(durable=False):
            self._db.executemany("INSERT OR REPLACE INTO recipes(node, type, name, recipe) VALUES(?, ?, ?, ?)", rows)
            self._db.executemany(f"DELETE FROM recipes WHERE seq IN ({older})", [(*key, OF_ONE_NODE) for key in keys])

    def keep_explanations(self, texts: Mapping[str, str]) -> None:
        """Keep what the nodes of jobs did, as JSON by job, for as long as each job is kept."""
        with self._lock, self._db.transaction(durable=False):
            kept = "INSERT OR REPLACE INTO explanations(job, text) SELECT id, ? FROM jobs WHERE id = ?"
            self._db.executemany(kept, [(text, job) for job, text in texts.items()])

    def explanation(self, job: str) -> str | None:
        """What was kept of a job."""
        with self._lock:
            row = self._db.execute("SELECT text FROM explanations WHERE job = ?", (job,)).fetchone()
        return None if row is None else str(row[0])
