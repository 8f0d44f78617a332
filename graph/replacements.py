"""Node types that are called otherwise now, or have become others: what ComfyUI's clients read as node replacements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from graph.document import DocNode, Document, Link


@dataclass(frozen=True, slots=True)
class Replacement:
    """What stands in for nodes of type `old`.

    `widgets` names the positions of the old type's `widgets_values`. `inputs` gives for each new input the old one
    that it takes over; what no input names is left out. Without `widgets` and `inputs` all keep their names.
    `values` are new inputs with a value of their own, `outputs` the new number of each old output.
    """

    old: str
    new: str
    widgets: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)
    outputs: Mapping[int, int] = field(default_factory=dict)

    @property
    def is_renaming(self) -> bool:
        """Whether only the name is another."""
        return not (self.widgets or self.inputs or self.values or self.outputs)


RENAMED: Mapping[str, Replacement] = MappingProxyType(
    {
        old: Replacement(old, new)
        for old, new in (
            ("T2IAdapterLoader", "ControlNetLoader"),
            ("ConditioningAverage ", "ConditioningAverage"),
            ("SDV_img2vid_Conditioning", "SVD_img2vid_Conditioning"),
        )
    }
)
"""Names that classes of ComfyUI's core had, and which its editor mends when it opens a file."""


def with_replacements(
    document: Document, replacements: Mapping[str, Replacement], is_known: Callable[[str], bool]
) -> Document:
    """The document with each node of an old type replaced, unless that type is known after all."""
    wanted = {
        node_id: found
        for node_id, node in document.nodes.items()
        if (found := replacements.get(node.class_type)) and not is_known(found.old)
    }
    if not wanted:
        return document
    nodes = dict(document.nodes)
    for node_id, found in wanted.items():
        nodes[node_id] = _replaced(nodes[node_id], found)
    moved = {node_id: found.outputs for node_id, found in wanted.items() if found.outputs}
    for node_id, node in nodes.items():
        inputs = {name: _moved(value, moved) for name, value in node.inputs.items()}
        if inputs != node.inputs:
            nodes[node_id] = replace(node, inputs=inputs)
    return replace(document, nodes=nodes)


def replacements_json(replacements: Mapping[str, Replacement]) -> dict[str, list[dict[str, object]]]:
    """What `GET /node_replacements` answers."""
    return {old: [_written(found)] for old, found in replacements.items()}


def _replaced(node: DocNode, found: Replacement) -> DocNode:
    inputs = dict(node.inputs)
    if found.inputs:
        inputs = {new: node.inputs[old] for new, old in found.inputs.items() if old in node.inputs}
    return replace(node, class_type=found.new, inputs=inputs | dict(found.values))


def _moved(value: object, moved: Mapping[str, Mapping[int, int]]) -> object:
    if isinstance(value, Link) and value.node in moved:
        return Link(value.node, moved[value.node].get(value.slot, value.slot))
    return value


def _written(found: Replacement) -> dict[str, object]:
    inputs: list[dict[str, object]] = [{"new_id": new, "old_id": old} for new, old in found.inputs.items()]
    inputs += [{"new_id": new, "set_value": value} for new, value in found.values.items()]
    return {
        "new_node_id": found.new,
        "old_node_id": found.old,
        "old_widget_ids": list(found.widgets) or None,
        "input_mapping": inputs or None,
        "output_mapping": [{"new_idx": new, "old_idx": old} for old, new in found.outputs.items()] or None,
    }
