"""Where links lead: to nodes of the same graph, or to those around the node that the graph takes the place of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self, TypeAlias

from graph.build import BoundNode
from graph.document import NodeId
from graph.fingerprint import Fingerprint
from graph.result import Inside, Outputs


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """One graph: its nodes by id, and the names of their results.

    An expansion's scope has an `outer` one. Its ids are told with `prefix` before them, so that an inner node "2" of
    node "9" is "9.2" to whoever watches; `display` says which visible node stands for each, and `shown` gathers what they
    show.
    """

    nodes: Mapping[NodeId, BoundNode]
    names: Mapping[NodeId, Fingerprint]
    outer: Scope | None = None
    prefix: str = ""
    display: Mapping[NodeId, NodeId] = field(default_factory=dict)
    shown_at: NodeId = ""
    depth: int = 0
    shown: list[Inside] = field(default_factory=list)
    _found: dict[NodeId, Place] = field(default_factory=dict)

    def find(self, node_id: NodeId) -> Place | None:
        """The node that a link with this id leads to, here or further out."""
        if (node := self.nodes.get(node_id)) is not None:
            return node, self.names[node_id], self
        if (known := self._found.get(node_id)) is not None:
            return known
        scope = self.outer
        while scope is not None:
            place = scope._found.get(node_id)
            if place is None and (node := scope.nodes.get(node_id)) is not None:
                place = node, scope.names[node_id], scope
            if place is not None:
                self._found[node_id] = place
                return place
            scope = scope.outer
        return None

    def place(self, node_id: NodeId) -> Place:
        """As `find`, for a link that was checked."""
        if (place := self.find(node_id)) is None:
            raise KeyError(node_id)
        return place

    def name(self, node_id: NodeId) -> Fingerprint:
        """The name of what a node gives."""
        return self.place(node_id)[1]

    def bound(self, node_id: NodeId) -> BoundNode | None:
        """The node of this id, here or further out."""
        place = self.find(node_id)
        return None if place is None else place[0]

    def visible(self, node_id: NodeId) -> NodeId:
        """Which node of the submitted document stands for one of this scope; nothing if it is itself one."""
        return self.display.get(node_id, self.shown_at) if self.outer is not None else ""

    def gather(self, node: BoundNode, outputs: Outputs) -> list[Inside]:
        """Note what one of its nodes shows because an expansion brought it, and return that."""
        is_inner = self.outer is not None
        at = self.display.get(node.id, "") if is_inner else node.id
        shown = [Inside(f"{node.id}.{it.node_id}", it.display_id or at, it.ui) for it in outputs.inside]
        if is_inner and outputs.ui and node.spec.terminal:
            shown.append(Inside(node.id, at, outputs.ui))
        self.shown.extend(shown)
        return shown

    def outwards(self) -> Iterator[Self]:
        """This scope and those around it."""
        scope: Self | None = self
        while scope is not None:
            yield scope
            scope = scope.outer  # type: ignore[assignment]


Place: TypeAlias = tuple[BoundNode, Fingerprint, Scope]
"""A node, the name of what it gives, and where it stands."""
