"""What a job is, in a few words for lists: what its prompt says, its seed, and the name of its workflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NotRequired, TypedDict

from graph.build import BoundNode, Graph
from graph.document import Link
from graph.files import FileRef
from graph.slices import largest_batch
from graph.sockets import Text
from graph.sweep import Alternatives

WORDS = 200
"""Characters of a prompt that are kept; a workflow's name may have as many."""
_SEEDS = ("seed", "noise_seed")
NAME = "workflow_name"
"""The member of `extra_data` in which the editor says what the workflow is called."""
PROGRAM = "program"
"""The member in which a program that acts for somebody says who it is."""


class About(TypedDict):
    """Each is null where nothing is known. With several samplers, it is the one nearest to what the job was run for.
    `models`: bytes by the names of the model files that are read. `swept`: some input has several values. `batch`: how many
    items there are, or more, of a batch that several workers can share.
    """

    prompt: str | None
    seed: int | None
    workflow_name: str | None
    workflow_id: str | None
    program: NotRequired[str]
    labels: NotRequired[Mapping[str, str]]
    models: NotRequired[Mapping[str, int]]
    swept: NotRequired[bool]
    batch: NotRequired[int]


def about(graph: Graph, extra: Mapping[str, object]) -> About:
    """Reads the graph from its targets backwards: the first prompt is what feeds the first `positive`."""
    name = extra.get(NAME)
    nodes = list(_upstream(graph, graph.targets))
    seeds = (_first(node.inputs.get(seed)) for node in nodes for seed in _SEEDS)
    said: About = {
        "prompt": _shortened(_prompt(graph, nodes)),
        "seed": next((seed for seed in seeds if isinstance(seed, int) and not isinstance(seed, bool)), None),
        "workflow_name": _shortened(name if isinstance(name, str) else None),
        "workflow_id": _workflow_id(extra),
    }
    if isinstance(program := extra.get(PROGRAM), str) and (shown := _shortened(program)):
        said["program"] = shown
    if any(type(value) is Alternatives for node in nodes for value in node.inputs.values()):
        said["swept"] = True
    if (batch := largest_batch(graph)) is not None:
        said["batch"] = batch.count
    if models := _models(nodes):
        said["models"] = models
    if isinstance(labels := extra.get("metadata"), dict) and labels:
        said["labels"] = labels
    return said


def _models(nodes: list[BoundNode]) -> dict[str, int]:
    """Of a swept input the first file alone: it is what a worker reads first."""
    chosen = (_first(value) for node in nodes for value in node.inputs.values())
    sizes: dict[str, int] = {}
    for file in chosen:
        if isinstance(file, FileRef) and file.folder not in ("input", "output", "temp"):
            with suppress(OSError):  # it went away since the graph was built
                sizes[file.path.name] = file.path.stat().st_size
    return sizes


def _workflow_id(extra: Mapping[str, object]) -> str | None:
    """The id that the editor gave the file which the graph was made of."""
    match extra:
        case {"extra_pnginfo": {"workflow": {"id": str(id_)}}}:
            return _shortened(id_)
        case _:
            return None


def _prompt(graph: Graph, nodes: list[BoundNode]) -> str | None:
    for node in nodes:
        positive = node.inputs.get("positive")
        if isinstance(positive, Link):
            found = _words(_upstream(graph, (positive.node,)))
            if found is not None:
                return found
    return _words(iter(nodes))


def _words(nodes: Iterator[BoundNode]) -> str | None:
    texts = (
        _first(node.inputs[spec.name])
        for node in nodes
        for spec in node.spec.inputs
        if isinstance(spec.widget, Text) and spec.widget.multiline
    )
    return next((text for text in texts if isinstance(text, str) and text.strip()), None)


def _first(value: object) -> object:
    return value.values[0] if isinstance(value, Alternatives) else value


def _upstream(graph: Graph, starts: tuple[str, ...]) -> Iterator[BoundNode]:
    """The nodes that `starts` rest on and they themselves, nearest first."""
    seen = dict.fromkeys(starts)
    pending = list(seen)
    for id_ in pending:
        node = graph.nodes.get(id_)
        if node is None:
            continue
        yield node
        for link in node.links():
            if link.node not in seen:
                seen[link.node] = None
                pending.append(link.node)


def _shortened(text: str | None) -> str | None:
    if not text:
        return None
    return " ".join(text[: 4 * WORDS].split())[:WORDS] or None
