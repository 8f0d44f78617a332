"""From a file of the editor to the API format: subgraphs unfolded, bypassed nodes passed by, values by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeAlias

from graph.bypass import passage
from graph.document import DocNode, Document, Link, NodeId, literal
from graph.errors import GraphError, GraphErrors, Severity
from graph.group_nodes import with_group_nodes
from graph.library import Library
from graph.litegraph import (
    BYPASSED,
    GET_NODE,
    INPUT_NODE,
    MUTED,
    NOTES,
    PASSING,
    PRIMITIVE,
    REROUTE,
    SET_NODE,
    SHELLS,
    EditorFile,
    EditorGraph,
    EditorLink,
    EditorNode,
    Subgraph,
)
from graph.node_shapes import InputShape, Shapes
from graph.replacements import RENAMED, Replacement, with_replacements
from graph.widget_values import active_inputs, value_of

MOST_NODES = 20_000
"""Nodes that a file may unfold to: subgraphs in subgraphs multiply."""
_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Flattened:
    """A document, and what of the file is not in it."""

    document: Document
    warnings: tuple[GraphError, ...] = ()


@dataclass(frozen=True, slots=True)
class _Value:
    """What comes in where a link was: the value of a primitive, or of a subgraph's instance."""

    value: object


class _Nothing(Enum):
    """Why a search found no source: it ended at an input that is open outside, or somewhere on the way."""

    OPEN = auto()
    LOST = auto()


_Source: TypeAlias = Link | _Value | _Nothing


@dataclass(frozen=True, slots=True, eq=False)
class _Level:
    """The root, or the inside of one instance of a subgraph. `mode` is that of the instances around it."""

    graph: EditorGraph
    prefix: str = ""
    mode: int = 0
    depth: int = 0
    outer: _Outside | None = None
    entered: dict[str, _Level] = field(default_factory=dict)

    def mode_of(self, node: EditorNode) -> int:
        """The node's own mode, unless an instance around it is muted or bypassed."""
        return self.mode or node.mode


@dataclass(frozen=True, slots=True, eq=False)
class _Outside:
    level: _Level
    instance: EditorNode
    subgraph: Subgraph


@dataclass(frozen=True, slots=True)
class _Step:
    """Where a search for a source has got to: a link to follow back, and the type that is wanted."""

    level: _Level
    link: str
    type: str


def flatten(
    file: EditorFile,
    shapes: Shapes,
    replacements: Mapping[str, Replacement] = RENAMED,
    most_nodes: int = MOST_NODES,
) -> Flattened:
    """The graph that an editor would send for the file.

    Raises GraphErrors if it unfolds to more than `most_nodes`, or a subgraph holds itself.
    """
    made = _Flattening(with_group_nodes(file, shapes), shapes, replacements, most_nodes)
    document = with_replacements(made.document(), replacements, lambda name: shapes(name) is not None)
    return Flattened(document, tuple(made.warnings))


class _Flattening:
    def __init__(
        self, file: EditorFile, shapes: Shapes, replacements: Mapping[str, Replacement], most_nodes: int
    ) -> None:
        self.warnings: list[GraphError] = []
        self._file = file
        self._library = Library(file, shapes, replacements)
        self._most_nodes = most_nodes
        self._counted = 0
        self._left: set[str] = set()
        self._nodes: dict[NodeId, DocNode] = {}
        self._found: dict[_Step, _Source] = {}

    def document(self) -> Document:
        """All nodes that can be sent."""
        self._write_level(_Level(self._file.root))
        return Document(self._nodes)

    def _write_level(self, level: _Level) -> None:
        for node in level.graph.nodes.values():
            if subgraph := self._file.subgraphs.get(node.type):
                self._write_level(self._enter(level, node, subgraph))
            elif level.mode_of(node) not in (MUTED, BYPASSED) and self._is_sent(level, node):
                self._count()
                self._nodes[level.prefix + node.id] = self._node(level, node)

    def _is_sent(self, level: _Level, node: EditorNode) -> bool:
        """Whether a node is more than a thing of the canvas. Of unknown types only what is joined to others can be."""
        if node.type in SHELLS:
            return False
        if not self._is_unknown(node):
            return True
        if node.type in PASSING or node.type == GET_NODE:
            return False
        if node.id in level.graph.givers or any(slot.link is not None for slot in node.inputs):
            return True
        if node.type not in self._left:
            self._left.add(node.type)
            self._warn("left_out", "its type is unknown, and it is joined to nothing: it is left out", level, node)
        return False

    def _is_unknown(self, node: EditorNode) -> bool:
        return self._library.find(node.type) is None

    def _count(self) -> None:
        self._counted += 1
        if self._counted > self._most_nodes:
            message = f"the workflow unfolds to more than {self._most_nodes} nodes"
            raise GraphErrors([GraphError("too_many_nodes", message)])

    def _node(self, level: _Level, node: EditorNode) -> DocNode:
        shape, bound = self._library.find(node.type), self._library.bound(node)
        inputs: dict[str, object] = {}
        if shape is None:
            inputs.update((name, literal(value)) for name, value in bound.values.items())
            if not bound.complete:
                self._warn(
                    "unnamed_values", "its values have no names in the file, and its type is unknown", level, node
                )
        else:
            for each in active_inputs(shape.inputs, bound.values):
                if each.is_field:
                    inputs[each.name] = literal(_local(each, value_of(each, bound.values)))
        for slot in node.inputs:
            if slot.link is None:
                continue
            if slot.link not in level.graph.links:
                self._warn("link_missing", f"link {slot.link} is not in the file", level, node, slot.name)
                continue
            match self._source(_Step(level, slot.link, slot.type)):
                case Link() as source:
                    inputs[slot.name] = source
                case _Value(value):
                    inputs[slot.widget or slot.name] = literal(value)
        title = node.title or (shape.title if shape else "") or node.type
        return DocNode(node.type, inputs, {"title": title})

    def _enter(self, level: _Level, instance: EditorNode, subgraph: Subgraph) -> _Level:
        if (inside := level.entered.get(instance.id)) is None:
            self._count()
            if level.depth >= _DEEPEST:
                message = f"subgraphs are nested deeper than {_DEEPEST} levels: does one hold itself?"
                raise GraphErrors([GraphError("invalid_prompt", message, level.prefix + instance.id, subgraph.name)])
            mode = level.mode_of(instance)
            inside = level.entered[instance.id] = _Level(
                subgraph.graph,
                f"{level.prefix}{instance.id}:",
                mode if mode in (MUTED, BYPASSED) else 0,
                level.depth + 1,
                _Outside(level, instance, subgraph),
            )
        return inside

    def _source(self, start: _Step) -> _Source:
        """Where the data of a link comes from, past bypassed nodes, reroutes and the walls of subgraphs.

        A search that ends at an open input of a subgraph's instance takes the value of the innermost instance on its
        way back that has one.
        """
        way: list[tuple[_Step, _Value | None]] = []
        on_way: set[_Step] = set()
        going: _Step | _Source = start
        while isinstance(going, _Step):
            step = going
            if step in self._found or step in on_way:  # found before, or a circle, which has no source
                going = self._found.get(step, _Nothing.LOST)
                break
            on_way.add(step)
            going, own = self._follow(step)
            way.append((step, own))
        found = going
        for step, own in reversed(way):
            found = own if own is not None and found is _Nothing.OPEN else found
            self._found[step] = found
        return found

    def _follow(self, step: _Step) -> tuple[_Step | _Source, _Value | None]:
        """One step back: another step, or how the search ends; and what an instance that was left has for the input."""
        level = step.level
        link = level.graph.links.get(step.link)
        if link is not None and link.origin == INPUT_NODE and level.outer:
            return self._leave(level.outer, link, step.type)
        node = level.graph.nodes.get(link.origin) if link is not None else None
        if link is None or node is None or node.type in NOTES:
            return _Nothing.LOST, None
        if node.type == PRIMITIVE:
            return self._primitive(level, node), None
        if level.mode_of(node) == MUTED:
            return _Nothing.LOST, None
        if node.type == REROUTE or (node.type in PASSING and self._is_unknown(node)):
            return _step(level, node.inputs[0].link if node.inputs else None, step.type), None
        if node.type == GET_NODE and self._is_unknown(node):
            return self._named_elsewhere(level, _name_of(node), step.type), None
        if level.mode_of(node) == BYPASSED:
            return self._bypass(level, node, link.origin_slot, step.type), None
        if subgraph := self._file.subgraphs.get(node.type):
            inside = self._enter(level, node, subgraph)
            return _step(inside, inside.graph.outlets.get(link.origin_slot), step.type), None
        return Link(level.prefix + node.id, link.origin_slot), None

    def _leave(self, outer: _Outside, link: EditorLink, wanted: str) -> tuple[_Step | _Source, _Value | None]:
        """Through input number `origin_slot` of a subgraph to what its instance has there."""
        slots, instance = outer.subgraph.inputs, outer.instance
        name = slots[link.origin_slot].name if 0 <= link.origin_slot < len(slots) else ""
        shape, bound = self._library.find(instance.type), self._library.bound(instance)
        promoted = shape.find(name) if shape else None
        value = bound.values.get(name) if promoted is not None and promoted.is_field else None
        own = None if value is None else _Value(value)
        into = next((slot.link for slot in instance.inputs if slot.name == name), None)
        return _Nothing.OPEN if into is None else _Step(outer.level, into, wanted), own

    def _primitive(self, level: _Level, node: EditorNode) -> _Source:
        """What a primitive holds; one that was never given a value holds that of the first field it feeds."""
        if isinstance(node.values, list) and node.values:
            return _Value(node.values[0])
        for link in level.graph.links.values():
            target = level.graph.nodes.get(link.target) if link.origin == node.id else None
            if target is None or not 0 <= link.target_slot < len(target.inputs):
                continue
            shape = self._library.find(target.type)
            found = shape.find(target.inputs[link.target_slot].name) if shape else None
            if found is not None and found.is_field:
                return _Value(value_of(found, self._library.bound(target).values))
        return _Nothing.LOST

    def _bypass(self, level: _Level, node: EditorNode, slot: int, wanted: str) -> _Step | _Source:
        shape = self._library.find(node.type)
        inputs = active_inputs(shape.inputs, self._library.bound(node).values) if shape else ()
        outputs = shape.outputs if shape else tuple(each.type for each in node.outputs)
        found = passage(node, inputs, outputs, slot, wanted)
        return _step(level, found.link, found.type) if found else _Nothing.LOST

    def _named_elsewhere(self, level: _Level, name: object, wanted: str) -> _Step | _Source:
        """What goes into the SetNode of that name, here or around here."""
        at: _Level | None = level
        while at is not None:
            for node in at.graph.nodes.values():
                if node.type == SET_NODE and _name_of(node) == name and node.inputs:
                    return _step(at, node.inputs[0].link, wanted)
            at = at.outer.level if at.outer else None
        return _Nothing.LOST

    def _warn(self, code: str, message: str, level: _Level, node: EditorNode, name: str = "") -> None:
        where = level.prefix + node.id
        self.warnings.append(GraphError(code, message, where, node.type, name, severity=Severity.WARNING))


def _step(level: _Level, link: str | None, wanted: str) -> _Step | _Source:
    return _Nothing.LOST if link is None else _Step(level, link, wanted)


def _name_of(node: EditorNode) -> object:
    """What a SetNode or GetNode is called: the value of its only field."""
    return node.values[0] if isinstance(node.values, list) and node.values else None


def _local(shape: InputShape, value: object) -> object:
    """The value with `/` between directories, if that is how the choice is called here; files have Windows' `\\` too."""
    if isinstance(value, str) and "\\" in value and value not in shape.choices:
        there = value.replace("\\", "/")
        return there if there in shape.choices else value
    return value
