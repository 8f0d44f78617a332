"""A document's nodes -> their types: each input converted or its link checked, and all that is wrong gathered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from graph.bound import BoundNode, Input
from graph.document import DocNode, Document, Link, NodeId
from graph.errors import GraphError, Severity, ValueRefused, brief, listing
from graph.files import FileRef, Folders
from graph.inputs import InputSpec, OutputSpec
from graph.order import sort_sources_first
from graph.result import Made
from graph.sockets import ANY, accepts
from graph.spec import NodeSpec, Registry
from graph.sweep import Alternatives, Sweep

_SCALARS = frozenset({str, int, float, bool})


class Binder:
    """Binds one node after another; gathers what each depends on, and what is wrong.

    `outer` knows the nodes around an expansion. In an expansion an input without a widget takes any value.
    """

    def __init__(
        self,
        nodes: Mapping[NodeId, DocNode],
        registry: Registry,
        folders: Folders,
        outer: Callable[[NodeId], BoundNode | None] | None = None,
    ) -> None:
        self.bound: dict[NodeId, BoundNode] = {}
        self.order: tuple[NodeId, ...] = ()
        self.read: set[NodeId] = set()
        self.outputs: list[NodeId] = []
        self.problems: list[GraphError] = []
        self._seen: dict[NodeId, tuple[OutputSpec, ...]] = {}
        self._in_order = True
        self._knows_all = True
        self._nodes = nodes
        self._registry = registry
        self._folders = folders
        self._outer = outer
        self._hints: dict[str, str] = {}
        self.swept = False

    def bind_all(self, document: Document) -> list[GraphError]:
        """Bind every node and put them in order, sources first; returns all that is wrong.

        `outputs` are then the nodes that a workflow is run for. One of unknown type that nobody reads may have been
        meant as one.
        """
        for node_id, node in document.nodes.items():
            self._bind(node_id, node)
        cycles: list[list[NodeId]] = []
        if self._in_order:  # as most documents are: the editor writes them so
            self.order = tuple(document.nodes)
        else:
            self.order, cycles = sort_sources_first(self.sources())
        if not self._knows_all:
            find = self._registry.find
            self.outputs = [
                node_id
                for node_id, node in document.nodes.items()
                if (node_id not in self.read if (spec := find(node.class_type)) is None else spec.terminal)
            ]
        return [*document.problems, *self.problems, *(_cycle_error(cycle, self._nodes) for cycle in cycles)]

    def sources(self) -> dict[NodeId, list[NodeId]]:
        """The nodes that each node reads, for what is not as it should be."""
        return {node_id: self._read_by(node) for node_id, node in self._nodes.items()}

    def _read_by(self, node: DocNode) -> list[NodeId]:
        """The nodes that lead to a node; all that are linked to one of unknown type."""
        given = node.inputs
        if (spec := self._registry.find(node.class_type)) is not None:
            given = {declared.name: given.get(declared.name) for declared in spec.declared(given)}
        links = [value.node for value in given.values() if type(value) is Link]
        return [source for source in links if source in self._nodes]

    def _bind(self, node_id: NodeId, node: DocNode) -> None:
        spec = self._registry.find(node.class_type)
        if spec is None:
            self._unknown_type(node_id, node)
            return
        if spec.gathers:
            self.swept = True
        if spec.terminal:
            self.outputs.append(node_id)
        inputs: dict[str, Input] = {}
        given, seen, taken = node.inputs, self._seen, 0
        specs = spec.inputs if spec.is_fixed else spec.declared(given)
        for declared in specs:
            name, widget = declared.name, declared.widget
            try:
                if name not in given:
                    inputs[name] = _default(declared)
                    continue
                value = given[name]
                taken += 1
                if type(value) is Link:
                    source, slot = value.node, value.slot
                    outputs = seen.get(source, ())
                    if source in self._nodes:
                        self.read.add(source)
                        self._in_order = self._in_order and source in seen
                    if not (
                        0 <= slot < len(outputs)
                        and outputs[slot].socket == declared.socket != ANY
                        and (widget is None or widget.linkable)
                    ):
                        self._check_link(declared, value, specs, given)
                    inputs[name] = value
                elif widget is not None and type(value) in _SCALARS:
                    inputs[name] = widget.coerce(value, self._folders)
                else:
                    inputs[name] = self._literal(declared, value)
            except ValueRefused as refused:
                self._refuse(node_id, node, name, refused)
        seen[node_id] = spec.outputs
        if len(inputs) == len(specs):
            self.bound[node_id] = BoundNode(node_id, spec, inputs, () if spec.is_fixed else specs)
        if taken < len(given):
            self._extra(node_id, node, specs)

    def _refuse(self, node_id: NodeId, node: DocNode, name: str, refused: ValueRefused) -> None:
        received = node.inputs.get(name)
        if isinstance(received, Sweep):
            received = received.raw
        message = refused.message or f"got {brief(received)}, expected {refused.expected}"
        self.problems.append(
            GraphError(refused.code, message, node_id, node.class_type, name, received, refused.expected)
        )

    def _alternatives(self, declared: InputSpec, sweep: Sweep) -> Alternatives:
        """Every value of a sweep, each converted like a single one."""
        self.swept = True
        if sweep.fault:
            raise ValueRefused("invalid_sweep", "several values", sweep.fault)
        values = []
        for place, value in enumerate(sweep.values, 1):
            try:
                if isinstance(value, Link | list):
                    raise ValueRefused("invalid_sweep", "a value", "is a link, expected a value")
                values.append(self._literal(declared, value))
            except ValueRefused as refused:
                message = refused.message or f"got {brief(value)}, expected {refused.expected}"
                message = f"value {place} of {len(sweep.values)}: {message}"
                raise ValueRefused(refused.code, refused.expected, message) from None
        return Alternatives(tuple(values), sweep.axis)

    def _literal(self, declared: InputSpec, value: object) -> Input:
        if type(value) is Sweep:
            return self._alternatives(declared, value)
        if isinstance(value, FileRef | Made):  # in an expansion, from a node that was bound before
            return value
        if declared.widget is not None and not isinstance(value, list):
            if value is None and declared.optional and declared.default is None:
                return None
            return declared.widget.coerce(value, self._folders)
        if self._outer is not None and not isinstance(value, list):
            return value
        expected = "a link, [node id, output number]"
        if declared.widget is None:
            expected += f", to an output of type {declared.socket}"
        raise ValueRefused("bad_linked_input", expected)

    def _check_link(
        self, declared: InputSpec, link: Link, specs: Sequence[InputSpec], given: Mapping[str, object]
    ) -> None:
        found, type_name, spec = self._source(link)
        if not found:
            raise ValueRefused(
                "linked_node_missing", "a node", f"links to node {brief(link.node)}, which does not exist"
            )
        if spec is None:
            return
        named = f"node {link.node} ({type_name})"
        if not 0 <= link.slot < len(spec.outputs):
            count = len(spec.outputs)
            expected = f"one of its {count} outputs, counted from 0" if count else "a node with outputs"
            message = f"links to output {link.slot} of {named}, expected {expected}"
            raise ValueRefused("linked_slot_missing", expected, message)
        if declared.widget is not None and not declared.widget.linkable:
            what = "a file has to be chosen by its name" if declared.widget.socket == "COMBO" else "it has to be given"
            raise ValueRefused("return_type_mismatch", "the name of a file", f"links to {named}, but {what}")
        socket, wanted = self._socket(link), self._wanted(declared, link, specs, given)
        if not accepts(wanted, socket):
            message = f"links to {socket} (output {link.slot} of {named}), expected {wanted}"
            raise ValueRefused("return_type_mismatch", wanted, message)

    def _source(self, link: Link) -> tuple[bool, str, NodeSpec | None]:
        """Whether the node that `link` leads to is there, and its type."""
        if (node := self._nodes.get(link.node)) is not None:
            return True, node.class_type, self._registry.find(node.class_type)
        if self._outer is not None and (bound := self._outer(link.node)) is not None:
            return True, bound.spec.type, bound.spec
        return False, "", None

    def _wanted(self, declared: InputSpec, link: Link, specs: Sequence[InputSpec], given: Mapping[str, object]) -> str:
        """The socket that an input takes: of those that match each other, what the first is linked to."""
        if not declared.match:
            return declared.socket
        first = _first_link(declared.match, specs, given)
        if first is None or first is link:
            return declared.socket
        socket = self._socket(first)
        return declared.socket if socket == ANY else socket

    def _socket(self, link: Link) -> str:
        """The socket of an output; of one that matches an input, what that is linked to, however far back."""
        seen: set[NodeId] = set()
        while True:
            _, _, spec = self._source(link)
            if spec is None or not 0 <= link.slot < len(spec.outputs):
                return ANY
            output = spec.outputs[link.slot]
            node = self._nodes.get(link.node)
            if not output.match or node is None or link.node in seen:
                return output.socket
            seen.add(link.node)
            first = _first_link(output.match, spec.declared(node.inputs), node.inputs)
            if first is None:
                return output.socket
            link = first

    def _extra(self, node_id: NodeId, node: DocNode, specs: Sequence[InputSpec]) -> None:
        names = [declared.name for declared in specs]
        expected = f"one of {listing(names)}" if names else "no input at all"
        message = f"is no input of this node and is ignored, expected {expected}"
        self.problems.extend(
            GraphError("unknown_input", message, node_id, node.class_type, name, value, expected, Severity.WARNING)
            for name, value in node.inputs.items()
            if name not in names
        )

    def _unknown_type(self, node_id: NodeId, node: DocNode) -> None:
        sources = self._read_by(node)
        self.read.update(sources)
        self._in_order = self._in_order and all(source in self._seen for source in sources)
        self._seen[node_id] = ()
        self._knows_all = False
        if not (name := node.class_type):
            return  # the document's own problems say so already
        if name not in self._hints:
            self._hints[name] = self._registry.suggestion(name)
        message = f"there is no node type {name!r}{self._hints[name]}"
        self.problems.append(
            GraphError("missing_node_type", message, node_id, name, "", name, "the name of a node type")
        )


def _default(declared: InputSpec) -> Input:
    """Defaults are for the editor; only an input that was declared optional may be left out."""
    if declared.optional:
        return declared.default
    expected = declared.socket if declared.widget else f"a link to an output of type {declared.socket}"
    raise ValueRefused("required_input_missing", expected, f"is missing, expected {expected}")


def _first_link(match: str, specs: Iterable[InputSpec], given: Mapping[str, object]) -> Link | None:
    """The first link to an input of those that match each other."""
    values = (given.get(spec.name) for spec in specs if spec.match == match)
    return next((value for value in values if type(value) is Link), None)


def _cycle_error(cycle: Sequence[NodeId], nodes: Mapping[NodeId, DocNode]) -> GraphError:
    first = cycle[0]
    message = f"its result depends on itself: {' → '.join([*cycle, first])}"
    return GraphError(
        "dependency_cycle", message, first, nodes[first].class_type, "", tuple(cycle), "links without a cycle"
    )
