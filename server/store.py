"""Jobs on disk: queue, history, reports of jobs that have ended, and what the operator set."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from server.database import Database
from server.job import ENDED, Job, Outcome, State, Submission, Waiting
from server.running import Crash

TRIES = 2
"""How often the server may stop in the same node of a job before the job has failed."""
_REPORT = """'{"prompt_id": ' || json_quote(id) || ', "status": ' || json_quote(state) || ', "outputs": ' || outputs ||
    ', "error": ' || coalesce(error, 'null') || '}'"""


class QueueFull(Exception):
    """No more jobs may wait."""


class IdTaken(Exception):
    """The id belongs to another prompt."""


class NotEnded(Exception):
    """The job waits, runs, or has done what it was to do: there is nothing to try again."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """`number` as stored; `repeated` if the same job had been accepted before. `remaining`: jobs that wait or run now."""

    number: int | float
    repeated: bool
    remaining: int


@dataclass(frozen=True, slots=True)
class Report:
    """That a job has ended, for its webhook at `url`, of which `host` is the part before the path. `tries` are those
    that failed so far.
    """

    seq: int
    job: str
    host: str
    url: str
    body: str
    tries: int


class Store:
    """One connection, used by one thread. Text that clients sent as JSON goes out again as it came in.

    Raises what Database raises.
    """

    def __init__(self, path: Path) -> None:
        self._db = Database(path)
        self._opened, self._steady = time.time(), time.monotonic()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def together(self, durable: bool) -> AbstractContextManager[None]:
        """What is done within is committed at once, or not at all."""
        return self._db.transaction(durable)

    # the queue

    def accept(self, job: Submission, bound: int) -> Accepted:
        """Put `job` on disk. Raises QueueFull, or IdTaken for an id with another prompt."""
        with self._db.transaction():
            waiting, running = self._queued()
            if waiting < bound and self._insert(job):
                return Accepted(job.number, repeated=False, remaining=waiting + 1 + running)
            known = self._db.execute("SELECT number, prompt FROM jobs WHERE id = ?", (job.id,)).fetchone()
            if known is None:
                raise QueueFull
            if known[1] != job.prompt:
                raise IdTaken(job.id)
            return Accepted(known[0], repeated=True, remaining=waiting + running)

    def _insert(self, job: Submission) -> bool:
        """Whether there was none of its id."""
        inserted = self._db.execute(
            "INSERT INTO jobs(id, number, state, priority, rank, client_id, created, targets, extra, prompt, about)"
            " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(id) DO NOTHING RETURNING seq",
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
                job.about,
            ),
        ).fetchone()
        if inserted is None:
            return False
        types = "INSERT INTO job_types(type, job) SELECT value, ? FROM json_each(?)"
        self._db.execute(types, (*inserted, json.dumps(list(job.types))))
        return True

    def take(self, id_: str | None = None) -> Job | None:
        """The next job, or that of an id, now running; None if it, or nothing, waits."""
        place = "" if id_ is None else " AND id = ?"
        row = self._db.execute(
            f"UPDATE jobs SET state = '{State.RUNNING}', started = ? WHERE seq ="
            f" (SELECT seq FROM jobs WHERE state = '{State.PENDING}'{place} ORDER BY priority DESC, rank, seq LIMIT 1)"
            " RETURNING id, client_id, prompt, extra, targets, created",
            (time.time(), *(() if id_ is None else (id_,))),
        ).fetchone()
        if row is None:
            return None
        id_, client_id, prompt, extra, targets, created = row
        return Job(id_, client_id, prompt, extra, tuple(json.loads(targets)), created)

    def waiting(self, most: int) -> list[Waiting]:
        """The first `most` jobs of each client, and as many sweeps, in the order in which they would run if there were no
        others.
        """
        rows = self._db.execute(
            "SELECT id, client_id, models, swept, batch FROM (SELECT id, client_id, json_extract(about, '$.models') AS"
            " models, json_extract(about, '$.swept') AS swept, json_extract(about, '$.batch') AS batch, priority, rank, seq, row_number() OVER"
            " (PARTITION BY client_id, json_extract(about, '$.swept') ORDER BY priority DESC, rank, seq) AS place"
            f" FROM jobs WHERE state = '{State.PENDING}') WHERE place <= ? ORDER BY priority DESC, rank, seq",
            (most,),
        )
        return [
            Waiting(id_, client_id, json.loads(models or "{}"), bool(swept), batch or 0)
            for id_, client_id, models, swept, batch in rows
        ]

    def unfinished(self) -> list[str]:
        """The ids of the jobs that wait or run."""
        states = f"SELECT id FROM jobs WHERE state IN ('{State.PENDING}', '{State.RUNNING}')"
        return [id_ for (id_,) in self._db.execute(states)]

    def finish(self, id_: str, outcome: Outcome) -> int:
        """Record how a running job ended. Returns how many wait."""
        with self._db.transaction():
            ended = self._db.execute(
                "UPDATE jobs SET state = ?, finished = ?, outputs = ?, messages = ?, meta = ?, nodes = ?, error = ?"
                f" WHERE id = ? AND state = '{State.RUNNING}' RETURNING seq",
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
            ).fetchall()
            self._report(ended)
            return self._waiting()

    def release(self, id_: str) -> None:
        """Put a running job back where it was in the queue: the server stops, and it was not the job's fault."""
        self._db.execute(
            f"UPDATE jobs SET state = '{State.PENDING}', started = NULL WHERE id = ? AND state = '{State.RUNNING}'",
            (id_,),
        )

    def lost(self, id_: str, nodes: Sequence[str], tries: int) -> int:
        """The worker of a running job was lost while `nodes` of it ran: how often that now has happened in a row in the
        same node. Up to `tries` the job waits again, where it was; then it is left running, for its failure to be told.
        """
        with self._db.transaction():
            before, told = self._db.execute("SELECT attempts, crashed_in FROM jobs WHERE id = ?", (id_,)).fetchone()
            # where no node had begun, it is the job's beginning that is counted
            crash = Crash(id_, tuple(nodes) or ("",))
            attempts, crashed_in = _counted(id_, before, json.loads(told or "[]"), crash)
            self._db.execute(
                "UPDATE jobs SET attempts = ?, crashed_in = ? WHERE id = ?", (attempts, json.dumps(crashed_in), id_)
            )
            if attempts < tries:
                self.release(id_)
        return attempts

    def recover(self, crash: Crash | None = None, tries: int = TRIES) -> tuple[int, int]:
        """After a crash: jobs that were running wait again, or have failed. Returns how many of each.

        A job has failed when the server has stopped `tries` times in a row while the same node of it ran. `crash` is
        what ran; where nothing is known of it, every crash counts.
        """
        with self._db.transaction():
            jobs = f"SELECT id, attempts, crashed_in FROM jobs WHERE state = '{State.RUNNING}'"
            for id_, before, nodes in self._db.execute(jobs).fetchall():
                attempts, crashed_in = _counted(id_, before, json.loads(nodes or "[]"), crash)
                self._db.execute(
                    "UPDATE jobs SET attempts = ?, crashed_in = ? WHERE id = ?", (attempts, json.dumps(crashed_in), id_)
                )
            failed = self._fail_crashed(tries)
            again = self._db.execute(
                f"UPDATE jobs SET state = '{State.PENDING}', started = NULL WHERE state = '{State.RUNNING}'"
            ).rowcount
        return again, failed

    def _fail_crashed(self, tries: int) -> int:
        error = {
            "exception_type": "ServerStopped",
            "exception_message": f"the server stopped {tries} times while this job was running; it is not tried again",
            "node_id": "",
            "node_type": "",
            "traceback": [],
        }
        failed = self._db.execute(
            f"UPDATE jobs SET state = '{State.FAILED}', finished = ?, outputs = '{{}}', meta = '{{}}', nodes = '{{}}',"
            " error = json_set(?, '$.node_id', ifnull(json_extract(crashed_in, '$[0]'), '')),"
            " messages = json_array(json_array('execution_error', json_set(?, '$.prompt_id', id,"
            " '$.node_id', ifnull(json_extract(crashed_in, '$[0]'), ''),"
            " '$.executed', json_array(), '$.timestamp', ?)))"
            f" WHERE state = '{State.RUNNING}' AND attempts >= ? RETURNING seq",
            (time.time(), json.dumps(error), json.dumps(error), int(time.time() * 1000), tries),
        ).fetchall()
        self._report(failed)
        return len(failed)

    def retry(self, id_: str, number: int, bound: int) -> bool:
        """Put a job that failed or was cancelled back into the queue, as `number`; whether there is one of that id.

        It keeps its id, and what it left in the history gives way to what it does now. Raises NotEnded, or QueueFull.
        """
        with self._db.transaction():
            found = self._db.execute("SELECT state FROM jobs WHERE id = ?", (id_,)).fetchone()
            if found is None:
                return False
            if found[0] not in (State.FAILED, State.CANCELLED):
                raise NotEnded(id_)
            if self._waiting() >= bound:
                raise QueueFull
            self._db.execute(
                f"UPDATE jobs SET state = '{State.PENDING}', number = ?, rank = ?, attempts = 0,"
                " crashed_in = NULL, started = NULL, finished = NULL, error = NULL, outputs = NULL, messages = NULL, meta = NULL, nodes = NULL"
                " WHERE id = ?",
                (number, float(number), id_),
            )
        return True

    def cancel_pending(self, ids: Sequence[str] | None) -> int:
        """Take jobs out of the queue, all if `ids` is None; running ones stay. Returns how many."""
        where, values = _among(ids)
        with self._db.transaction():
            cancelled = self._db.execute(
                f"UPDATE jobs SET state = '{State.CANCELLED}', finished = ?, outputs = '{{}}', messages = '[]',"
                f" meta = '{{}}', nodes = '{{}}' WHERE state = '{State.PENDING}' AND {where} RETURNING seq",
                (time.time(), *values),
            ).fetchall()
            self._report(cancelled)
        return len(cancelled)

    def set_priority(self, id_: str, priority: int) -> bool:
        """Whether the job was waiting."""
        changed = self._db.execute(
            f"UPDATE jobs SET priority = ? WHERE id = ? AND state = '{State.PENDING}'", (priority, id_)
        )
        return changed.rowcount > 0

    def move(self, id_: str, place: int) -> bool:
        """Have a waiting job be the one at `place`, counted from 0; the others keep their order."""
        with self._db.transaction():
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

    def next_number(self) -> int:
        """Above every number that the server gave, which are whole; clients' own are not."""
        whole = "SELECT max(abs(number)) FROM jobs WHERE typeof(number) = 'integer'"
        (highest,) = self._db.execute(whole).fetchone()
        return 0 if highest is None else int(highest) + 1

    # the history

    def forget(self, ids: Sequence[str] | None) -> int:
        """Remove jobs that have ended, all if `ids` is None. Returns how many."""
        where, values = _among(ids)
        states = ", ".join(f"'{state}'" for state in ENDED)
        return self._db.execute(f"DELETE FROM jobs WHERE state IN ({states}) AND {where}", values).rowcount

    def prune(self, keep: int, days: float) -> int:
        """Remove those beyond `keep` that ended first, and those that ended more than `days` ago; 0 keeps all."""
        removed = 0
        if keep:
            old = "SELECT seq FROM jobs WHERE ended IS NOT NULL ORDER BY ended DESC, seq DESC LIMIT -1 OFFSET ?"
            removed += self._db.execute(f"DELETE FROM jobs WHERE seq IN ({old})", (keep,)).rowcount
        if days:
            since = self._now() - days * 86400
            removed += self._db.execute("DELETE FROM jobs WHERE finished < ?", (since,)).rowcount
        return removed

    # reports

    def reports(self, most: int, without: Collection[str] = ()) -> list[Report]:
        """Those that are due, the oldest first, but for the hosts `without`."""
        due = (
            "SELECT seq, job, host, url, body, tries FROM reports WHERE due <= ?"
            " AND host NOT IN (SELECT value FROM json_each(?)) ORDER BY due LIMIT ?"
        )
        return [Report(*row) for row in self._db.execute(due, (time.time(), json.dumps(list(without)), most))]

    def report_again(self, report: Report, pause: float) -> None:
        """It failed once more; try again in `pause` seconds."""
        later = time.time() + pause
        self._db.execute("UPDATE reports SET tries = tries + 1, due = ? WHERE seq = ?", (later, report.seq))

    def report_done(self, report: Report) -> None:
        """It has arrived, or is given up."""
        self._db.execute("DELETE FROM reports WHERE seq = ?", (report.seq,))

    # settings

    def setting(self, name: str, default: str) -> str:
        """What was set last."""
        row = self._db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return default if row is None else row[0]

    def set(self, name: str, value: str) -> None:
        """Remember a setting."""
        self._db.execute("INSERT OR REPLACE INTO settings VALUES(?, ?)", (name, value))

    # inside

    def _now(self) -> float:
        """The time, unless the clock has run ahead since the database was opened."""
        return min(time.time(), self._opened + time.monotonic() - self._steady)

    def _report(self, jobs: Sequence[tuple[int]]) -> None:
        """Have the webhooks of jobs that have ended told so."""
        url = "json_extract(extra, '$.webhook')"
        self._db.executemany(
            f"INSERT INTO reports(job, url, body, due) SELECT id, {url}, {_REPORT}, finished FROM jobs"
            f" WHERE seq = ? AND {url} IS NOT NULL",
            jobs,
        )

    def _waiting(self) -> int:
        return self._queued()[0]

    def _queued(self) -> tuple[int, int]:
        """How many jobs wait, and how many run."""
        states = (
            f"SELECT state, count(*) FROM jobs WHERE state IN ('{State.PENDING}', '{State.RUNNING}') GROUP BY state"
        )
        counts = dict(self._db.execute(states).fetchall())
        return counts.get(State.PENDING, 0), counts.get(State.RUNNING, 0)


def _counted(id_: str, before: int, nodes: list[str], crash: Crash | None) -> tuple[int, list[str]]:
    """How often a job has now crashed in a row, and in which nodes, when it had `before` times in `nodes`."""
    if crash is None:
        return before + 1, nodes
    if crash.job != id_ or not crash.nodes:  # the server stopped, but not in this job
        return before, nodes
    same = [node for node in crash.nodes if node in nodes]
    return (before + 1, same) if same else (1, list(crash.nodes))


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
