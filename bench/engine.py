"""What the engine costs for each node, with nodes that do nothing: `python -m bench.engine`."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from graph.cache import Cache
from graph.context import Context, Run
from graph.document import DocNode, Document, Link
from graph.execute import Executor
from graph.files import Folders
from graph.result import Outputs
from graph.spec import Registry, node

SIZES = (10, 100, 1_000, 10_000)
REPEATS = 5


@node("BenchSource", category="bench")
def source(ctx: Context[None], *, value: int) -> int:
    """A number."""
    return value


@node("BenchStep", category="bench")
def step(ctx: Context[None], *, value: int, amount: int) -> int:
    """Another number."""
    return value + amount


@node("BenchSink", category="bench", terminal=True)
def sink(ctx: Context[None], *, value: int, number: int) -> Outputs:
    """What the graph is run for."""
    return Outputs()


@dataclass(frozen=True, slots=True)
class Row:
    """Microseconds a node, from document to results: build, fingerprints, plan, and running what has to."""

    shape: str
    nodes: int
    run: float
    cached: float


def chain(n: int) -> Document:
    """A source, `n - 2` steps one behind the other, a sink."""
    nodes = {"0": DocNode("BenchSource", {"value": 1})}
    for i in range(1, n - 1):
        nodes[str(i)] = DocNode("BenchStep", {"value": Link(str(i - 1), 0), "amount": i})
    nodes[str(n - 1)] = DocNode("BenchSink", {"value": Link(str(n - 2), 0), "number": 0})
    return Document(nodes)


def fan(n: int) -> Document:
    """A source, and `n - 1` sinks that read it: as many targets."""
    nodes = {"0": DocNode("BenchSource", {"value": 1})}
    for i in range(1, n):
        nodes[str(i)] = DocNode("BenchSink", {"value": Link("0", 0), "number": i})
    return Document(nodes)


def measure(shape: Callable[[int], Document], n: int) -> Row:
    """The best of a few rounds: what else the machine does can only add time."""
    document = shape(n)
    count = len(document.nodes)
    first, again = [], []
    with tempfile.TemporaryDirectory() as base:
        folders = Folders.standard(Path(base))
        registry = Registry([source, step, sink])
        for _ in range(REPEATS):
            with Executor(None, registry, folders, Cache(2**30, lambda value: 32)) as executor:
                first.append(_seconds(lambda: executor.execute(Run("first", document))))
                for _ in range(max(1, 1000 // n)):  # a short run needs more tries to find the machine at its task
                    again.append(_seconds(lambda: executor.execute(Run("again", document))))
    return Row(shape.__name__, count, 1e6 * min(first) / count, 1e6 * min(again) / count)


def table() -> list[Row]:
    """Chains and fans of growing size."""
    return [measure(shape, n) for shape in (chain, fan) for n in SIZES]


def _seconds(call: Callable[[], object]) -> float:
    gc.collect()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    print(f"{'shape':<6} {'nodes':>6} {'µs/node run':>12} {'µs/node cached':>15}")
    for row in table():
        print(f"{row.shape:<6} {row.nodes:>6} {row.run:>12.1f} {row.cached:>15.1f}")


if __name__ == "__main__":
    main()
