"""The SQLite file below the base directory: how it is opened, its tables, and how they have changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIGRATIONS = (
    """
    CREATE TABLE jobs(
        seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, number NOT NULL, state TEXT NOT NULL,
        priority INTEGER NOT NULL, rank REAL NOT NULL, client_id TEXT, attempts INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL, started REAL, finished REAL, targets TEXT NOT NULL,
        error TEXT, outputs TEXT, messages TEXT, meta TEXT, nodes TEXT, extra TEXT NOT NULL, prompt TEXT NOT NULL);
    CREATE INDEX jobs_queue ON jobs(priority DESC, rank, seq) WHERE state = 'pending';
    CREATE INDEX jobs_state ON jobs(state, created);
    CREATE INDEX jobs_ended ON jobs(finished, seq) WHERE finished IS NOT NULL AND started IS NOT NULL;
    CREATE TABLE job_types(
        type TEXT NOT NULL, job INTEGER NOT NULL REFERENCES jobs(seq) ON DELETE CASCADE,
        PRIMARY KEY(type, job)) WITHOUT ROWID;
    CREATE INDEX job_types_job ON job_types(job);
    CREATE TABLE settings(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    """,
    """
    CREATE TABLE reports(
        seq INTEGER PRIMARY KEY, job TEXT NOT NULL, url TEXT NOT NULL, body TEXT NOT NULL,
        tries INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL);
    CREATE INDEX reports_due ON reports(due);
    CREATE TABLE digests(seq INTEGER PRIMARY KEY, stamp TEXT NOT NULL UNIQUE, identity TEXT NOT NULL);
    CREATE TABLE contents(content TEXT PRIMARY KEY, identity TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX jobs_created ON jobs(created, seq);
    CREATE INDEX jobs_finished ON jobs(finished, seq) WHERE finished IS NOT NULL;
    """,
    """
    ALTER TABLE reports ADD COLUMN host TEXT AS (substr(url, 1, instr(substr(url || '/', 9), '/') + 7));
    CREATE INDEX reports_host ON reports(host, due);
    """,
    "ALTER TABLE jobs ADD COLUMN about TEXT NOT NULL DEFAULT '{}'",
)
"""What leads from each version (`user_version`) to the next. Never change one that was shipped."""


class Newer(Exception):
    """The database was written by a later version of this program."""


class Database:
    """One connection, for one thread at a time.

    Raises Newer for a database of a later version, sqlite3.Error where the disk or another program is in the way.
    """

    def __init__(self, path: Path, patience: float = 5.0) -> None:
        """patience: seconds to wait while another connection writes."""
        self._db = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
        self.execute = self._db.execute
        self.executemany = self._db.executemany
        self.close = self._db.close
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=NORMAL")
        self.execute("PRAGMA foreign_keys=ON")
        self._migrate()

    @contextmanager
    def transaction(self, durable: bool = False) -> Iterator[None]:
        """All or nothing; `durable` reaches the disk before it returns, so not even a power cut undoes it."""
        self.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self.execute("ROLLBACK")
            if durable:
                self.execute("PRAGMA synchronous=NORMAL")

    def _migrate(self) -> None:
        (version,) = self.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise Newer(
                f"the database is of version {version}, and this program knows versions up to {len(MIGRATIONS)}"
            )
        for step in range(version, len(MIGRATIONS)):
            self._db.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[step]}; PRAGMA user_version={step + 1}; COMMIT;")
