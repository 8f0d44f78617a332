"""Group nodes, which came before subgraphs: what `extra.groupNodes` of a file defines, as subgraphs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from graph.litegraph import (
    INPUT_NODE,
    OUTPUT_NODE,
    PRIMITIVE,
    REROUTE,
    EditorFile,
    EditorLink,
    EditorNode,
    Slot,
    Subgraph,
    graph_of,
    read_node,
    slots_of,
    text_of,
    whole,
)
from graph.node_shapes import Control, InputShape, Shapes
from graph.sockets import ANY

_MARKS = ("workflow>", "workflow/")


def with_group_nodes(file: EditorFile, shapes: Shapes) -> EditorFile:
    """The file with its group nodes among its subgraphs; they go by the types of the nodes that stand for them."""
    extra = file.raw.get("extra")
    groups = extra.get("groupNodes") if isinstance(extra, Mapping) else None
    if not isinstance(groups, Mapping):
        return file
    found = dict(file.subgraphs)
    for name, definition in groups.items():
        for mark in _MARKS:
            if isinstance(definition, Mapping) and mark + name not in found:
                found[mark + name] = _Group(definition, shapes).subgraph(mark + name)
    return EditorFile(file.root, found, file.raw)


@dataclass(slots=True, eq=False)
class _Member:
    """One node of a group while its inputs and outputs are joined."""

    index: int
    node: EditorNode
    inputs: list[Slot]
    outputs: list[Slot]
    taken: set[int] = field(default_factory=set)
    used: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Target:
    member: _Member
    slot: int


class _Group:
    """A definition on its way to a subgraph.

    Its inputs are sockets first, then fields, then fields that their node lists as sockets, each in the order of the
    nodes; a primitive is the field of what it is linked to. Its outputs are those that nothing inside takes, and those
    that `external` names.
    """

    def __init__(self, definition: Mapping[str, object], shapes: Shapes) -> None:
        self._definition = definition
        self._shapes = shapes
        self._members = [_member(raw, at) for at, raw in enumerate(slots_of(definition.get("nodes")))]
        self._fields = [member for member in self._members if member.node.type != PRIMITIVE]
        self._links: list[EditorLink] = []
        self._fed: dict[int, list[_Target]] = {}
        self._inputs: list[Slot] = []
        self._names_in: set[str] = set()

    def subgraph(self, name: str) -> Subgraph:
        """All of it."""
        self._join_members()
        self._let_in_sockets()
        self._let_in_fields()
        outputs = tuple(self._let_out())
        nodes = (
            replace(member.node, id=str(member.index), inputs=tuple(member.inputs), outputs=tuple(member.outputs))
            for member in self._fields
        )
        graph = graph_of(nodes, self._links)
        return Subgraph(name, name[len(_MARKS[0]) :], tuple(self._inputs), outputs, graph)

    def _join(self, origin: str, origin_slot: int, target: str, target_slot: int, type_name: str) -> str:
        link = EditorLink(str(len(self._links) + 1), origin, origin_slot, target, target_slot, type_name)
        self._links.append(link)
        return link.id

    def _member_of(self, index: object) -> _Member | None:
        return next((member for member in self._members if member.index == whole(index, -1)), None)

    def _join_members(self) -> None:
        given = self._definition.get("links")
        for link in given if isinstance(given, list) else []:
            if not isinstance(link, list) or len(link) < 4:
                continue
            source, target = self._member_of(link[0]), self._member_of(link[2])
            from_slot, to_slot = whole(link[1]), whole(link[3])
            if source is None or target is None or not 0 <= to_slot < len(target.inputs):
                continue
            target.taken.add(to_slot)
            if source.node.type == PRIMITIVE:  # the link comes once its end is known
                self._fed.setdefault(source.index, []).append(_Target(target, to_slot))
                continue
            into = target.inputs[to_slot]
            joined = self._join(str(source.index), from_slot, str(target.index), to_slot, into.type)
            target.inputs[to_slot] = _linked(into, joined)
            source.used.add(from_slot)

    def _let_in_sockets(self) -> None:
        for member in self._fields:
            for slot, each in enumerate(list(member.inputs)):
                if slot in member.taken or each.widget is not None:
                    continue
                is_reroute = member.node.type == REROUTE and bool(member.outputs)
                type_name = member.outputs[0].type if is_reroute else each.type
                if self._asked(member, "input", each.name).get("visible") is not False:
                    self._let_in(member, each.name or type_name, type_name, "", [_Target(member, slot)])

    def _let_in_fields(self) -> None:
        later = [
            _Target(member, slot)
            for member in self._fields
            for slot, each in enumerate(member.inputs)
            if slot not in member.taken and each.widget is not None
        ]
        for member in self._members:
            targets = self._fed.get(member.index, [])
            if targets and (shape := self._field(targets[0])):
                control: Control = (
                    "combo" if shape.type == "COMBO" else "number" if shape.type in ("INT", "FLOAT") else ""
                )
                self._let_in(member, "value", shape.type, control, targets)
            known = self._shapes(member.node.type)
            for shape in known.inputs if known else ():
                if shape.is_field and all(each.name != shape.name for each in member.inputs):
                    member.inputs.append(Slot(shape.name, shape.type, None, shape.name))
                    target = _Target(member, len(member.inputs) - 1)
                    self._let_in(member, shape.name, shape.type, shape.control, [target])
        for target in later:
            if shape := self._field(target):
                self._let_in(target.member, shape.name, shape.type, shape.control, [target])

    def _let_in(self, member: _Member, name: str, type_name: str, control: Control, targets: Sequence[_Target]) -> None:
        for target in targets:
            end, at = target.member, len(self._inputs)
            joined = self._join(INPUT_NODE, at, str(end.index), target.slot, type_name)
            end.inputs[target.slot] = _linked(end.inputs[target.slot], joined)
            end.taken.add(target.slot)
        given = text_of(self._asked(member, "input", name).get("name")) or name
        self._inputs.append(Slot(_free_name(member, given, self._names_in), type_name, control=control))

    def _let_out(self) -> Iterator[Slot]:
        external = self._definition.get("external")
        outside = {
            (member.index, whole(each[1]))
            for each in (external if isinstance(external, list) else [])
            if isinstance(each, list) and len(each) > 1 and (member := self._member_of(each[0]))
        }
        names: set[str] = set()
        count = 0
        for member in self._fields:
            for slot, output in enumerate(member.outputs):
                asked = self._asked(member, "output", str(slot))
                is_inside = slot in member.used and (member.index, slot) not in outside
                if asked.get("visible") is False or is_inside:
                    continue
                self._join(str(member.index), slot, OUTPUT_NODE, count, output.type)
                count += 1
                name = text_of(asked.get("name")) or output.name or output.type
                yield Slot(_free_name(member, name, names), output.type)

    def _asked(self, member: _Member, side: str, name: str) -> Mapping[str, object]:
        found: object = self._definition.get("config")
        for key in (str(member.index), side, name):
            found = found.get(key) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    def _field(self, target: _Target) -> InputShape | None:
        shape = self._shapes(target.member.node.type)
        found = shape.find(target.member.inputs[target.slot].name) if shape else None
        return found if found is not None and found.is_field else None


def _member(raw: Mapping[str, object], at: int) -> _Member:
    index = whole(raw.get("index"), at)
    node = read_node({**raw, "id": index})
    return _Member(index, node, [_linked(slot, None) for slot in node.inputs], list(node.outputs))


def _linked(slot: Slot, link: str | None) -> Slot:
    return Slot(slot.name, slot.type or ANY, link, slot.widget, slot.control)


def _free_name(member: _Member, name: str, taken: set[str]) -> str:
    before = member.node.title or member.node.type
    called, times = name, 1
    while called in taken:
        called = f"{before} {name}" if times == 1 else f"{before} {times} {name}"
        times += 1
    taken.add(called)
    return called
