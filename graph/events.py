"""What a run tells its sink, in order: RunStarted, NodesCached, nodes, and exactly one of the three last.

A run that is stopped before its turn tells only RunInterrupted. In a swept graph every event names the node that was
written, with the `cell` it is about: a node is started and finished once for each of its copies.

What an expansion brought has an id of its own, such as "9.2", and a `display_id`: the node of the document that stands
for it. Of all other nodes `display_id` is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from graph.document import NodeId
from graph.errors import NodeError
from graph.recipe import Recipe
from graph.result import NodeWarning, Ui
from graph.sweep import Axis, Cell
from graph.thrift import Thrift


def _no_recipes(parts: bool) -> Iterable[Recipe]:
    return ()


@dataclass(frozen=True, slots=True)
class RunStarted:
    """`nodes`: all that the targets rest on, sources first. `axes` of its sweep; `copies` of the nodes that vary.
    `recipes(parts)` says, when it is called, what names the results of all nodes, part by part if that is wanted: for
    those who explain the run.
    """

    run_id: str
    nodes: tuple[NodeId, ...]
    axes: tuple[Axis, ...] = ()
    copies: Mapping[NodeId, int] = field(default_factory=dict)
    recipes: Callable[[bool], Iterable[Recipe]] = field(default=_no_recipes, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class NodesCached:
    """`nodes` need not run: their results are at hand, or nobody needs them any more. Of nodes that have to run for some
    cells only, `cells` has the others.
    """

    run_id: str
    nodes: tuple[NodeId, ...]
    cells: Mapping[NodeId, tuple[Cell, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """The node was called, or handed to its lane."""

    run_id: str
    node_id: NodeId
    cell: Cell | None = None
    display_id: NodeId = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """`preview` computes a picture when called; a sink that shows none leaves it alone."""

    run_id: str
    node_id: NodeId
    done: float
    total: float
    preview: Callable[[], object] | None = None
    cell: Cell | None = None
    display_id: NodeId = ""


@dataclass(frozen=True, slots=True)
class NodeRetried:
    """The node ran out of memory, as `message` says, and is called again from its start, as `thrift` says."""

    run_id: str
    node_id: NodeId
    thrift: Thrift
    message: str
    cell: Cell | None = None
    display_id: NodeId = ""


@dataclass(frozen=True, slots=True)
class NodeWarned:
    """The node left something out, now or when the result that is at hand was made."""

    run_id: str
    node_id: NodeId
    warning: NodeWarning
    display_id: NodeId = ""


@dataclass(frozen=True, slots=True)
class NodeFinished:
    """`cached`: it did not run, its result was at hand; told only of targets and of nodes with an equal twin.

    `seconds` counts from NodeStarted, so it includes waiting for a thread of the io lane. `peak_bytes`: the most memory
    in use while a device node ran, where that can be told.
    """

    run_id: str
    node_id: NodeId
    ui: Ui
    seconds: float = 0.0
    cached: bool = False
    cell: Cell | None = None
    peak_bytes: int | None = None
    display_id: NodeId = ""


@dataclass(frozen=True, slots=True)
class RunFailed:
    """The run ended with a node's failure."""

    run_id: str
    error: NodeError
    display_id: NodeId = ""


@dataclass(frozen=True, slots=True)
class RunInterrupted:
    """The run was stopped; `node_id` is the node that was under way, if one was."""

    run_id: str
    node_id: NodeId = ""
    display_id: NodeId = ""


@dataclass(frozen=True, slots=True)
class RunFinished:
    """Every target has its result."""

    run_id: str


Event: TypeAlias = (
    RunStarted
    | NodesCached
    | NodeStarted
    | Progress
    | NodeRetried
    | NodeWarned
    | NodeFinished
    | RunFailed
    | RunInterrupted
    | RunFinished
)
