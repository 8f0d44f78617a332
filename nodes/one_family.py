"""Models, texts, latents, autoencoders, controls and adapters that do not fit each other are found before anything runs, by headers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from graph.build import BoundNode, Graph
from graph.document import Link
from graph.errors import GraphError
from graph.files import FileRef
from models.types import Conditioning, Guider, Latent, Model, Vae
from nodes.origins import STEERING, Origin, Origins, socket_of

OWN = frozenset({"input", "output", "temp"})
"""Folders of which no file is a model's."""


class OneFamily:
    """A rule for graphs: what goes into one node is of one family."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins

    def __call__(self, graph: Graph) -> Iterator[GraphError]:
        """What does not fit, each named with both files."""
        if len(_model_files(graph)) < 2:  # as in most graphs: there is nothing that it could be at odds with
            return
        made = self._origins(graph)
        for node_id in graph.order:
            node = graph.nodes[node_id]
            given = {name: made.get(value, ()) for name, value in node.inputs.items() if type(value) is Link}
            sockets = {name: socket_of(value, graph) for name, value in node.inputs.items() if type(value) is Link}
            yield from _faults(node, given, sockets, list(self._origins.adapters(node)))


def _model_files(graph: Graph) -> set[Path]:
    """The files that a graph reads, without the user's pictures and what is made of them."""
    values = (value for node in graph.nodes.values() for value in node.inputs.values())
    return {value.path for value in values if type(value) is FileRef and value.folder not in OWN}


def _faults(
    node: BoundNode,
    given: Mapping[str, tuple[Origin, ...]],
    sockets: Mapping[str, str],
    adapters: Sequence[tuple[str, Origin]],
) -> Iterator[GraphError]:
    """What of a node's inputs is of another family than its model, or its autoencoder."""

    def of(*kinds: str) -> list[tuple[str, Origin]]:
        return [(name, origin) for name, origins in given.items() if sockets[name] in kinds for origin in origins]

    for _, model in of(Model.socket, Guider.socket)[:1]:
        for name, other in of(Conditioning.socket):
            if other.family.name and other.family.text != model.family.text:
                yield _fault(node, name, f"was encoded by {_named(other)}", model)
        for name, other in of(Latent.socket):
            if other.family.latent != model.family.latent:
                yield _fault(node, name, f"was made by {_named(other)}", model)
        for name, other in (*of(Conditioning.socket, *STEERING), *adapters):
            if not other.family.name and other.reads and model.reads and other.reads != model.reads:
                yield _fault(node, name, f"{other.file} was made for texts of width {other.reads}", model)
    for name, vae in of(Vae.socket):
        for _, other in of(Latent.socket):
            if other.family.latent != vae.family.latent:
                yield _fault(node, name, f"is that of {_named(vae)}", other)


def _fault(node: BoundNode, name: str, what: str, other: Origin) -> GraphError:
    message = f"{what}, but goes with {_named(other)}: they do not fit each other"
    return GraphError("families_differ", message, node.id, node.spec.type, name, expected=f"one of {other.family.name}")


def _named(origin: Origin) -> str:
    return f"{origin.file} ({origin.family.name})"
