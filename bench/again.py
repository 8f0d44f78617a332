"""The default workflow once more, with everything at hand: what the engine itself takes for a run."""

from __future__ import annotations

import statistics
import tempfile

import main
from bench.pairs import timed
from bench.start import WORKFLOW
from graph.context import Run
from graph.document import parse
from server.options import parser

RUNS = 50


def seconds() -> float:
    """Median seconds from document to results for a run whose every result is kept; its picture was written before."""
    document = parse(WORKFLOW.read_text("utf-8"))
    with tempfile.TemporaryDirectory() as base:
        options = parser().parse_args(["run", str(WORKFLOW), "--base-directory", base, "--cpu"])
        folders = main.open_folders(options)
        registry = main.open_registry(options)
        services, cache = main.open_services(options, folders, registry), main.open_cache(options)
        with main.open_executor(options, registry, folders, [], services, cache) as executor:
            executor.execute(Run("first", document))
            return statistics.median(timed(lambda: executor.execute(Run("again", document))) for _ in range(RUNS))
