"""The node types that a file of the editor can use: the known ones, and one for every subgraph that it defines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from graph.litegraph import INPUT_NODE, EditorFile, EditorNode, Subgraph
from graph.node_shapes import InputShape, NodeShape, Shapes
from graph.replacements import Replacement
from graph.widget_values import Bound, bind, value_of


class Library:
    """Shapes of node types and values of nodes, each found once; `replacements` tell of types known no more."""

    def __init__(self, file: EditorFile, shapes: Shapes, replacements: Mapping[str, Replacement]) -> None:
        self._shapes = shapes
        self._subgraphs = file.subgraphs
        self._replacements = replacements
        self._made: dict[str, NodeShape | None] = {}
        self._bound: dict[EditorNode, Bound] = {}

    def find(self, type_name: str) -> NodeShape | None:
        """The shape of a type; None for unknown ones, and for subgraphs that hold themselves."""
        return self._find(type_name, ())

    def bound(self, node: EditorNode) -> Bound:
        """The node's values by name."""
        if node not in self._bound:
            self._bound[node] = self._bind(node, self.find(node.type))
        return self._bound[node]

    def _bind(self, node: EditorNode, shape: NodeShape | None) -> Bound:
        found = self._replacements.get(node.type)
        return bind(node, shape, found.widgets if found else ())

    def _find(self, type_name: str, above: tuple[str, ...]) -> NodeShape | None:
        subgraph = self._subgraphs.get(type_name)
        if subgraph is None:
            return self._shapes(type_name) or self._renamed(type_name)
        if type_name in above or len(above) > 50:
            return None
        if type_name not in self._made:
            self._made[type_name] = self._define(subgraph, (*above, type_name))
        return self._made[type_name]

    def _renamed(self, type_name: str) -> NodeShape | None:
        found = self._replacements.get(type_name)
        return self._shapes(found.new) if found and found.is_renaming else None

    def _define(self, subgraph: Subgraph, above: tuple[str, ...]) -> NodeShape:
        ends: dict[int, list[tuple[str, int]]] = {}
        for link in subgraph.graph.links.values():
            if link.origin == INPUT_NODE:
                ends.setdefault(link.origin_slot, []).append((link.target, link.target_slot))
        inputs = []
        for at, slot in enumerate(subgraph.inputs):
            plain = InputShape(slot.name, slot.type, optional=True)
            promoted = (self._promoted(subgraph, end, above) for end in ends.get(at, []))
            found = next((shape for shape in promoted if shape is not None), None)
            inputs.append(replace(found, name=slot.name, control=slot.control) if found else plain)
        return NodeShape(subgraph.id, subgraph.name, tuple(inputs), tuple(slot.type for slot in subgraph.outputs))

    def _promoted(self, subgraph: Subgraph, end: tuple[str, int], above: tuple[str, ...]) -> InputShape | None:
        """The field that an end of a subgraph's input is, with what it holds there as its default."""
        node = subgraph.graph.nodes.get(end[0])
        if node is None or not 0 <= end[1] < len(node.inputs):
            return None
        shape = self._find(node.type, above)
        found = shape.find(node.inputs[end[1]].name) if shape else None
        if shape is None or found is None or not found.is_field:
            return None
        held = self._bind(node, shape)
        options = {**found.options, "default": value_of(found, held.values)}
        return replace(found, optional=True, has_button=False, options=options)
