"""An engine with packs, for tests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from graph.build import Graph, Rule, build
from graph.cache import Cache
from graph.context import Run
from graph.document import parse
from graph.errors import GraphErrors
from graph.events import Event, NodeStarted
from graph.execute import Executor
from graph.files import Folders
from graph.result import Outputs
from graph.spec import Registry
from models.precision import Precision
from models.residency import Residency
from models.types import nbytes
from nodes.packs.collection import Packs, open_packs
from nodes.packs.found import Pack
from nodes.packs.trust import Answer, Standing
from nodes.registry import builtin
from nodes.services import Services

Written = dict[str, tuple[str, dict[str, Any]]]


def yes(pack: Pack, standing: Standing) -> Answer:
    """Whoever is asked says yes."""
    return Answer.YES


@dataclass
class Bench:
    """An engine with packs."""

    folders: Folders
    packs: Packs
    registry: Registry
    executor: Executor[Services]
    services: Services
    sent: list[tuple[str, Any]]
    events: list[Event] = field(default_factory=list)

    def build(self, nodes: Written) -> Graph:
        document = parse(
            json.dumps({key: {"class_type": kind, "inputs": given} for key, (kind, given) in nodes.items()})
        )
        return build(document, self.registry, self.folders, rules=[self.packs.rule])

    def run(self, nodes: Written) -> Mapping[str, Outputs]:
        """Run it all; `ran` then says which nodes were called."""
        self.events.clear()
        document = parse(
            json.dumps({key: {"class_type": kind, "inputs": given} for key, (kind, given) in nodes.items()})
        )
        graph = build(document, self.registry, self.folders, rules=[self.packs.rule])
        if graph.errors:
            raise GraphErrors(graph.errors)
        return self.executor.execute(Run("run", document, self.events.append), graph)

    def refresh(self) -> bool:
        """Look at the packs again, as a server does between jobs."""
        changed = self.packs.refresh(yes)
        self.registry.replace([*builtin().values(), *self.packs.specs])
        return changed

    @property
    def ran(self) -> list[str]:
        return sorted(event.node_id for event in self.events if isinstance(event, NodeStarted))

    def shown(self, nodes: Written, value: Any) -> Any:
        """What a link or value comes to."""
        results = self.run({**nodes, "show": ("ShapesShow", {"value": value})})
        return list(results["show"].ui["shown"])


@contextmanager
def open_bench(folders: Folders, rules: Sequence[Rule] = ()) -> Iterator[Bench]:
    """An engine with the packs of the base directory; whoever is asked says yes."""
    sent: list[tuple[str, Any]] = []
    with ExitStack() as stack:
        packs = stack.enter_context(
            open_packs(folders, builtin(), yes, lambda event, data, _: sent.append((event, data)))
        )
        registry = Registry([*builtin().values(), *packs.specs])
        services = Services(Residency(torch.device("cpu"), Precision(), 2**30), folders)
        executor = stack.enter_context(
            Executor(
                services,
                registry,
                folders,
                Cache(2**28, nbytes),
                scope=torch.inference_mode,
                rules=[packs.rule, *rules],
            )
        )
        yield Bench(folders, packs, registry, executor, services, sent)
