"""Names for results, by how they are made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NewType

from graph.build import BoundNode, Graph, Input
from graph.document import Link, NodeId
from graph.errors import GraphError, GraphErrors
from graph.files import FileRef, Folders

Fingerprint = NewType("Fingerprint", str)

_json = json.JSONEncoder(allow_nan=False, sort_keys=True, separators=(",", ":")).encode


def fingerprints(graph: Graph, folders: Folders, salt: str = "") -> dict[NodeId, Fingerprint]:
    """Name every node's outputs by how they are made, in one pass from sources to sinks.

    Equal names mean equal code (`salt` and the type's `version`), type, freshness, literals, file contents and upstream; ids do not matter.
    The directories that files are written to count for terminal nodes only. Raises GraphErrors if a file is gone.
    """
    destination = [str(folders.output_dir), str(folders.temp_dir)]
    names: dict[NodeId, Fingerprint] = {}
    for node_id in graph.order:
        node = graph.nodes[node_id]
        spec = node.spec
        recipe = [
            salt,
            spec.type,
            spec.version,
            spec.freshness(node_id, node.inputs, folders) if spec.freshness else None,
            destination if spec.terminal else None,
            {name: _named(value, names, folders, node) for name, value in node.inputs.items()},
        ]
        names[node_id] = Fingerprint(sha256(_json(recipe).encode()).hexdigest())
    return names


def _named(value: Input, names: Mapping[NodeId, Fingerprint], folders: Folders, node: BoundNode) -> list[object]:
    """Tagged, so that a literal never equals a link or a file; JSON keeps 1, 1.0, true and "1" apart."""
    match value:
        case Link(source, slot):
            return ["link", names[source], slot]
        case FileRef(path=path):
            return ["file", _identified(path, folders, node)]
        case _:
            return ["value", value]


def _identified(path: Path, folders: Folders, node: BoundNode) -> str:
    try:
        return folders.identity(path)
    except OSError as error:
        message = f"cannot read {path}: {error.strerror or error}"
        raise GraphErrors([GraphError("file_unreadable", message, node.id, node.spec.type)]) from error
