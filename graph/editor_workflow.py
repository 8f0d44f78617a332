"""The editor's own workflow that clients send along with a prompt, with one value wherever it has several."""

from __future__ import annotations

from collections.abc import Mapping

from graph.document import NodeId
from graph.sweep import is_sweep

Chosen = Mapping[NodeId, Mapping[str, tuple[Mapping[str, object], object]]]
"""By node and input: the sweep as the document has it, and the value of one cell."""


def with_values(workflow: object, chosen: Chosen) -> object | None:
    """`workflow` in the save format, its nodes' `widgets_values` as one cell has them.

    None if some sweep does not stand in it: a workflow with other values than those that made a picture is worse than
    none, since the picture carries its prompt besides.
    """
    nodes = workflow.get("nodes") if isinstance(workflow, Mapping) else None
    if not isinstance(workflow, Mapping) or not isinstance(nodes, list):
        return None
    open_ = {node_id: dict(inputs) for node_id, inputs in chosen.items()}
    replaced = [_node(node, open_) for node in nodes]
    return None if any(open_.values()) else {**workflow, "nodes": replaced}


def _node(node: object, open_: Mapping[NodeId, dict[str, tuple[Mapping[str, object], object]]]) -> object:
    """The node with its values; takes what it finds out of `open_`."""
    wanted = open_.get(str(node.get("id"))) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping) or not wanted:
        return node
    match node.get("widgets_values"):
        case list() as values:
            return {**node, "widgets_values": [_value(value, wanted) for value in values]}
        case dict() as values:
            return {**node, "widgets_values": {name: _value(value, wanted) for name, value in values.items()}}
        case _:
            return node


def _value(value: object, wanted: dict[str, tuple[Mapping[str, object], object]]) -> object:
    if not isinstance(value, dict) or not is_sweep(value):
        return value
    for name, (raw, one) in wanted.items():
        if raw == value:
            del wanted[name]
            return one
    return value
