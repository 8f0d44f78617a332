"""What nodes may use besides their inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from graph.context import Context as GraphContext
from graph.errors import InputError
from graph.files import Folders
from graph.labels import Labels
from graph.node_shapes import NodeShape, Shapes
from models.residency import Residency
from models.tokenizer import ClipTokenizer
from models.types import ModelHandle, Network, SafetyModel
from models.weights import CheckpointError


def _no_shape(type_name: str) -> NodeShape | None:
    return None


@dataclass(frozen=True)
class Services:
    """Made once by `main.py`, handed to every node through its context. checker: the operator's, with --require-safety.

    `shapes` knows the node types, for files that are to say which workflow made them; `labels` is what they may say.
    decoded_previews: samplers show their latents by TAESD.
    """

    residency: Residency
    folders: Folders
    tokenizer: ClipTokenizer = field(default_factory=ClipTokenizer)
    checker: SafetyModel | None = None
    shapes: Shapes = _no_shape
    labels: Labels = field(default_factory=Labels)
    decoded_previews: bool = False

    @contextmanager
    def use(self, handle: ModelHandle[Network], input_name: str, streamed: bool = False) -> Iterator[Network]:
        """The network that `handle` names, for the length of a `with`; what is wrong with its file blames the input.

        streamed: see Residency.use.
        """
        try:
            with self.residency.use(handle, streamed) as network:
                yield network
        except CheckpointError as error:
            raise InputError(input_name, str(error)) from error


Context: TypeAlias = GraphContext[Services]
