"""A graph that can run: the nodes of a document, each with its type, and with all of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from graph.document import Link, NodeId
from graph.errors import GraphError, Severity
from graph.inputs import InputSpec
from graph.order import reachable
from graph.spec import NodeSpec

Input: TypeAlias = object
"""What `BoundNode.inputs` holds: a Link, a FileRef, a plain value, or Alternatives of the last two; in an expansion also
a Made, or any other value."""


@dataclass(slots=True, eq=False)  # not frozen, which takes four times as long to make; there may be 20,000
class BoundNode:
    """A node whose inputs are all there, in declared order and of the declared kind. Nobody changes one.

    `declared` are its inputs where those of its type depend on what a document gives; see `input_specs`.
    """

    id: NodeId
    spec: NodeSpec
    inputs: Mapping[str, Input]
    declared: tuple[InputSpec, ...] = ()

    @property
    def input_specs(self) -> tuple[InputSpec, ...]:
        """What each of `inputs` takes, in the same order."""
        return self.declared or self.spec.inputs

    def links(self) -> Iterator[Link]:
        """The inputs that come from other nodes."""
        return (value for value in self.inputs.values() if type(value) is Link)


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """What can run: `nodes` are those that the runnable `targets` rest on, `order` the same with sources first.

    `problems` covers the whole document: an error keeps at least one wanted target from running (those are
    `blocked`), a warning stops nothing. `swept`: some input has several values, or a node gathers; see `multiply`.
    """

    nodes: Mapping[NodeId, BoundNode]
    order: tuple[NodeId, ...]
    targets: tuple[NodeId, ...]
    blocked: tuple[NodeId, ...] = ()
    problems: tuple[GraphError, ...] = ()
    swept: bool = False

    @property
    def errors(self) -> tuple[GraphError, ...]:
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[GraphError, ...]:
        return tuple(problem for problem in self.problems if problem.severity is Severity.WARNING)

    def sources(self) -> dict[NodeId, list[NodeId]]:
        """What each node reads from, in order."""
        return {node_id: [link.node for link in self.nodes[node_id].links()] for node_id in self.order}

    def only(self, targets: Iterable[NodeId]) -> Graph:
        """The same for these nodes of it alone, and what they rest on; for those that it does not have, nothing."""
        wanted = tuple(target for target in targets if target in self.nodes)
        kept = reachable(wanted, self.sources())
        order = tuple(node_id for node_id in self.order if node_id in kept)
        return replace(self, nodes={node_id: self.nodes[node_id] for node_id in order}, order=order, targets=wanted)


Rule: TypeAlias = Callable[[Graph], Iterable[GraphError]]
"""A policy beyond types: what it finds wrong with a graph that could run otherwise."""
