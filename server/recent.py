"""Workflows accepted a moment ago: what is accepted mostly runs next, and need not be read a second time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from graph.bound import Graph
from graph.document import Document, parse
from graph.patient_json import loads
from server.job import Job, Submission

MOST = 4
CHARACTERS = 2**20
"""Longer workflows are read again: what reading makes of them takes many times their length."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the JSON of a job says: its workflow, and `extra_data`. `graph`: what was built of it, if nothing is wrong."""

    document: Document
    extra: Mapping[str, object]
    graph: Graph | None = None


def read_given(job: Job) -> Given:
    """Read a job's JSON again. `extra_data` went in as an object."""
    extra = loads(job.extra)
    return Given(parse(job.prompt), extra if isinstance(extra, dict) else {})


def is_kept(job: Submission) -> bool:
    """Whether what a job was read as is short enough to be kept."""
    return len(job.prompt) + len(job.extra) <= CHARACTERS


class Recent:
    """What the last few jobs were read as, until they are taken. The database has them all, as they were sent."""

    def __init__(self) -> None:
        self._given: OrderedDict[str, Given] = OrderedDict()

    def keep(self, job: Submission, given: Given) -> None:
        """Remember what the JSON of a job was read as."""
        if not is_kept(job):
            return
        self._given[job.id] = given
        if len(self._given) > MOST:
            self._given.popitem(last=False)

    def look(self, job: str) -> Given | None:
        """What a job was read as, which stays there."""
        return self._given.get(job)

    def take(self, job: str) -> Given | None:
        """What a job was read as, if it is still there; it is not afterwards."""
        return self._given.pop(job, None)
