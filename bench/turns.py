"""One build's half of a comparison in turns: measures what standard input asks for, with the engine that Python finds."""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from graph.cache import Cache
from graph.context import Context, Run
from graph.document import DocNode, Document, Link
from graph.execute import Executor
from graph.files import Folders
from graph.result import Outputs
from graph.spec import Registry, node


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


SHAPES: tuple[tuple[str, Callable[[int], Document]], ...] = (("chain", chain), ("fan", fan))


def seconds(call: Callable[[], object]) -> float:
    """Seconds of processor time that a call takes, without the garbage of those before: all of it is computing, and what
    else the machine does counts least so."""
    gc.collect()
    start = time.process_time()
    call()
    return time.process_time() - start


def measure(document: Document, folders: Folders, rounds: int) -> tuple[float, float]:
    """Seconds to run a document that nobody knows, and to find it at hand: the best of a few."""
    registry = Registry([source, step, sink])
    first, again = [], []
    for _ in range(rounds):
        with Executor(None, registry, folders, Cache(2**30, lambda value: 32)) as executor:
            first.append(seconds(lambda: executor.execute(Run("first", document))))
            again += [seconds(lambda: executor.execute(Run("again", document))) for _ in range(3)]
    return min(first), min(again)


def main() -> None:
    """Answer `["chain", 1000, rounds]` with `[seconds run, seconds cached]`, line by line."""
    shapes = dict(SHAPES)
    with tempfile.TemporaryDirectory() as base:
        folders = Folders.standard(Path(base))
        for line in sys.stdin:
            shape, n, rounds = json.loads(line)
            print(json.dumps(measure(shapes[shape](n), folders, rounds)), flush=True)


if __name__ == "__main__":
    main()
