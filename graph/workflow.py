"""A workflow in any form -> a document: the API format, either schema of the editor's, or what another program did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graph.compose import compose
from graph.document import Document
from graph.document import read as read_document
from graph.errors import GraphError, GraphErrors, Severity
from graph.files import Folders
from graph.flatten import MOST_NODES, flatten
from graph.litegraph import EditorFile, is_editor_format, read_editor
from graph.node_shapes import Shapes
from graph.other_programs import Texts, read_settings
from graph.replacements import RENAMED, Replacement, with_replacements


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow that was read. `file` is what the editor saved, if it is such a file; `warnings` tell what was lost.

    `is_as_sent` says that the document is in the API format exactly as it came. `program` is that whose settings the
    workflow was composed of, if it was.
    """

    document: Document
    file: EditorFile | None = None
    warnings: tuple[GraphError, ...] = ()
    is_as_sent: bool = False
    program: str = ""


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


def read_settings_workflow(texts: Texts, folders: Folders) -> Workflow | None:
    """A workflow like the one that another program says it made a picture by; None if no known program wrote `texts`.

    What cannot be carried over is among the warnings.
    """
    embeddings = {name.rsplit("/", 1)[-1].rsplit(".", 1)[0] for name in folders.list("embeddings")}
    made = read_settings(texts, embeddings)
    if made is None:
        return None
    composed = compose(made, folders.list)
    notes = (GraphError("not_carried_over", note, severity=Severity.WARNING) for note in composed.notes)
    return Workflow(composed.document, warnings=tuple(notes), program=made.program)
