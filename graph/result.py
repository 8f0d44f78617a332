"""What a node may give back. A closed union: the executor matches it exhaustively."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final, Generic, TypeAlias, TypeVar

from graph.document import DocNode, NodeId
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
class Inside:
    """What a node of an expansion shows. `node_id`: its id there; `display_id`: the visible node that stands for it, where
    that is not the expanded one.
    """

    node_id: NodeId
    display_id: NodeId
    ui: Ui


@dataclass(frozen=True, slots=True)
class Outputs:
    """A node's values, one for each declared output, what to show for it, and what it warned of; and, if it expanded, what
    nodes in its place have shown.

    All this belongs to the result: a later run that finds it at hand is told it again.
    """

    values: tuple[object, ...] = ()
    ui: Ui = field(default_factory=dict)
    warnings: tuple[NodeWarning, ...] = ()
    inside: tuple[Inside, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown(Generic[T]):
    """What a node function returns, declared `-> Shown[R]`, that has something to show besides its outputs R."""

    value: T
    ui: Ui


@dataclass(frozen=True, slots=True)
class Pending:
    """The result comes later, into the executor's inbox, and says so through `future`."""

    future: Future[Outputs | Pending | Need | Expand | NodeError | Interrupted]


@dataclass(frozen=True, slots=True)
class Need:
    """The node wants these of its lazy inputs, and is called again once they are computed."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """A value, and the result it is from: as an input of an expansion's node it is as good as a link to that."""

    value: object
    source: str
    slot: int


@dataclass(frozen=True, slots=True)
class Expand:
    """A subgraph that takes the node's place.

    Links in `nodes` lead to another of `nodes`, or else to where the node's own links lead. Their inputs may also hold
    a Made, or any value for an input that has no widget. `outputs` are links or values. They become the node's
    outputs, or are handed to `then`, which returns the next Result: so a loop is a node that expands, looks, and
    expands again. Nodes that write files run too. `display`: which visible node stands for an inner one, where that
    is not the node itself.
    """

    nodes: Mapping[NodeId, DocNode]
    outputs: tuple[object, ...] = ()
    then: Callable[[tuple[Made, ...]], Result] | None = None
    ui: Ui = field(default_factory=dict)
    display: Mapping[NodeId, NodeId] = field(default_factory=dict)


Result: TypeAlias = Outputs | Pending | Need | Expand


@dataclass(frozen=True, slots=True)
class Items:
    """Several values on one link: a node that takes single ones is called for each."""

    values: tuple[object, ...]


def listed(values: Sequence[object]) -> object:
    """What stands on a link for these values: of one, just that."""
    return values[0] if len(values) == 1 else Items(tuple(values))


@dataclass(frozen=True, slots=True)
class Blocked:
    """A value that keeps every node that reads it from running, and travels on through their outputs.

    `message`, if there is one, is told once, at the first node that is kept from running.
    """

    message: str = ""


class _Sentinel(Enum):
    LATER = "not computed"


LATER: Final = _Sentinel.LATER
"""What stands for a lazy input that nobody has asked for yet."""


class NeededError(Exception):
    """A node function asked for a lazy input that is not computed yet; it is called again once it is."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True)  # with slots, a generic alias of it could not be called on Python 3.11
class Lazy(Generic[T]):
    """An input that is computed only if the node function asks for it; ask before doing anything else."""

    name: str
    _value: object

    def get(self) -> T:
        """The value. If it is not computed yet, the call ends here, and begins anew when it is."""
        if self._value is LATER:
            raise NeededError(self.name)
        return self._value  # type: ignore[return-value]


def files_of(value: object) -> tuple[tuple[Path, str], ...]:
    """The files that a value rests on, each with what it was: a handle says so by an attribute `files`.

    A result with such a value stands only while they are there and the same.
    """
    if type(value) is Items:
        return tuple(file for item in value.values for file in files_of(item))
    found: tuple[tuple[Path, str], ...] = getattr(value, "files", ())
    return found
