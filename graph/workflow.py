"""A workflow in any form that JSON has -> a document: the API format, or either schema of the editor's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graph.document import Document
from graph.document import read as read_document
from graph.errors import GraphError, GraphErrors
from graph.flatten import MOST_NODES, flatten
from graph.litegraph import EditorFile, is_editor_format, read_editor
from graph.node_shapes import Shapes
from graph.replacements import RENAMED, Replacement, with_replacements


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow that was read. `file` is what the editor saved, if it is such a file; `warnings` tell what was lost.

    `is_as_sent` says that the document is in the API format exactly as it came.
    """

    document: Document
    file: EditorFile | None = None
    warnings: tuple[GraphError, ...] = ()
    is_as_sent: bool = False


def read_workflow(
    raw: object,
    shapes: Shapes,
    replacements: Mapping[str, Replacement] = RENAMED,
    most_nodes: int = MOST_NODES,
) -> Workflow:
    """The workflow in JSON of either format, decoded with `document.json_object`. Raises GraphErrors."""
    if is_editor_format(raw):
        file = read_editor(raw)
        made = flatten(file, shapes, replacements, most_nodes)
        return Workflow(made.document, file, made.warnings)
    if isinstance(raw, Mapping) and "templates" in raw and not isinstance(raw["templates"], Mapping):
        message = "this is a collection of the editor's node templates, not a workflow"
        raise GraphErrors([GraphError("invalid_prompt", message)])
    document = read_document(raw)
    replaced = with_replacements(document, replacements, lambda name: shapes(name) is not None)
    return Workflow(replaced, is_as_sent=replaced is document)
