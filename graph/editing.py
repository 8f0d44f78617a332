"""Edits made in a file of the editor; all else of it stays as it was."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from graph.document import DocNode, Document
from graph.edits import Add, Edit, EditError, Remove, Set
from graph.errors import brief
from graph.layout import TITLE_HEIGHT, arrange, card_size
from graph.library import Library
from graph.litegraph import EditorLink, EditorNode, id_of, objects, read_editor, read_link, read_node, slots_of, whole
from graph.node_shapes import InputShape, NodeShape, Shapes
from graph.replacements import RENAMED
from graph.unflatten import unflatten
from graph.widget_values import Bound, active_inputs, bind, write_values

EMPTY: Mapping[str, object] = MappingProxyType({"nodes": [], "links": [], "groups": [], "version": 0.4})
"""A file with nothing in it."""
_BETWEEN = 70


@dataclass(frozen=True, slots=True)
class Edited:
    """The new file, and the ids that added nodes got, by their names."""

    file: Mapping[str, Any]
    ids: Mapping[str, str]


def edit(raw: Mapping[str, object], edits: Iterable[Edit], shapes: Shapes) -> Edited:
    """A file with the edits made, in order. Nodes that are new in a file without any are laid out; others come beside
    what they read from. Raises EditError for the first that cannot be made, and GraphErrors if `raw` is no such file.
    """
    sheet = _Sheet(raw, shapes)
    for at, each in enumerate(edits, 1):
        try:
            sheet.make(each)
        except EditError as error:
            raise EditError(f"edit {at}: {error}") from None
    return sheet.done()


class _Sheet:
    """A copy of a file that is being changed."""

    def __init__(self, raw: Mapping[str, object], shapes: Shapes) -> None:
        self._library = Library(read_editor(raw), shapes, RENAMED)
        self._shapes = shapes
        self._raw: dict[str, Any] = copy.deepcopy(dict(raw))
        self._nodes: dict[str, dict[str, Any]] = {id_of(node.get("id")): dict(node) for node in objects(raw["nodes"])}
        self._nodes = copy.deepcopy(self._nodes)
        self._written: dict[str, Any] = {}
        self._links: dict[str, EditorLink] = {}
        for each in _listed(self._raw.get("links")):
            if link := read_link(each):
                self._links[link.id], self._written[link.id] = link, each
        self._was_empty = not self._nodes
        self._ids: dict[str, str] = {}
        self._new: list[str] = []

    def make(self, change: Edit) -> None:
        match change:
            case Add():
                self._add(change)
            case Set():
                self._set(self._id(change.node), change.inputs)
            case Remove():
                self._remove(self._id(change.node))

    def done(self) -> Edited:
        self._place()
        write = _as_object if self._raw.get("version") == 1 else _as_list
        self._raw["nodes"] = list(self._nodes.values())
        self._raw["links"] = [self._written.get(key) or write(link) for key, link in self._links.items()]
        last_node, last_link = _highest(self._nodes), _highest(self._links)
        if isinstance(state := self._raw.get("state"), dict):
            state["lastNodeId"] = max(whole(state.get("lastNodeId")), last_node)
            state["lastLinkId"] = max(whole(state.get("lastLinkId")), last_link)
        if "last_node_id" in self._raw or "state" not in self._raw:
            self._raw["last_node_id"] = max(whole(self._raw.get("last_node_id")), last_node)
            self._raw["last_link_id"] = max(whole(self._raw.get("last_link_id")), last_link)
        return Edited(self._raw, self._ids)

    def _add(self, change: Add) -> None:
        shape = self._library.find(change.type)
        if shape is None:
            raise EditError(f"there is no node type {change.type!r}")
        if change.name and (change.name in self._ids or change.name in self._nodes):
            raise EditError(f"there is a node {change.name!r} already")
        node_id = str(1 + max(_highest(self._nodes), self._last("last_node_id", "lastNodeId")))
        meta = {"title": change.title} if change.title else {}
        made = unflatten(Document({node_id: DocNode(change.type, {}, meta)}), lambda _: shape)
        entry = objects(made["nodes"])[0]
        self._nodes[node_id] = {**entry, "order": len(self._nodes)}
        self._new.append(node_id)
        self._ids[change.name or node_id] = node_id
        self._set(node_id, change.inputs)

    def _set(self, node_id: str, inputs: Mapping[str, object]) -> None:
        values = {name: value for name, value in inputs.items() if not isinstance(value, list)}
        for name, value in values.items():
            self._cut(node_id, name)
            if value is not None:
                self._value(node_id, name, value)
        for name, value in inputs.items():
            if isinstance(value, list):
                self._join(node_id, name, value)

    def _value(self, node_id: str, name: str, value: object) -> None:
        node, shape, bound = self._read(node_id)
        known = {each.name: each for each in active_inputs(shape.inputs, bound.values)}
        found = known.get(name)
        if found is None:
            raise EditError(f"node {node_id} ({shape.type}) has no input {name!r}; it has {', '.join(known) or 'none'}")
        if not found.is_field:
            raise EditError(f"input {name!r} of node {node_id} takes a wire of type {found.type}: [node, output]")
        entry = self._nodes[node_id]
        entry["widgets_values"] = write_values(shape, Bound({**bound.values, name: value}, bound.controls))
        if node.named:
            entry["widgets_values_named"] = {**node.named, name: value}

    def _join(self, node_id: str, name: str, wire: list[object]) -> None:
        if len(wire) != 2 or not isinstance(wire[0], str | int) or not isinstance(wire[1], str | int):
            raise EditError(f"input {name!r}: got {brief(wire)}, expected [node, output]")
        source = self._id(id_of(wire[0]))
        slot, type_name = self._output(source, wire[1])
        self._cut(node_id, name)
        place = self._input(node_id, name)
        key = 1 + max(_highest(self._links), self._last("last_link_id", "lastLinkId"))
        self._links[str(key)] = EditorLink(str(key), source, slot, node_id, place, type_name)
        self._nodes[node_id]["inputs"][place]["link"] = key
        output = self._nodes[source]["outputs"][slot]
        output["links"] = [*(_listed(output.get("links"))), key]

    def _output(self, node_id: str, wanted: str | int) -> tuple[int, str]:
        given = slots_of(self._nodes[node_id].get("outputs"))
        types = [str(slot.get("type") or "*") for slot in given]
        names = [{str(slot.get("name")), str(slot.get("label")), kind} for slot, kind in zip(given, types, strict=True)]
        is_number = not isinstance(wanted, str) or wanted.isdigit()
        at = whole(wanted) if is_number else next((at for at, each in enumerate(names) if wanted in each), -1)
        if not 0 <= at < len(given):
            listed = ", ".join(f"{at} ({slot.get('name')})" for at, slot in enumerate(given)) or "none"
            raise EditError(f"node {node_id} has no output {wanted!r}; it has {listed}")
        return at, types[at]

    def _input(self, node_id: str, name: str) -> int:
        """The place of an input among the node's sockets; one that has none yet gets it."""
        slots = self._nodes[node_id].setdefault("inputs", [])
        for at, slot in enumerate(slots):
            if isinstance(slot, dict) and slot.get("name") == name:
                return at
        _, shape, bound = self._read(node_id)
        known: dict[str, InputShape] = {each.name: each for each in active_inputs(shape.inputs, bound.values)}
        found = known.get(name)
        parents = tuple(each for each in known.values() if each.type == "COMFY_AUTOGROW_V3")
        if found is None and not any(name.startswith(f"{each.name}.") for each in parents):
            raise EditError(f"node {node_id} ({shape.type}) has no input {name!r}; it has {', '.join(known) or 'none'}")
        slot = {"name": name, "type": found.type if found else "*", "link": None}
        slots.append(slot | ({"widget": {"name": name}} if found and found.is_field else {}))
        return len(slots) - 1

    def _cut(self, node_id: str, name: str) -> None:
        for at, slot in enumerate(slots_of(self._nodes[node_id].get("inputs"))):
            if slot.get("name") == name and slot.get("link") is not None:
                self._drop(link for link in self._links.values() if (link.target, link.target_slot) == (node_id, at))
                self._nodes[node_id]["inputs"][at]["link"] = None

    def _remove(self, node_id: str) -> None:
        self._drop(link for link in self._links.values() if node_id in (link.origin, link.target))
        del self._nodes[node_id]
        self._new = [each for each in self._new if each != node_id]

    def _drop(self, links: Iterable[EditorLink]) -> None:
        for link in list(links):
            del self._links[link.id]
            for each in slots_of(self._nodes.get(link.target, {}).get("inputs")):
                if isinstance(each, dict) and id_of(each.get("link")) == link.id:
                    each["link"] = None
            for each in slots_of(self._nodes.get(link.origin, {}).get("outputs")):
                if isinstance(each, dict):
                    each["links"] = [key for key in _listed(each.get("links")) if id_of(key) != link.id]

    def _read(self, node_id: str) -> tuple[EditorNode, NodeShape, Bound]:
        node = read_node(self._nodes[node_id])
        shape = self._library.find(node.type)
        if shape is None:
            raise EditError(f"node {node_id} is of type {node.type!r}, which is unknown here")
        return node, shape, bind(node, shape)

    def _id(self, named: str) -> str:
        node_id = self._ids.get(named, named)
        if node_id not in self._nodes:
            raise EditError(f"there is no node {named!r}; there are {', '.join(list(self._nodes)[:50]) or 'none'}")
        return node_id

    def _last(self, name: str, in_state: str) -> int:
        state = self._raw.get("state")
        return max(whole(self._raw.get(name)), whole(state.get(in_state)) if isinstance(state, dict) else 0)

    def _place(self) -> None:
        if self._was_empty:
            places = arrange({key: self._size(key) for key in self._nodes}, self._pairs())
            for key, place in places.items():
                self._nodes[key] |= {"pos": list(place), "size": list(self._size(key))}
            return
        for key in self._new:
            sources = [self._nodes[source] for source, target in self._pairs() if target == key]
            beside = sources or [node for other, node in self._nodes.items() if other not in self._new]
            left = max((_edge(node)[2] for node in beside), default=0) + _BETWEEN
            top = min((_edge(node)[1] for node in beside), default=0)
            width, height = self._size(key)
            others = [_edge(node) for other, node in self._nodes.items() if other != key and node["pos"]]
            while hit := [box for box in others if _overlap(box, (left, top, left + width, top + height))]:
                top = max(box[3] for box in hit) + TITLE_HEIGHT + _BETWEEN / 2
            self._nodes[key] |= {"pos": [left, top], "size": [width, height]}

    def _size(self, node_id: str) -> tuple[int, int]:
        return card_size(self._library.find(self._nodes[node_id]["type"]))

    def _pairs(self) -> list[tuple[str, str]]:
        return [(link.origin, link.target) for link in self._links.values()]


def _edge(node: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a card; files have points as lists and as objects."""
    x, y = _pair(node.get("pos"))
    width, height = _pair(node.get("size"))
    return x, y, x + width, y + height


def _pair(given: object) -> tuple[float, float]:
    if isinstance(given, Mapping):
        given = [given.get("0"), given.get("1")]
    match given:
        case [int() | float() as first, int() | float() as second, *_]:
            return float(first), float(second)
        case _:
            return 0.0, 0.0


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    apart = (
        one[2] <= other[0]
        or other[2] <= one[0]
        or one[3] + TITLE_HEIGHT <= other[1]
        or other[3] + TITLE_HEIGHT <= one[1]
    )
    return not apart


def _listed(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _highest(keys: Iterable[str]) -> int:
    return max((int(key) for key in keys if key.isascii() and key.isdigit() and len(key) < 16), default=0)


def _number(key: str) -> int | str:
    return int(key) if key.isascii() and key.isdigit() else key


def _as_list(link: EditorLink) -> list[object]:
    origin, target = _number(link.origin), _number(link.target)
    return [_number(link.id), origin, link.origin_slot, target, link.target_slot, link.type]


def _as_object(link: EditorLink) -> dict[str, object]:
    ends = {"origin_id": _number(link.origin), "origin_slot": link.origin_slot}
    ends |= {"target_id": _number(link.target), "target_slot": link.target_slot}
    return {"id": _number(link.id), **ends, "type": link.type}
