"""`comfy_execution.graph_utils` and `.graph`: subgraphs that a node puts in its own place, and blocked values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from nodes.packs.host import Host

Written: TypeAlias = dict[str, object]
"""A node or a graph as the API format has it."""


class ExecutionBlocker:
    """A value that keeps those who read it from running."""

    def __init__(self, message: str | None) -> None:
        self.message = message


class Node:
    """A node of a subgraph."""

    def __init__(self, id: str, class_type: str, inputs: Written) -> None:  # noqa: A002
        self.id = id
        self.class_type = class_type
        self.inputs = inputs
        self.override_display_id: str | None = None

    def out(self, index: int) -> list[object]:
        """A link to one of its outputs."""
        return [self.id, index]

    def set_input(self, key: str, value: object) -> None:
        """Give an input a value or a link; None takes it away."""
        if value is None:
            self.inputs.pop(key, None)
        else:
            self.inputs[key] = value

    def get_input(self, key: str) -> object:
        """What an input was given."""
        return self.inputs.get(key)

    def set_override_display_id(self, override_display_id: str) -> None:
        """Have another node of the workflow stand for this one."""
        self.override_display_id = override_display_id

    def serialize(self) -> Written:
        """The node as the API format has it."""
        shown = {} if self.override_display_id is None else {"override_display_id": self.override_display_id}
        return {"class_type": self.class_type, "inputs": self.inputs, **shown}


class GraphBuilder:
    """Builds a subgraph. Ids begin with `prefix`: those around it never do, since expansions have ids of their own."""

    def __init__(self, prefix: str | None = None) -> None:
        self.prefix = "" if prefix is None else prefix
        self.nodes: dict[str, Node] = {}
        self._next = 1

    def node(self, class_type: str, id: str | None = None, **inputs: object) -> Node:  # noqa: A002
        """A new node, or the one that has this id already."""
        if id is None:
            id, self._next = str(self._next), self._next + 1  # noqa: A001
        name = self.prefix + id
        return self.nodes.setdefault(name, Node(name, class_type, dict(inputs)))

    def lookup_node(self, id: str) -> Node | None:  # noqa: A002
        """The node of this id, without the prefix."""
        return self.nodes.get(self.prefix + id)

    def remove_node(self, id: str) -> None:  # noqa: A002
        """Take a node out again."""
        del self.nodes[self.prefix + id]

    def replace_node_output(self, node_id: str, index: int, new_value: object) -> None:
        """Give whoever reads that output something else, or nothing."""
        old = [self.prefix + node_id, index]
        for node in self.nodes.values():
            for key in [key for key, value in node.inputs.items() if value == old]:
                node.set_input(key, new_value)

    def finalize(self) -> Written:
        """The subgraph as the API format has it."""
        return {name: node.serialize() for name, node in self.nodes.items()}


def is_link(obj: object) -> bool:
    """Whether that is a link as the API format has it."""
    return (
        isinstance(obj, list)
        and len(obj) == 2
        and isinstance(obj[0], str)
        and isinstance(obj[1], int | float)
        and not isinstance(obj[1], bool)
    )


def add_graph_prefix(
    graph: Mapping[str, Mapping[str, object]], outputs: Sequence[object], prefix: str
) -> tuple[Written, tuple[object, ...]]:
    """The graph with `prefix` before all its ids, and links to it likewise."""

    def renamed(value: object) -> object:
        return [prefix + value[0], value[1]] if is_link(value) and isinstance(value, list) else value

    written: Written = {}
    for name, node in graph.items():
        inputs = node.get("inputs", {})
        assert isinstance(inputs, Mapping)
        written[prefix + name] = {**node, "inputs": {key: renamed(value) for key, value in inputs.items()}}
    return written, tuple(renamed(output) for output in outputs)


def names(host: Host) -> Mapping[str, object]:
    """What both modules hold."""
    return {
        "ExecutionBlocker": ExecutionBlocker,
        "Node": Node,
        "GraphBuilder": GraphBuilder,
        "is_link": is_link,
        "add_graph_prefix": add_graph_prefix,
    }
