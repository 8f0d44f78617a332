"""`io.NodeReplace`: how packs say which node stands in for one that is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graph.replacements import Replacement


@dataclass(frozen=True)
class NodeReplace:
    """The node `new_node_id` in the place of `old_node_id`.

    old_widget_ids: the old node's inputs with widgets, in their order. input_mapping: `{"new_id", "old_id"}` for an input
    that goes on, `{"new_id", "set_value"}` for one with a value of its own; output_mapping: `{"new_idx", "old_idx"}`.
    Without mappings all keep their names and places.
    """

    new_node_id: str
    old_node_id: str
    old_widget_ids: Sequence[str] | None = None
    input_mapping: Sequence[Mapping[str, Any]] | None = None
    output_mapping: Sequence[Mapping[str, Any]] | None = None


def replacement(given: NodeReplace) -> Replacement:
    """The same as ours. Raises KeyError for a mapping that says less."""
    inputs = given.input_mapping or ()
    return Replacement(
        str(given.old_node_id),
        str(given.new_node_id),
        tuple(given.old_widget_ids or ()),
        {it["new_id"]: it["old_id"] for it in inputs if "set_value" not in it},
        {it["new_id"]: it["set_value"] for it in inputs if "set_value" in it},
        {int(it["old_idx"]): int(it["new_idx"]) for it in given.output_mapping or ()},
    )
