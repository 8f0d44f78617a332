"""What the database holds, as clients see it: queue, history, jobs. Reads only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from server.database import Database
from server.job import State

PAGE = 2**18
"""Characters of long answers that are read at once."""
_PAGE_JOBS = 200

_ENDED = "ended IS NOT NULL AND started IS NOT NULL"
_QUEUED = f"state IN ('{State.PENDING}', '{State.RUNNING}')"
_ENTRY = """json_quote(id) || ':{"prompt":[' || json_quote(number) || ',' || json_quote(id) || ',' || prompt || ',' ||
    extra || ',' || targets || '],"outputs":' || outputs || ',"status":{"status_str":' ||
    iif(state = 'completed', '"success","completed":true', '"error","completed":false') ||
    ',"messages":' || messages || '},"meta":' || meta || '}'"""
_ITEM = "'[' || json_quote(number) || ',' || json_quote(id) || ',' || prompt || ',' || extra || ',' || targets || ']'"
_SEARCHED = "lower(prompt || ' ' || ifnull(outputs, '') || ' ' || ifnull(error, '') || ' ' || id)"
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
"""As SQLite's lower does it."""
_SUMMARY = "id, state, number, priority, created, started, finished, outputs, error, attempts, about"


@dataclass(frozen=True, slots=True)
class Search:
    """Which jobs to list. Times are seconds since 1970."""

    states: tuple[State, ...] = ()
    type: str | None = None
    labels: tuple[tuple[str, str], ...] = ()  # of the Comfy API v2: name and value, all of them
    words: tuple[str, ...] = ()  # each to be found in the prompt, the outputs, the error or the id
    after: float | None = None
    before: float | None = None
    newest_first: bool = True
    limit: int = 100
    offset: int = 0


class Reader:
    """One connection, used by one thread. Text that clients sent as JSON goes out again as it came in.

    Raises what Database raises.
    """

    def __init__(self, path: Path) -> None:
        self._db = Database(path)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def together(self, durable: bool) -> AbstractContextManager[None]:
        """Nothing is written here."""
        return nullcontext()

    def queue(self) -> tuple[list[int], list[int]]:
        """Running and waiting jobs, in the order in which they will run; `items` shows them."""
        queued = f"SELECT seq, state FROM jobs WHERE {_QUEUED} ORDER BY priority DESC, rank, seq"
        rows = self._db.execute(queued).fetchall()  # in one look: a job that begins meanwhile is in one of the lists
        running, waiting = ([seq for seq, found in rows if found == state] for state in (State.RUNNING, State.PENDING))
        return running, waiting

    def items(self, jobs: Sequence[int]) -> tuple[list[str], int]:
        """The first of `jobs` as the JSON of `/queue`, about a page of them, and how many those were."""
        return self._page(f"SELECT {_ITEM} FROM jobs WHERE seq = ? AND {_QUEUED}", jobs)

    def remaining(self) -> int:
        """Jobs that wait or run."""
        (count,) = self._db.execute(f"SELECT count(*) FROM jobs WHERE {_QUEUED}").fetchone()
        return int(count)

    def position(self, id_: str) -> int | None:
        """How many jobs will run before a waiting one; None if it does not wait."""
        queued = f"SELECT id FROM jobs WHERE state = '{State.PENDING}' ORDER BY priority DESC, rank, seq"
        return next((place for place, (found,) in enumerate(self._db.execute(queued)) if found == id_), None)

    def history(self, limit: int | None, offset: int | None) -> list[int]:
        """Jobs that have ended, oldest first: the newest `limit`, or that many from `offset`; `entries` shows them."""
        limit = -1 if limit is None else limit
        if offset is None:
            newest = f"SELECT seq FROM jobs WHERE {_ENDED} ORDER BY ended DESC, seq DESC LIMIT ?"
            return [row[0] for row in self._db.execute(newest, (limit,))][::-1]
        page = f"SELECT seq FROM jobs WHERE {_ENDED} ORDER BY ended, seq LIMIT ? OFFSET ?"
        return [row[0] for row in self._db.execute(page, (limit, offset))]

    def entries(self, jobs: Sequence[int]) -> tuple[list[str], int]:
        """The first of `jobs` as members of the object that `/history` answers, and how many those were."""
        return self._page(f"SELECT {_ENTRY} FROM jobs WHERE seq = ? AND {_ENDED}", jobs)

    def entry(self, id_: str) -> str | None:
        """One job's history entry, if it has ended."""
        row = self._db.execute(f"SELECT {_ENTRY} FROM jobs WHERE id = ? AND {_ENDED}", (id_,)).fetchone()
        return None if row is None else row[0]

    def search(self, search: Search) -> tuple[list[dict[str, Any]], int]:
        """A page of jobs, and how many there are in all."""
        conditions, values = list(_conditions(search)), list(_values(search))
        where = " AND ".join(conditions) or "1"
        (total,) = self._db.execute(f"SELECT count(*) FROM jobs WHERE {where}", values).fetchone()
        order = "DESC" if search.newest_first else "ASC"
        rows = self._db.execute(
            f"SELECT {_SUMMARY} FROM jobs WHERE {where} ORDER BY seq {order} LIMIT ? OFFSET ?",
            (*values, search.limit, search.offset),
        )
        return [dict(zip(_SUMMARY.split(", "), row, strict=True)) for row in rows], total

    def record(self, id_: str) -> dict[str, Any] | None:
        """Everything about one job; JSON columns as text."""
        columns = f"{_SUMMARY}, client_id, targets, messages, meta, nodes, extra, prompt"
        row = self._db.execute(f"SELECT {columns} FROM jobs WHERE id = ?", (id_,)).fetchone()
        return None if row is None else dict(zip(columns.split(", "), row, strict=True))

    def _page(self, statement: str, jobs: Sequence[int]) -> tuple[list[str], int]:
        """What `statement` gives for one job after the other, until it is enough for once; some may be gone."""
        found: list[str] = []
        size = 0
        for count, seq in enumerate(jobs, 1):
            for (text,) in self._db.execute(statement, (seq,)):
                found.append(text)
                size += len(text)
            if size > PAGE or count == _PAGE_JOBS:
                return found, count
        return found, len(jobs)


def _conditions(search: Search) -> Iterator[str]:
    if search.states:
        yield f"state IN ({', '.join('?' * len(search.states))})"
        yield f"NOT (state = '{State.CANCELLED}' AND started IS NULL)"  # who asks for states means those that have run
    if search.type is not None:
        yield "seq IN (SELECT job FROM job_types WHERE type = ?)"
    for _ in search.labels:
        yield "EXISTS(SELECT 1 FROM json_each(about, '$.labels') WHERE key = ? AND value = ?)"
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
    for label in search.labels:
        yield from label
    for word in search.words:
        yield word.translate(_LOWER)
        yield json.dumps(word)[1:-1].lower()  # as clients write it that send ASCII only
    yield from (value for value in (search.after, search.before) if value is not None)
