"""A job: one submitted workflow, from the queue to the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

ID_LENGTH = 200
"""Characters of an id that a client chooses."""
PRIORITIES = range(-1000, 1001)


class State(StrEnum):
    """Where a job is; the names that clients read in `/api/jobs`."""

    PENDING = "pending"
    RUNNING = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


LARGEST = 10**15
"""Numbers of jobs are not larger: up to this, whole ones are the same to SQLite and to every program that reads JSON."""
ENDED = (State.COMPLETED, State.FAILED, State.CANCELLED)


@dataclass(frozen=True, slots=True)
class Submission:
    """What a client asked for, found good. `prompt` and `extra` are JSON; `prompt` is exactly what was received.

    `targets` are the nodes it is run for, `types` the node types in it, `about` what lists say of it, as JSON. The lowest `number` of the highest
    `priority` runs first.
    """

    id: str
    number: int | float
    prompt: str
    extra: str
    targets: tuple[str, ...]
    client_id: str | None = None
    priority: int = 0
    types: frozenset[str] = field(default_factory=frozenset)
    about: str = "{}"


@dataclass(frozen=True, slots=True)
class Job:
    """What the worker took from the queue."""

    id: str
    client_id: str | None
    prompt: str
    extra: str
    targets: tuple[str, ...]
    created: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job in the queue, as far as it matters who runs it: `models` are bytes by the names of model files it reads.
    `is_swept`: its cells may be shared. `items`: of a batch that may be.
    """

    id: str
    client_id: str | None
    models: Mapping[str, int] = field(default_factory=dict)
    is_swept: bool = False
    items: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended, as the history shows it; all but the first are JSON."""

    state: State
    outputs: str
    messages: str
    meta: str
    nodes: str
    error: str | None = None


class Numbers:
    """The numbers that jobs without one of their own get, counting up; a refused workflow uses one up as well."""

    def __init__(self, first: int) -> None:
        self._next = first

    def take(self) -> int:
        """The next one."""
        number = self._next
        self._next += 1
        return number

    def give_back(self, number: int) -> None:
        """Undo `take` if it was the last."""
        if self._next == number + 1:
            self._next = number
