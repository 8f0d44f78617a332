"""What one route takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.schema import Schema


@dataclass(frozen=True, slots=True)
class Operation:
    """What one route takes and gives. `answer` is the JSON of 200, None for an empty body, a text for another type.

    `also` is another status with the same answer, `error` what refusals look like if not as everywhere.
    `places` are the parts of the path that are not just any text.
    A request's body is JSON (`body`), a form (`form`) or any bytes (`content`).
    """

    answer: Schema | str | None = None
    query: Mapping[str, Schema] = field(default_factory=dict)
    places: Mapping[str, Schema] = field(default_factory=dict)
    body: Schema | None = None
    form: Schema | None = None
    content: bool = False
    status: int = 200
    needed: frozenset[str] = frozenset()
    header: Mapping[str, Schema] = field(default_factory=dict)
    also: int | None = None
    error: Schema | None = None
