"""Jobs on disk: queue, history and what the operator set. The only file with SQL."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.job import ENDED, Job, Outcome, State, Submission

CRASHES = 2
"""How often a job may take the server down with it before it counts as failed."""

_MIGRATIONS = (
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
)

_ENDED = "finished IS NOT NULL AND started IS NOT NULL"
_QUEUED = f"state IN ('{State.PENDING}', '{State.RUNNING}')"
_ENTRY = """json_quote(id) || ':{"prompt":[' || json_quote(number) || ',' || json_quote(id) || ',' || prompt || ',' ||
    extra || ',' || targets || '],"outputs":' || outputs || ',"status":{"status_str":' ||
    iif(state = 'completed', '"success","completed":true', '"error","completed":false') ||
    ',"messages":' || messages || '},"meta":' || meta || '}'"""
_ITEM = "'[' || json_quote(number) || ',' || json_quote(id) || ',' || prompt || ',' || extra || ',' || targets || ']'"
_SEARCHED = "lower(prompt || ' ' || ifnull(outputs, '') || ' ' || ifnull(error, '') || ' ' || id)"
_SUMMARY = "id, state, number, priority, created, started, finished, outputs, error, attempts"


class Newer(Exception):
    """The database was written by a later version of this program."""


class QueueFull(Exception):
    """No more jobs may wait."""


class IdTaken(Exception):
    """The id belongs to another prompt."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """`number` as stored; `repeated` if the same job had been accepted before."""

    number: int | float
    repeated: bool


@dataclass(frozen=True, slots=True)
class Search:
    """Which jobs to list. Times are seconds since 1970."""

    states: tuple[State, ...] = ()
    type: str | None = None
    words: tuple[str, ...] = ()  # each to be found in the prompt, the outputs, the error or the id
    after: float | None = None
    before: float | None = None
    newest_first: bool = True
    limit: int = 100
    offset: int = 0


class Store:
    """One connection, used by one thread. Text that clients sent as JSON goes out again as it came in.

    Raises Newer for a database of a later version, sqlite3.Error where the disk or another program is in the way.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("PRAGMA foreign_keys=ON")
        self._migrate()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    # the queue

    def accept(self, job: Submission, bound: int) -> Accepted:
        """Put `job` on disk, for good once this returns. Raises QueueFull, or IdTaken for an id with another prompt."""
        with self._transaction(durable=True):
            known = self._db.execute("SELECT number, prompt FROM jobs WHERE id = ?", (job.id,)).fetchone()
            if known is not None:
                if known[1] != job.prompt:
                    raise IdTaken(job.id)
                return Accepted(known[0], repeated=True)
            if self._count(f"state = '{State.PENDING}'") >= bound:
                raise QueueFull
            inserted = self._db.execute(
                "INSERT INTO jobs(id, number, state, priority, rank, client_id, created, targets, extra, prompt)"
                " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    job.id,
                    job.number,
                    State.PENDING,
                    job.priority,
                    float(job.number),
                    job.client_id,
                    time.time(),
                    json.dumps(job.targets),
                    job.extra,
                    job.prompt,
                ),
            )
            types = ((type_, inserted.lastrowid) for type_ in job.types)
            self._db.executemany("INSERT INTO job_types(type, job) VALUES(?, ?)", types)
        return Accepted(job.number, repeated=False)

    def take(self) -> Job | None:
        """The next job, now running; None if nothing waits."""
        row = self._db.execute(
            f"UPDATE jobs SET state = '{State.RUNNING}', started = ? WHERE seq ="
            f" (SELECT seq FROM jobs WHERE state = '{State.PENDING}' ORDER BY priority DESC, rank, seq LIMIT 1)"
            " RETURNING id, client_id, prompt, extra, targets, created",
            (time.time(),),
        ).fetchone()
        if row is None:
            return None
        id_, client_id, prompt, extra, targets, created = row
        return Job(id_, client_id, prompt, extra, tuple(json.loads(targets)), created)

    def finish(self, id_: str, outcome: Outcome) -> None:
        """Record how a running job ended."""
        self._db.execute(
            "UPDATE jobs SET state = ?, finished = ?, outputs = ?, messages = ?, meta = ?, nodes = ?, error = ?"
            f" WHERE id = ? AND state = '{State.RUNNING}'",
            (
                outcome.state,
                time.time(),
                outcome.outputs,
                outcome.messages,
                outcome.meta,
                outcome.nodes,
                outcome.error,
                id_,
            ),
        )

    def release(self, id_: str) -> None:
        """Put a running job back where it was in the queue: the server stops, and it was not the job's fault."""
        self._db.execute(
            f"UPDATE jobs SET state = '{State.PENDING}', started = NULL WHERE id = ? AND state = '{State.RUNNING}'",
            (id_,),
        )

    def recover(self) -> tuple[int, int]:
        """After a crash: jobs that were running wait again, or have failed. Returns how many of each."""
        error = {
            "exception_type": "ServerStopped",
            "exception_message": f"the server stopped {CRASHES} times while this job was running; it is not tried again",
            "node_id": "",
            "node_type": "",
            "traceback": [],
        }
        with self._transaction(durable=True):
            self._db.execute(f"UPDATE jobs SET attempts = attempts + 1 WHERE state = '{State.RUNNING}'")
            failed = self._db.execute(
                f"UPDATE jobs SET state = '{State.FAILED}', finished = ?, error = ?, outputs = '{{}}', meta = '{{}}',"
                " nodes = '{}', messages = json_array(json_array('execution_error',"
                " json_set(?, '$.prompt_id', id, '$.executed', json_array(), '$.timestamp', ?)))"
                f" WHERE state = '{State.RUNNING}' AND attempts >= ?",
                (time.time(), json.dumps(error), json.dumps(error), int(time.time() * 1000), CRASHES),
            ).rowcount
            again = self._db.execute(
                f"UPDATE jobs SET state = '{State.PENDING}', started = NULL WHERE state = '{State.RUNNING}'"
            ).rowcount
        return again, failed

    def cancel_pending(self, ids: Sequence[str] | None) -> int:
        """Take jobs out of the queue, all if `ids` is None; running ones stay. Returns how many."""
        where, values = _among(ids)
        return self._db.execute(
            f"UPDATE jobs SET state = '{State.CANCELLED}', finished = ?, outputs = '{{}}', messages = '[]', meta = '{{}}',"
            f" nodes = '{{}}' WHERE state = '{State.PENDING}' AND {where}",
            (time.time(), *values),
        ).rowcount

    def set_priority(self, id_: str, priority: int) -> bool:
        """Whether the job was waiting."""
        changed = self._db.execute(
            f"UPDATE jobs SET priority = ? WHERE id = ? AND state = '{State.PENDING}'", (priority, id_)
        )
        return changed.rowcount > 0

    def move(self, id_: str, place: int) -> bool:
        """Have a waiting job be the one at `place`, counted from 0; the others keep their order."""
        with self._transaction():
            rows = self._db.execute(
                f"SELECT id, priority, rank FROM jobs WHERE state = '{State.PENDING}' ORDER BY priority DESC, rank, seq"
            ).fetchall()
            order = [row[0] for row in rows]
            if id_ not in order:
                return False
            order.remove(id_)
            order.insert(place, id_)
            # the places stay, only who holds them changes; equal ranks are told apart first
            ranks = _ascending([(-row[1], row[2]) for row in rows])
            changes = ((-minus, rank, name) for name, (minus, rank) in zip(order, ranks, strict=True))
            self._db.executemany("UPDATE jobs SET priority = ?, rank = ? WHERE id = ?", changes)
        return True

    def queue(self) -> tuple[list[str], list[str]]:
        """Running and waiting jobs as the JSON of `/queue`, in the order in which they will run."""
        running = self._db.execute(f"SELECT {_ITEM} FROM jobs WHERE state = '{State.RUNNING}'")
        waiting = self._db.execute(
            f"SELECT {_ITEM} FROM jobs WHERE state = '{State.PENDING}' ORDER BY priority DESC, rank, seq"
        )
        return [row[0] for row in running], [row[0] for row in waiting]

    def remaining(self) -> int:
        """Jobs that wait or run."""
        return self._count(_QUEUED)

    def next_number(self) -> int:
        """Above every number that jobs have."""
        (highest,) = self._db.execute("SELECT max(abs(number)) FROM jobs").fetchone()
        return 0 if highest is None else int(highest) + 1

    # the history

    def history(self, limit: int | None, offset: int | None) -> list[str]:
        """Entries as JSON members of the object that `/history` answers, oldest first; the newest without `offset`."""
        limit = -1 if limit is None else limit
        if offset is None:
            newest = f"SELECT seq FROM jobs WHERE {_ENDED} ORDER BY finished DESC, seq DESC LIMIT ?"
            rows = self._db.execute(
                f"SELECT {_ENTRY} FROM jobs WHERE seq IN ({newest}) ORDER BY finished, seq", (limit,)
            )
        else:
            page = f"SELECT {_ENTRY} FROM jobs WHERE {_ENDED} ORDER BY finished, seq LIMIT ? OFFSET ?"
            rows = self._db.execute(page, (limit, offset))
        return [row[0] for row in rows]

    def entry(self, id_: str) -> str | None:
        """One job's history entry, if it has ended."""
        row = self._db.execute(f"SELECT {_ENTRY} FROM jobs WHERE id = ? AND {_ENDED}", (id_,)).fetchone()
        return None if row is None else row[0]

    def forget(self, ids: Sequence[str] | None) -> int:
        """Remove jobs that have ended, all if `ids` is None. Returns how many."""
        where, values = _among(ids)
        states = ", ".join(f"'{state}'" for state in ENDED)
        return self._db.execute(f"DELETE FROM jobs WHERE state IN ({states}) AND {where}", values).rowcount

    def prune(self, keep: int, days: float) -> int:
        """Remove the oldest jobs beyond `keep`, and those that ended more than `days` ago; 0 keeps all."""
        removed = 0
        if keep:
            old = f"SELECT seq FROM jobs WHERE {_ENDED} ORDER BY finished DESC, seq DESC LIMIT -1 OFFSET ?"
            removed += self._db.execute(f"DELETE FROM jobs WHERE seq IN ({old})", (keep,)).rowcount
        if days:
            since = time.time() - days * 86400
            removed += self._db.execute(f"DELETE FROM jobs WHERE {_ENDED} AND finished < ?", (since,)).rowcount
        return removed

    # jobs as records

    def search(self, search: Search) -> tuple[list[dict[str, Any]], int]:
        """A page of jobs, and how many there are in all."""
        conditions, values = list(_conditions(search)), list(_values(search))
        where = " AND ".join(conditions) or "1"
        (total,) = self._db.execute(f"SELECT count(*) FROM jobs WHERE {where}", values).fetchone()
        order = "DESC" if search.newest_first else "ASC"
        rows = self._db.execute(
            f"SELECT {_SUMMARY} FROM jobs WHERE {where} ORDER BY created {order}, seq {order} LIMIT ? OFFSET ?",
            (*values, search.limit, search.offset),
        )
        return [dict(zip(_SUMMARY.split(", "), row, strict=True)) for row in rows], total

    def record(self, id_: str) -> dict[str, Any] | None:
        """Everything about one job; JSON columns as text."""
        columns = f"{_SUMMARY}, client_id, targets, messages, meta, nodes, extra, prompt"
        row = self._db.execute(f"SELECT {columns} FROM jobs WHERE id = ?", (id_,)).fetchone()
        return None if row is None else dict(zip(columns.split(", "), row, strict=True))

    # settings

    def setting(self, name: str, default: str) -> str:
        """What was set last."""
        row = self._db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return default if row is None else row[0]

    def set(self, name: str, value: str) -> None:
        """Remember a setting."""
        self._db.execute("INSERT OR REPLACE INTO settings VALUES(?, ?)", (name, value))

    # inside

    def _count(self, where: str) -> int:
        (count,) = self._db.execute(f"SELECT count(*) FROM jobs WHERE {where}").fetchone()
        return int(count)

    @contextmanager
    def _transaction(self, durable: bool = False) -> Iterator[None]:
        """All or nothing; `durable` reaches the disk before it returns, so not even a power cut undoes it."""
        self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if durable:
                self._db.execute("PRAGMA synchronous=NORMAL")

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > len(_MIGRATIONS):
            raise Newer(
                f"the database is of version {version}, and this program knows versions up to {len(_MIGRATIONS)}"
            )
        for step in range(version, len(_MIGRATIONS)):
            self._db.executescript(f"BEGIN IMMEDIATE; {_MIGRATIONS[step]}; PRAGMA user_version={step + 1}; COMMIT;")


def _among(ids: Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
    """A condition; the ids travel as one JSON value, since SQLite bounds the number of parameters."""
    return ("1", ()) if ids is None else ("id IN (SELECT value FROM json_each(?))", (json.dumps(list(ids)),))


def _ascending(places: Iterable[tuple[int, float]]) -> Iterator[tuple[int, float]]:
    """Sort keys, each at least a little above the one before it."""
    last: tuple[int, float] | None = None
    for minus, rank in places:
        if last is not None and minus == last[0] and rank <= last[1]:
            rank = last[1] + 1e-6 * max(1.0, abs(last[1]))
        last = minus, rank
        yield last


def _conditions(search: Search) -> Iterator[str]:
    if search.states:
        yield f"state IN ({', '.join('?' * len(search.states))})"
    if search.type is not None:
        yield "seq IN (SELECT job FROM job_types WHERE type = ?)"
    for _ in search.words:
        yield f"(instr({_SEARCHED}, ?) OR instr({_SEARCHED}, ?))"
    if search.after is not None:
        yield "created >= ?"
    if search.before is not None:
        yield "created < ?"


def _values(search: Search) -> Iterator[object]:
    yield from search.states
    if search.type is not None:
        yield search.type
    for word in search.words:
        yield word.lower()
        yield json.dumps(word)[1:-1].lower()  # as clients write it that send ASCII only
    yield from (value for value in (search.after, search.before) if value is not None)
