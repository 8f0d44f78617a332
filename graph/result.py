"""What a node may give back. A closed union: the executor matches it exhaustively."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from graph.errors import Interrupted, NodeError

T = TypeVar("T")

Ui: TypeAlias = Mapping[str, Sequence[object]]
"""What a client shows for a node. Files it wrote are `{"filename", "subfolder", "type"}`, type input | output | temp."""


@dataclass(frozen=True, slots=True)
class NodeWarning:
    """What a node left out or did otherwise than asked, in a sentence; `input_name`: the input that it is about."""

    message: str
    input_name: str = ""


@dataclass(frozen=True, slots=True)
class Outputs:
    """A node's values, one for each declared output, what to show for it, and what it warned of.

    The warnings belong to the result: a later run that finds it at hand is told them again.
    """

    values: tuple[object, ...] = ()
    ui: Ui = field(default_factory=dict)
    warnings: tuple[NodeWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown(Generic[T]):
    """What a node function returns, declared `-> Shown[R]`, that has something to show besides its outputs R."""

    value: T
    ui: Ui


@dataclass(frozen=True, slots=True)
class Pending:
    """The result comes later, into the executor's inbox, and says so through `future`."""

    future: Future[Outputs | Pending | NodeError | Interrupted]


Result: TypeAlias = Outputs | Pending
