"""What a sweep costs beside the nodes it has to run: `python -m bench.sweep [CELLS [STEPS [PIXELS]]]`."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any

import main as program
from bench.start import WORKFLOW
from graph.context import Run
from graph.document import DocNode, Document, parse
from graph.events import Event, NodeFinished
from graph.sweep import read_sweep
from server.options import parser

CELLS, STEPS, PIXELS = 96, 4, 128


@dataclass(slots=True)
class Spent:
    """Hears a run: seconds of its device nodes, which run one at a time, and how many nodes ran."""

    device: float = 0.0
    ran: int = 0
    io: frozenset[str] = field(default_factory=frozenset)

    def __call__(self, event: Event) -> None:
        if isinstance(event, NodeFinished) and not event.cached:
            self.ran += 1
            if event.node_id not in self.io:
                self.device += event.seconds


@dataclass(frozen=True, slots=True)
class Row:
    """A sweep: its wall time, and the time of the device nodes in it, from one and the same run."""

    cells: int
    nodes: int
    wall: float
    device: float

    @property
    def ratio(self) -> float:
        return self.wall / self.device


def document(cells: int, steps: int, pixels: int) -> Document:
    """The default workflow, small, with `cells` combinations: two prompts, cfg scales and seeds."""
    given: dict[str, dict[str, Any]] = {
        "6": {"text": {"__sweep__": ["a white cat", "a blue boat"]}},
        "3": {
            "cfg": {"__sweep__": [1.0, 2.0, 4.0, 8.0]},
            "seed": {"__seeds__": {"from": 1, "count": max(1, cells // 8)}},
            "steps": steps,
        },
        "5": {"width": pixels, "height": pixels},
    }
    nodes = dict(parse(WORKFLOW.read_text("utf-8")).nodes)
    for node_id, inputs in given.items():
        old = nodes[node_id]
        swept = {name: read_sweep(it, lambda one: one) if isinstance(it, dict) else it for name, it in inputs.items()}
        nodes[node_id] = DocNode(old.class_type, {**old.inputs, **swept}, old.meta)
    return Document(nodes)


def measure(cells: int = CELLS, steps: int = STEPS, pixels: int = PIXELS) -> Row:
    """One sweep over the embedded model, whose networks are loaded before by a run of another seed."""
    with tempfile.TemporaryDirectory() as base:
        options = parser().parse_args(["run", str(WORKFLOW), "--base-directory", base, "--cpu"])
        folders, registry = program.open_folders(options), program.open_registry(options)
        services, cache = program.open_services(options, folders, registry), program.open_cache(options)
        with program.open_executor(options, registry, folders, [], services, cache) as executor:
            executor.execute(Run("warm", document(8, 1, pixels)))
            cache.clear()
            swept = document(cells, steps, pixels)
            io = (node_id for node_id, node in swept.nodes.items() if registry[node.class_type].lane == "io")
            spent = Spent(io=frozenset(io))
            begun = time.perf_counter()
            executor.execute(Run("sweep", swept, spent))
            wall = time.perf_counter() - begun
    return Row(8 * max(1, cells // 8), spent.ran, wall, spent.device)


def main() -> None:
    row = measure(*map(int, sys.argv[1:]))
    print("| cells | nodes run | sweep | its device nodes | ratio |\n|---|---|---|---|---|")
    print(f"| {row.cells} | {row.nodes} | {row.wall:.2f} s | {row.device:.2f} s | {row.ratio:.4f} |")


if __name__ == "__main__":
    main()
