"""From the API format to a file of the editor: cards with their fields and wires, laid out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from graph.document import DocNode, Document, Link, as_json
from graph.layout import arrange, card_size
from graph.litegraph import PRIMITIVE
from graph.node_shapes import NodeShape, Shapes
from graph.sockets import ANY
from graph.widget_values import Bound, active_inputs, write_values


def unflatten(document: Document, shapes: Shapes) -> dict[str, object]:
    """A file of schema 0.4 that `flatten` makes the same document of, but for fields that had no value in it.

    A value for what is no field of its type comes from a primitive.
    """
    return _Drawing(document, shapes).file()


class _Drawing:
    def __init__(self, document: Document, shapes: Shapes) -> None:
        self._nodes = document.nodes
        self._written = as_json(document)
        self._shapes = {node_id: shapes(node.class_type) for node_id, node in document.nodes.items()}
        self._links: list[list[object]] = []
        self._outgoing: dict[tuple[str, int], list[int]] = {}
        self._last_slot: dict[str, int] = {}
        self._primitives: list[tuple[str, dict[str, Any]]] = []
        self._next_id = 1 + max((int(node_id) for node_id in document.nodes if _is_number(node_id)), default=0)

    def file(self) -> dict[str, object]:
        """All of it."""
        made = {node_id: self._node(node_id, node) for node_id, node in self._nodes.items()}
        for node_id, entry in made.items():
            entry["outputs"] = self._outputs(node_id)
        made |= dict(self._primitives)
        sizes = {key: card_size(self._shapes.get(key)) for key in made}
        places = arrange(sizes, ((str(link[1]), str(link[3])) for link in self._links))
        for order, (key, entry) in enumerate(made.items()):
            entry |= {"pos": list(places[key]), "size": list(sizes[key]), "order": order}
        return {
            "last_node_id": self._next_id - 1,
            "last_link_id": len(self._links),
            "nodes": list(made.values()),
            "links": self._links,
            "groups": [],
            "config": {},
            "extra": {},
            "version": 0.4,
        }

    def _node(self, node_id: str, node: DocNode) -> dict[str, Any]:
        shape = self._shapes[node_id]
        title = node.meta.get("title")
        entry: dict[str, Any] = {"id": _as_id(node_id), "type": node.class_type, "pos": [], "size": [], "flags": {}}
        entry |= {"order": 0, "mode": 0, "inputs": self._inputs(node_id, node, shape), "outputs": []}
        entry |= {"properties": {"Node name for S&R": node.class_type}, "widgets_values": self._values(node_id, shape)}
        default = shape.title if shape else node.class_type
        return entry | ({"title": title} if isinstance(title, str) and title and title != default else {})

    def _values(self, node_id: str, shape: NodeShape | None) -> object:
        """A list where the type is known; values by name where nobody knows the positions."""
        written = self._written_inputs(node_id)
        given = {name: _plain(written[name]) for name in self._literals(node_id)}
        return given if shape is None else write_values(shape, Bound(given, {}))

    def _literals(self, node_id: str) -> Iterable[str]:
        return (name for name, value in self._nodes[node_id].inputs.items() if not isinstance(value, Link))

    def _inputs(self, node_id: str, node: DocNode, shape: NodeShape | None) -> list[dict[str, object]]:
        """Sockets in the order of the type, then linked fields, then links that the type has no input for."""
        known = list(active_inputs(shape.inputs, node.inputs)) if shape else []
        fields = {each.name for each in known if each.is_field}
        types = {each.name: each.type for each in known}
        optional = {each.name for each in known if each.optional and not each.is_field}
        apart = [
            name for name, value in node.inputs.items() if isinstance(value, Link) or (shape and name not in fields)
        ]
        names = dict.fromkeys([*(each.name for each in known if not each.is_field), *apart])
        slots: list[dict[str, object]] = []
        for name in names:
            slot: dict[str, object] = {"name": name, "type": types.get(name, ANY), "link": None}
            value = node.inputs.get(name)
            if isinstance(value, Link) and value.node in self._nodes:
                slot["link"] = self._join(value, node_id, len(slots), str(slot["type"]))
            elif name in node.inputs and not isinstance(value, Link):
                slot["link"] = self._primitive(node_id, name, len(slots), str(slot["type"]))
            if name in fields:
                slot["widget"] = {"name": name}
            if name in optional:
                slot["shape"] = 7
            slots.append(slot)
        return slots

    def _join(self, source: Link, node_id: str, slot: int, wanted: str) -> int:
        number = len(self._links) + 1
        shape = self._shapes[source.node]
        given = shape.outputs[source.slot] if shape and 0 <= source.slot < len(shape.outputs) else wanted
        self._links.append([number, _as_id(source.node), source.slot, _as_id(node_id), slot, given])
        self._outgoing.setdefault((source.node, source.slot), []).append(number)
        self._last_slot[source.node] = max(source.slot, self._last_slot.get(source.node, -1))
        return number

    def _primitive(self, node_id: str, name: str, slot: int, wanted: str) -> int:
        """A node that holds what the document has for an input that is no field."""
        number, key = len(self._links) + 1, self._next_id
        self._next_id += 1
        self._links.append([number, key, 0, _as_id(node_id), slot, wanted])
        output = {"name": wanted, "type": wanted, "links": [number], "slot_index": 0, "widget": {"name": name}}
        entry: dict[str, Any] = {
            "id": key,
            "type": PRIMITIVE,
            "pos": [],
            "size": [],
            "flags": {},
            "order": 0,
            "mode": 0,
        }
        value = _plain(self._written_inputs(node_id)[name])
        entry |= {"inputs": [], "outputs": [output], "properties": {}, "widgets_values": [value, "fixed"]}
        self._primitives.append((str(key), entry))
        return number

    def _written_inputs(self, node_id: str) -> Mapping[str, object]:
        written = self._written[node_id]["inputs"]
        return written if isinstance(written, dict) else {}

    def _outputs(self, node_id: str) -> list[dict[str, object]]:
        shape = self._shapes[node_id]
        types = list(shape.outputs) if shape else []
        types += [ANY] * (min(self._last_slot.get(node_id, -1), 999) + 1 - len(types))
        return [
            {"name": type_name, "type": type_name, "links": self._outgoing.get((node_id, slot), []), "slot_index": slot}
            for slot, type_name in enumerate(types)
        ]


def _plain(value: object) -> object:
    """The value as fields hold it: lists come without their wrapping."""
    match value:
        case {"__value__": wrapped}:
            return list(wrapped) if isinstance(wrapped, tuple) else wrapped
        case _:
            return value


def _is_number(node_id: str) -> bool:
    return node_id.isascii() and node_id.isdigit() and str(int(node_id)) == node_id and len(node_id) < 16


def _as_id(node_id: str) -> int | str:
    return int(node_id) if _is_number(node_id) else node_id
