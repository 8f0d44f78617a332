"""A workplace for nodes: directories, a tiny checkpoint, and contexts to call node functions with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from graph.context import Cancel, Run
from graph.context import Context as GraphContext
from graph.document import Document, parse
from graph.events import Event
from graph.files import FileRef, Folders
from graph.result import NodeWarning
from models.precision import Precision
from models.residency import Residency
from nodes.services import Context, Services
from tests.tiny_checkpoint import write_tiny_checkpoint

CHECKPOINT = "tiny.safetensors"


@dataclass
class Workplace:
    """Services on a directory of their own."""

    base: Path
    services: Services
    events: list[Event] = field(default_factory=list)
    warnings: list[NodeWarning] = field(default_factory=list)  # of all nodes that were called

    @property
    def folders(self) -> Folders:
        return self.services.folders

    @property
    def output(self) -> Path:
        return self.folders.output_dir

    def ctx(
        self,
        document: Document | str = "{}",
        cancel: Cancel | None = None,
        extra: Mapping[str, object] | None = None,
        emit: Callable[[Event], None] | None = None,
    ) -> Context:
        """What a node of `document` is called with."""
        document = parse(document) if isinstance(document, str) else document
        run = Run("run", document, emit or self.events.append, cancel or Cancel(), extra or {})
        return GraphContext("1", run, self.services, warnings=self.warnings)

    def file(self, folder: str, name: str) -> FileRef:
        """What a node gets for a file that was chosen by its name."""
        return self.folders.find(folder, name)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints") / CHECKPOINT)


@pytest.fixture
def place(tmp_path: Path, tiny_checkpoint: Path, one_thread: None) -> Iterator[Workplace]:
    folders = Folders.standard(tmp_path / "base")
    residency = Residency(torch.device("cpu"), Precision(), budget=2**30)
    (folders.roots("checkpoints")[0] / CHECKPOINT).write_bytes(tiny_checkpoint.read_bytes())
    with torch.inference_mode():  # as the executor calls nodes
        yield Workplace(tmp_path / "base", Services(residency, folders))
