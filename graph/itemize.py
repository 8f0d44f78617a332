"""A graph and the names of its results -> the recipes of all its nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from graph.build import BoundNode, Graph
from graph.cells import Cells
from graph.document import Link, NodeId
from graph.files import FileRef, Folders
from graph.recipe import LONGEST, Part, Recipe

_encode = json.JSONEncoder(ensure_ascii=False, default=repr).encode


def itemize(
    graph: Graph,
    names: Mapping[NodeId, str],
    folders: Folders,
    salt: str,
    session: str,
    cells: Cells | None,
    parts: bool,
) -> Iterator[Recipe]:
    """The recipes of all nodes, sources first. `names` are those of `fingerprints`; salt: what is in all of them.

    Without `parts` they only say which nodes there are: nothing ran, so nothing will be compared.
    """
    for node_id in graph.order:
        node = graph.nodes[node_id]
        spec = node.spec
        yield Recipe(
            id=node_id,
            node=cells.written(node_id) if cells else node_id,
            type=spec.type,
            name=names[node_id],
            code=spec.version,
            surroundings=salt,
            session=session,
            inputs={name: _part(value, names, folders, cells) for name, value in node.inputs.items()} if parts else {},
            beside=_beside(node, folders) if parts else "",
            destination=str(folders.output_dir) if spec.terminal else "",
            cell=cells.cells.get(node_id) if cells else None,
        )


def _part(value: object, names: Mapping[NodeId, str], folders: Folders, cells: Cells | None) -> Part:
    match value:
        case Link(node, slot):
            return "link", cells.written(node) if cells else node, slot, names.get(node, "")
        case FileRef(name=name, path=path):
            return "file", name, _identity(path, folders)
        case _:
            text = _encode(value)
            digest = sha256(text.encode(errors="replace")).hexdigest()[:16] if len(text) > LONGEST else ""
            return "value", text[:LONGEST], digest


def _identity(path: Path, folders: Folders) -> str:
    try:
        return folders.identity(path)
    except OSError:
        return "gone"


def _beside(node: BoundNode, folders: Folders) -> str:
    """What a node looks at besides its inputs, such as the files of a folder."""
    if node.spec.freshness is None:
        return ""
    try:
        fresh = node.spec.freshness(node.id, node.inputs, folders)
    except OSError:
        return "gone"
    text = json.dumps(fresh, sort_keys=True, default=repr)
    return sha256(text.encode(errors="replace")).hexdigest()[:16] if fresh else ""
