"""What the engine costs for each node, with nodes that do nothing: `python -m bench.engine`.

`python -m bench.engine --against DIR` measures the build in DIR (`git worktree add DIR COMMIT`) in turns with this one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from bench import turns
from graph.build import build
from graph.cache import Cache
from graph.context import Run
from graph.document import DocNode, Document, Link
from graph.execute import Executor
from graph.files import Folders
from graph.fingerprint import fingerprints
from graph.spec import Registry, collect

SIZES = (10, 100, 1_000, 10_000)
REPEATS = 5
ROUNDS = {10: 16, 100: 16, 1_000: 8, 10_000: 4}
"""Of each build, by the number of nodes; the best counts, since what else the machine does can only add time."""
ITERATIONS = 1_000


@dataclass(frozen=True, slots=True)
class Row:
    """Microseconds of processor time a node, from document to results: build, names, plan, and running what has to."""

    shape: str
    nodes: int
    run: float
    cached: float


def table() -> list[Row]:
    """Chains and fans of growing size."""
    with tempfile.TemporaryDirectory() as base:
        folders = Folders.standard(Path(base))
        rows = []
        for name, shape in turns.SHAPES:
            for n in SIZES:
                run, cached = turns.measure(shape(n), folders, max(REPEATS, 200 // n))
                rows.append(Row(name, n, 1e6 * run / n, 1e6 * cached / n))
        return rows


def naming(nodes: int = 10_000) -> float:
    """Seconds to name the results of a chain."""
    with tempfile.TemporaryDirectory() as base:
        folders = Folders.standard(Path(base))
        graph = build(turns.chain(nodes), Registry([turns.source, turns.step, turns.sink]), folders)
        return min(turns.seconds(lambda: fingerprints(graph, folders)) for _ in range(REPEATS))


def iteration(iterations: int = ITERATIONS) -> float:
    """Seconds of one iteration of a loop: expand, bind, name, plan, and run two nodes."""
    from nodes import loops  # with torch, which nothing else here needs

    start = {"mode": "simple", "mode.num_iterations": iterations, "initial_iteration_value": Link("source", 0)}
    document = Document(
        {
            "source": DocNode("BenchSource", {"value": 1}),
            "start": DocNode("StartLoop", start),
            "step": DocNode("BenchStep", {"value": Link("start", 4), "amount": 1}),
            "end": DocNode("EndLoop", {"output_value": Link("step", 0), "next_iteration_value": Link("step", 0)}),
            "sink": DocNode("BenchSink", {"value": Link("end", 0), "number": 0}),
        }
    )
    registry = Registry([turns.source, turns.step, turns.sink, *collect(loops)])
    best = []
    with tempfile.TemporaryDirectory() as base:
        folders = Folders.standard(Path(base))
        for _ in range(REPEATS):
            with Executor(None, registry, folders, Cache(2**30, lambda value: 32)) as executor:
                best.append(turns.seconds(lambda: executor.execute(Run("loop", document))))
    return min(best) / iterations


def compare(other: Path) -> None:
    """Print a table of both builds, measured in turns: a round of one, a round of the other."""
    print(f"{date.today()}, µs of processor time a node; ratio: this build / {_commit(other)}\n")
    print("| shape | nodes | run, before | now | ratio | cached, before | now | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    with _worker(Path(__file__).resolve().parents[1]) as ours, _worker(other.resolve()) as theirs:
        for name, _ in turns.SHAPES:
            for n in SIZES:
                rounds = [(_ask(ours, name, n), _ask(theirs, name, n)) for _ in range(ROUNDS[n])]
                cells = []
                for kind in (0, 1):
                    now, before = (1e6 * min(both[who][kind] for both in rounds) / n for who in (0, 1))
                    cells += [f"{before:.1f}", f"{now:.1f}", f"{now / before:.2f}"]
                print(f"| {name} | {n} | {' | '.join(cells)} |", flush=True)
    print(
        f"\nNaming 10,000 nodes: {naming():.3f} s. A loop of {ITERATIONS} iterations: {1e3 * iteration():.3f} ms each."
    )


@contextmanager
def _worker(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that measures with the engine in `root`."""
    script = Path(turns.__file__)
    surroundings = {**os.environ, "PYTHONPATH": str(root), "PYTHONSAFEPATH": "1"}
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=surroundings
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _ask(process: subprocess.Popen[str], shape: str, n: int) -> tuple[float, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps([shape, n, max(1, 60 // n)]) + "\n")
    process.stdin.flush()
    run, cached = json.loads(process.stdout.readline())
    return run, cached


def _commit(root: Path) -> str:
    found = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or str(root)


def main() -> None:
    if sys.argv[1:2] == ["--against"] and len(sys.argv) == 3:
        compare(Path(sys.argv[2]))
        return
    print(f"{'shape':<6} {'nodes':>6} {'µs/node run':>12} {'µs/node cached':>15}")
    for row in table():
        print(f"{row.shape:<6} {row.nodes:>6} {row.run:>12.1f} {row.cached:>15.1f}")
    print(f"naming 10,000 nodes: {naming():.3f} s; an iteration of a loop: {1e3 * iteration():.3f} ms")


if __name__ == "__main__":
    main()
