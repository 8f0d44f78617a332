"""What a workflow needs that is not here: node types with their packs, and model files with their addresses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from graph.document import Document
from graph.errors import GraphError
from graph.files import Folders
from graph.litegraph import EditorFile, EditorNode, objects, text_of
from graph.sockets import File
from graph.spec import Registry
from graph.workflow import Workflow


@dataclass(frozen=True, slots=True)
class MissingType:
    """A node type that is unknown here, the nodes that are of it, and the pack that has it, where the file says so."""

    type: str
    nodes: tuple[str, ...]
    pack: str = ""
    near: str = ""


@dataclass(frozen=True, slots=True)
class MissingModel:
    """A model file that is not in its folder, and where the file says that it can be had."""

    name: str
    folder: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Needs:
    """What keeps a workflow from running as it was meant."""

    types: tuple[MissingType, ...]
    models: tuple[MissingModel, ...]

    def __bool__(self) -> bool:
        return bool(self.types or self.models)


def needs_of(workflow: Workflow, problems: Sequence[GraphError], registry: Registry, folders: Folders) -> Needs:
    """What is missing. `problems` are those of the graph that `build` made of the document."""
    return Needs(
        tuple(_missing_types(workflow, registry)),
        tuple(_missing_models(workflow, problems, registry, folders)),
    )


def _missing_types(workflow: Workflow, registry: Registry) -> Iterator[MissingType]:
    packs = _packs(workflow.file) if workflow.file else {}
    nodes: dict[str, list[str]] = {}
    for node_id, node in workflow.document.nodes.items():
        if node.class_type and node.class_type not in registry:
            nodes.setdefault(node.class_type, []).append(node_id)
    for name, found in nodes.items():
        yield MissingType(name, tuple(found), packs.get(name, ""), registry.suggestion(name))


def _packs(file: EditorFile) -> Mapping[str, str]:
    """The pack of each node type that the file names one for: its name in the registry of packs, or its repository."""
    found: dict[str, str] = {}
    for node in _all_nodes(file):
        pack = text_of(node.properties.get("cnr_id")) or text_of(node.properties.get("aux_id"))
        if pack:
            found.setdefault(node.type, pack)
    return found


def _missing_models(
    workflow: Workflow, problems: Sequence[GraphError], registry: Registry, folders: Folders
) -> Iterator[MissingModel]:
    told: set[tuple[str, str]] = set()
    named = dict(_named_models(workflow.file)) if workflow.file else {}
    for folder, name in _refused_files(workflow.document, problems, registry):
        if (folder, name) not in told:
            told.add((folder, name))
            yield MissingModel(name, folder, _address(named, folder, name))
    for (folder, name), url in named.items():
        is_here = folder in folders.folders and any(_base(each) == _base(name) for each in folders.list(folder))
        if not is_here and not any(_base(name) == _base(other) for _, other in told):
            told.add((folder, name))
            yield MissingModel(name, folder, url)


def _refused_files(document: Document, problems: Iterable[GraphError], registry: Registry) -> Iterator[tuple[str, str]]:
    """Files that nodes name and their folders do not have."""
    for problem in problems:
        spec = registry.find(problem.node_type)
        widget = next((each.widget for each in spec.inputs if each.name == problem.input_name), None) if spec else None
        if isinstance(widget, File) and problem.node_id in document.nodes and isinstance(problem.received, str):
            yield widget.folder, problem.received


def _named_models(file: EditorFile) -> Iterator[tuple[tuple[str, str], str]]:
    """What `models` of the file and of its nodes say: (folder, name) and address."""
    listed = [file.raw.get("models"), *(node.properties.get("models") for node in _all_nodes(file))]
    for each in (entry for given in listed for entry in objects(given)):
        if name := text_of(each.get("name")):
            yield (text_of(each.get("directory")), name), text_of(each.get("url"))


def _address(named: Mapping[tuple[str, str], str], folder: str, name: str) -> str:
    found = named.get((folder, name))
    if found is None:
        found = next((url for (_, other), url in named.items() if _base(other) == _base(name)), "")
    return found


def _base(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1]


def _all_nodes(file: EditorFile) -> Iterator[EditorNode]:
    yield from file.root.nodes.values()
    for subgraph in file.subgraphs.values():
        yield from subgraph.graph.nodes.values()
