"""The real engine on a directory of its own, as `main.py run` puts it together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from graph.build import build
from graph.cache import Cache
from graph.calls import Relief
from graph.context import Cancel, Run
from graph.document import NodeId, parse
from graph.events import Event, NodeStarted
from graph.execute import Executor
from graph.files import Folders
from graph.result import Outputs
from models.precision import Precision
from models.residency import Residency, is_out_of_memory
from models.types import nbytes
from nodes.registry import builtin
from nodes.services import Services


@dataclass
class Engine:
    """Runs workflows, and remembers what happened in the last run."""

    services: Services
    executor: Executor[Services]
    events: list[Event] = field(default_factory=list)
    cancel: Cancel = field(default_factory=Cancel)

    @property
    def folders(self) -> Folders:
        return self.services.folders

    @property
    def ran(self) -> list[NodeId]:
        """The nodes that were called in the last run, sorted."""
        return sorted(event.node_id for event in self.events if isinstance(event, NodeStarted))

    def run(self, text: str, targets: Sequence[NodeId] | None = None) -> Mapping[NodeId, Outputs]:
        """The outputs of the targets. Raises GraphErrors, NodeError or Interrupted."""
        self.events.clear()
        document = parse(text)
        graph = build(document, builtin(), self.folders, targets)
        assert not graph.errors, graph.errors
        return self.executor.execute(Run("run", document, self.heard, self.cancel), graph)

    def heard(self, event: Event) -> None:
        self.events.append(event)

    def pictures(self, results: Mapping[NodeId, Outputs], node: NodeId = "9") -> list[Path]:
        """The files that a SaveImage says it has written."""
        entries: Sequence[Any] = results[node].ui["images"]
        return [self.folders.output_dir / entry["subfolder"] / entry["filename"] for entry in entries]


@contextmanager
def open_engine(base: Path, budget: int = 2**30, packing: bool = False) -> Iterator[Engine]:
    """An engine on `base`, in float32 on the CPU; `budget` bytes for weights and activations."""
    folders = Folders.standard(base)
    residency = Residency(torch.device("cpu"), Precision(), budget, packing, is_same=folders.identity.matches)
    services = Services(residency, folders)
    relief = Relief(is_out_of_memory, services.residency.clear)
    with Executor(
        services, builtin(), folders, Cache(2**28, nbytes), scope=torch.inference_mode, relief=relief
    ) as executor:
        yield Engine(services, executor)
