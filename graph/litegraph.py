"""The editor's save format, 0.4 and 1, as data: nodes, links and subgraphs, nothing checked against node types yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from graph.errors import GraphError, GraphErrors, brief
from graph.node_shapes import Control, type_of
from graph.patient_json import let_go

MUTED, BYPASSED = 2, 4
INPUT_NODE, OUTPUT_NODE = "-10", "-20"
"""The two ends of a subgraph, as its links name them."""

REROUTE, PRIMITIVE = "Reroute", "PrimitiveNode"
NOTES = frozenset({"Note", "MarkdownNote"})
SHELLS = NOTES | {REROUTE, PRIMITIVE}
"""Node types that only editors know: they are in files, and never sent."""
SET_NODE, GET_NODE = "SetNode", "GetNode"
"""Of a widely used pack: what goes into a SetNode comes out of it, and of each GetNode of the same name."""
PASSING = frozenset({SET_NODE, "Reroute (rgthree)"})
"""Node types of packs that pass on what comes into their first input, and are never sent either."""


@dataclass(frozen=True, slots=True)
class Slot:
    """An input or output of a node. `link` is what ends at an input; `widget` names the field it stands for."""

    name: str
    type: str
    link: str | None = None
    widget: str | None = None
    control: Control = ""


@dataclass(frozen=True, slots=True, eq=False)
class EditorNode:
    """A node as the file has it. `values` is its `widgets_values`: a list by position, an object by name, or None."""

    id: str
    type: str
    mode: int
    title: str
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    values: object
    named: Mapping[str, object]
    properties: Mapping[str, object]
    raw: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class EditorLink:
    """A wire from output `origin_slot` of `origin` to saved input number `target_slot` of `target`."""

    id: str
    origin: str
    origin_slot: int
    target: str
    target_slot: int
    type: str


@dataclass(frozen=True, slots=True, eq=False)
class EditorGraph:
    """One level of a file: the root, or the inside of a subgraph.

    `outlets` gives for each output of a subgraph the link that feeds it; of several the first. `givers` are the
    nodes that links come from.
    """

    nodes: Mapping[str, EditorNode]
    links: Mapping[str, EditorLink]
    outlets: Mapping[int, str]
    givers: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Subgraph:
    """A definition that nodes of type `id` stand for."""

    id: str
    name: str
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    graph: EditorGraph


@dataclass(frozen=True, slots=True, eq=False)
class EditorFile:
    """A file. `raw` is all of it, what is not understood too."""

    root: EditorGraph
    subgraphs: Mapping[str, Subgraph]
    raw: Mapping[str, object] = field(default_factory=dict)

    def let_go(self) -> None:
        """Empty it in bites, `raw` too. For who has it last: what is freed at once keeps all threads waiting."""
        let_go(self.root.nodes)
        let_go(self.raw)


def is_editor_format(raw: object) -> bool:
    """Whether JSON is a file of the editor: only that has a list of nodes."""
    return isinstance(raw, Mapping) and isinstance(raw.get("nodes"), list)


def read_editor(raw: object) -> EditorFile:
    """A file of either schema; damaged parts of it are passed over. Raises GraphErrors if it is no such file."""
    if not isinstance(raw, Mapping) or not is_editor_format(raw):
        message = f"got {brief(raw)}, expected a workflow of the editor with a list of nodes"
        raise GraphErrors([GraphError("invalid_prompt", message, received=raw)])
    return EditorFile(read_graph(raw), {each.id: each for each in _subgraphs(raw, set())}, raw)


def read_graph(raw: Mapping[str, object]) -> EditorGraph:
    """The nodes and links of one level; a node without an id is none."""
    nodes = (read_node(each) for each in objects(raw.get("nodes")) if each.get("id") is not None)
    links = (link for each in _list(raw.get("links")) if (link := read_link(each)))
    return graph_of(nodes, links)


def graph_of(nodes: Iterable[EditorNode], links: Iterable[EditorLink]) -> EditorGraph:
    """A level of these nodes and links; of several with one id the last.

    An input that names a link which is gone gets the one that says that it ends there.
    """
    by_id = {link.id: link for link in links}
    ends = {(link.target, link.target_slot): link.id for link in by_id.values()}
    out = (link for link in reversed(by_id.values()) if link.target == OUTPUT_NODE)
    return EditorGraph(
        {node.id: _mended(node, by_id, ends) for node in nodes},
        by_id,
        {link.target_slot: link.id for link in out},
        frozenset(link.origin for link in by_id.values()),
    )


def _mended(node: EditorNode, links: Mapping[str, EditorLink], ends: Mapping[tuple[str, int], str]) -> EditorNode:
    if all(slot.link is None or slot.link in links for slot in node.inputs):
        return node
    inputs = (
        slot if slot.link is None or slot.link in links else replace(slot, link=ends.get((node.id, at), slot.link))
        for at, slot in enumerate(node.inputs)
    )
    return replace(node, inputs=tuple(inputs))


def read_node(raw: Mapping[str, object]) -> EditorNode:
    """One entry of `nodes`."""
    named, properties = raw.get("widgets_values_named"), raw.get("properties")
    return EditorNode(
        id=id_of(raw.get("id")),
        type=text_of(raw.get("type")),
        mode=whole(raw.get("mode")),
        title=text_of(raw.get("title")),
        inputs=tuple(map(read_slot, slots_of(raw.get("inputs")))),
        outputs=tuple(map(read_slot, slots_of(raw.get("outputs")))),
        values=raw.get("widgets_values"),
        named=named if isinstance(named, Mapping) else {},
        properties=properties if isinstance(properties, Mapping) else {},
        raw=raw,
    )


def read_slot(raw: Mapping[str, object]) -> Slot:
    """One entry of `inputs` or `outputs`."""
    widget = raw.get("widget")
    return Slot(
        name=text_of(raw.get("name")),
        type=type_of(raw.get("type")),
        link=None if raw.get("link") is None else id_of(raw["link"]),
        widget=text_of(widget.get("name")) if isinstance(widget, Mapping) else None,
    )


def read_link(raw: object) -> EditorLink | None:
    """A link of either form, `[id, origin, slot, target, slot, type]` or an object; None for anything else."""
    match raw:
        case [key, origin, origin_slot, target, target_slot, *rest]:
            type_name = type_of(rest[0]) if rest else type_of(None)
        case {"id": key, **rest_of}:
            origin, origin_slot = rest_of.get("origin_id"), rest_of.get("origin_slot")
            target, target_slot = rest_of.get("target_id"), rest_of.get("target_slot")
            type_name = type_of(rest_of.get("type"))
        case _:
            return None
    return EditorLink(id_of(key), id_of(origin), whole(origin_slot), id_of(target), whole(target_slot), type_name)


def _subgraphs(raw: Mapping[str, object], seen: set[str]) -> Iterator[Subgraph]:
    """All definitions, nested ones right behind those that hold them; of several with one id the first."""
    held = raw.get("definitions")
    for each in objects(held.get("subgraphs")) if isinstance(held, Mapping) else []:
        if (name := text_of(each.get("id"))) not in seen:
            seen.add(name)
            yield read_subgraph(each)
            yield from _subgraphs(each, seen)


def read_subgraph(raw: Mapping[str, object]) -> Subgraph:
    """One definition."""
    return Subgraph(
        text_of(raw.get("id")),
        text_of(raw.get("name")),
        tuple(map(read_slot, slots_of(raw.get("inputs")))),
        tuple(map(read_slot, slots_of(raw.get("outputs")))),
        read_graph(raw),
    )


def id_of(value: object) -> str:
    """An id as the API format writes it: files have numbers and texts."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else str(value)


def whole(value: object, otherwise: int = 0) -> int:
    """A number, which may be written as a text, cut to a whole one."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return otherwise
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) > 2**53:
        return otherwise
    return int(value)


def text_of(value: object) -> str:
    """A text; nothing for anything else."""
    return value if isinstance(value, str) else ""


def objects(value: object) -> list[Mapping[str, object]]:
    """The objects of a list."""
    return [each for each in _list(value) if isinstance(each, Mapping)]


def slots_of(value: object) -> list[Mapping[str, object]]:
    """The members of a list, an empty object for each that is none: their places count."""
    return [each if isinstance(each, Mapping) else {} for each in _list(value)]


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []
