"""The SQLite file below the base directory: how it is opened, its tables, and how they have changed."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from graph.whole_files import draft

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
    """
    ALTER TABLE jobs ADD COLUMN crashed_in TEXT;
    ALTER TABLE jobs ADD COLUMN ended INTEGER;
    UPDATE jobs SET ended = places.place FROM (SELECT seq, row_number() OVER (ORDER BY finished, seq) AS place FROM jobs
        WHERE finished IS NOT NULL) AS places WHERE places.seq = jobs.seq;
    DROP INDEX jobs_ended;
    CREATE INDEX jobs_ended ON jobs(ended) WHERE ended IS NOT NULL;
    CREATE INDEX jobs_history ON jobs(ended, seq) WHERE ended IS NOT NULL AND started IS NOT NULL;
    CREATE TRIGGER jobs_end AFTER UPDATE OF finished ON jobs WHEN (OLD.finished IS NULL) <> (NEW.finished IS NULL) BEGIN
        UPDATE jobs SET ended = iif(NEW.finished IS NULL, NULL, (SELECT ifnull(max(ended), 0) + 1 FROM jobs))
            WHERE seq = NEW.seq; END;
    CREATE TRIGGER jobs_end_at_once AFTER INSERT ON jobs WHEN NEW.finished IS NOT NULL BEGIN
        UPDATE jobs SET ended = (SELECT ifnull(max(ended), 0) + 1 FROM jobs) WHERE seq = NEW.seq; END;
    UPDATE jobs SET number = 1e15 * sign(number), rank = 1e15 * sign(number)
        WHERE abs(number) > 1e15;
    """,
    """
    CREATE TABLE recipes(
        seq INTEGER PRIMARY KEY, node TEXT NOT NULL, type TEXT NOT NULL, name TEXT NOT NULL, recipe TEXT NOT NULL,
        UNIQUE(node, type, name));
    CREATE INDEX recipes_node ON recipes(node, type, seq);
    CREATE TABLE explanations(
        job TEXT PRIMARY KEY REFERENCES jobs(id) ON DELETE CASCADE, text TEXT NOT NULL) WITHOUT ROWID;
    """,
    """
    CREATE TABLE assets(
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, content_type TEXT NOT NULL, size INTEGER NOT NULL,
        hash TEXT, created REAL NOT NULL, expires REAL, job TEXT, node TEXT, content TEXT, uploaded INTEGER NOT NULL,
        tags TEXT NOT NULL, gone INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
    CREATE INDEX assets_file ON assets(kind, name) WHERE gone = 0;
    CREATE INDEX assets_job ON assets(job) WHERE job IS NOT NULL;
    CREATE INDEX assets_expire ON assets(expires) WHERE gone = 0 AND expires IS NOT NULL;
    CREATE TABLE blobs(stamp TEXT PRIMARY KEY, hash TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX blobs_hash ON blobs(hash);
    """,
    """
    DROP TRIGGER jobs_end;
    DROP TRIGGER jobs_end_at_once;
    CREATE TRIGGER jobs_end AFTER UPDATE OF finished ON jobs WHEN (OLD.finished IS NULL) <> (NEW.finished IS NULL) BEGIN
        UPDATE jobs SET ended = iif(NEW.finished IS NULL, NULL,
            (SELECT ifnull(max(ended), 0) + 1 FROM jobs WHERE ended IS NOT NULL)) WHERE seq = NEW.seq; END;
    CREATE TRIGGER jobs_end_at_once AFTER INSERT ON jobs WHEN NEW.finished IS NOT NULL BEGIN
        UPDATE jobs SET ended = (SELECT ifnull(max(ended), 0) + 1 FROM jobs WHERE ended IS NOT NULL)
            WHERE seq = NEW.seq; END;
    """,
)
"""What leads from each version (`user_version`) to the next. Never change one that was shipped.

`jobs.ended` counts up in the order in which jobs end: clocks go wrong. Its largest is found in its index, which holds
ended jobs only, where the question says so too; else every job's end reads all jobs. `jobs.crashed_in` are the nodes that ran when the
server stopped.
"""

_logger = logging.getLogger(__name__)


class Newer(Exception):
    """The database was written by a later version of this program."""


class Damaged(Exception):
    """The database cannot be trusted."""


def examine(path: Path) -> None:
    """Raise Damaged if what is at `path` is no sound database, sqlite3.Error if that cannot be found out."""
    if not path.is_file():
        return
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        try:
            found = [str(row[0]) for row in db.execute("PRAGMA quick_check(1)")]
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorname.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
                found = [str(error)]
            else:
                raise
    if found != ["ok"]:
        raise Damaged(f"the database {path} is damaged ({' '.join(' '.join(found).split())})")


def make_sound(path: Path, set_damaged_aside: bool) -> None:
    """See to it that a database may be opened at `path`. Raises what `examine` raises, unless it may be set aside."""
    try:
        examine(path)
    except Damaged as damaged:
        if not set_damaged_aside:
            raise Damaged(
                f"{damaged}; with --set-database-aside it is kept under another name, and a new one begun"
            ) from None
        _logger.error("%s; it is kept as %s, and a new one begun", damaged, _set_aside(path).name)


def _set_aside(path: Path) -> Path:
    """Give a damaged database, and what belongs to it, another name beside its own; returns that."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for ending in ("-wal", "-shm", ""):
        if (part := Path(f"{path}{ending}")).exists():
            part.rename(f"{aside}{ending}")
    return aside


class Database:
    """One connection, for one thread at a time. What it has committed is on disk, so not even a power cut undoes it.

    Raises Newer for a database of a later version, sqlite3.Error where the disk or another program is in the way.
    """

    def __init__(self, path: Path, patience: float = 5.0) -> None:
        """patience: seconds to wait while another connection writes."""
        self._path = path
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # a new one is for its user's eyes
        self._db = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
        self.execute = self._db.execute
        self.executemany = self._db.executemany
        self.close = self._db.close
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=FULL")
        self.execute("PRAGMA foreign_keys=ON")
        self.execute("PRAGMA temp_store=MEMORY")
        self._migrate()

    @contextmanager
    def transaction(self, durable: bool = True) -> Iterator[None]:
        """All or nothing, within a larger one too; then that decides what is kept.

        What is not `durable` outlives the process, but reaches the disk only with what is committed after it.
        """
        if self._db.in_transaction:
            with self._ended_by("SAVEPOINT part", "RELEASE part", "ROLLBACK TO part; RELEASE part"):
                yield
            return
        if not durable:
            self.execute("PRAGMA synchronous=NORMAL")
        try:
            with self._ended_by("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"):
                yield
        finally:
            if not durable:
                self.execute("PRAGMA synchronous=FULL")

    @contextmanager
    def _ended_by(self, begin: str, keep: str, undo: str) -> Iterator[None]:
        self.execute(begin)
        kept = False
        try:
            yield
            self.execute(keep)
            kept = True
        finally:
            if not kept and self._db.in_transaction:  # SQLite itself undoes it where the disk is full
                for statement in undo.split("; "):
                    self.execute(statement)

    def _migrate(self) -> None:
        (version,) = self.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise Newer(
                f"the database is of version {version}, and this program knows versions up to {len(MIGRATIONS)}"
            )
        if 0 < version < len(MIGRATIONS):
            self._back_up(version)
        for step in range(version, len(MIGRATIONS)):
            self._db.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[step]}; PRAGMA user_version={step + 1}; COMMIT;")

    def _back_up(self, version: int) -> None:
        """Keep the database as the program of its version knew it."""
        target = self._path.with_name(f"{self._path.name}.version-{version}")
        with draft(target.parent) as copy:
            with closing(sqlite3.connect(copy.path)) as db:
                self._db.backup(db)
            copy.replace(target)
        _logger.warning("the database is brought up to date; as it was it is kept as %s", target.name)
