"""What the command line does, once its parts are built."""

from __future__ import annotations

import json
import logging
import random
import signal
import sqlite3
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from graph.account import Account
from graph.build import Graph, Rule, build
from graph.context import Cancel, Run
from graph.document import DocNode, Document, Link, NodeId
from graph.errors import GraphError, GraphErrors, Interrupted, NodeError, suggestion
from graph.events import Event, NodeFinished, NodeWarned, RunStarted
from graph.execute import Executor
from graph.explain import MemoryLedger
from graph.files import Folders
from graph.live import Results
from graph.node_shapes import shapes_of
from graph.object_info import describe, object_info
from graph.queue_time import resolve_texts
from graph.result import Ui
from graph.sockets import Float, Int, Toggle
from graph.spec import NodeSpec, Registry
from graph.sweep import read_sweep
from graph.workflow import Workflow
from server.console import Console
from server.copies import Copies
from server.database import Newer
from server.explanation import lines, told
from server.ledger import DATABASE, StoredLedger
from server.node_page import ENGLISH, all_nodes_page
from server.redact import Redactor
from server.sweep_options import read_option
from server.workflow_files import open_workflow

SEEDS = ("seed", "noise_seed")
_logger = logging.getLogger(__name__)
DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130  # exit statuses


def nodes(registry: Registry, folders: Folders, form: Literal["lines", "json", "page"]) -> int:
    """Print the node types: a line each, what `/object_info` answers, or a page of all that each does and takes."""
    if form == "json":
        print(json.dumps(object_info(registry, folders), indent=1))
    elif form == "page":
        print(all_nodes_page(object_info(registry, folders), {}, ENGLISH), end="")
    else:
        for spec in sorted(registry.values(), key=lambda spec: (spec.category, spec.type)):
            print(f"{spec.type:24} {spec.category:16} {_signature(spec)}")
    return DONE


def read_workflow(
    name: str,
    changes: Iterable[str],
    seed: str | None,
    sweeps: Iterable[str],
    registry: Registry,
    folders: Folders,
    *,
    resolve: bool = False,
) -> Workflow:
    """The workflow in a file (`-`: standard input) of any kind, changed as the command line says.

    changes: `NODE.INPUT=VALUE` each. seed: for every literal `seed` and `noise_seed`. sweeps: see `sweep_options`.
    resolve: texts are as editors queue them; with a seed they are the same every time.
    Raises GraphErrors, ValueError for a change that names nothing, OSError.
    """
    workflow = open_workflow(name, registry, folders)
    edited = dict(workflow.document.nodes)
    for change in changes:
        _change(edited, change, registry)
    if seed is not None:
        for node_id, node in edited.items():
            spec = registry.find(node.class_type)
            literals = (name for name in SEEDS if name in node.inputs and not isinstance(node.inputs[name], Link))
            inputs = {name: _typed(seed, spec, name) for name in literals}
            edited[node_id] = replace(node, inputs={**node.inputs, **inputs})
    for typed in sweeps:
        option = read_option(typed, edited)
        node = edited[option.node]
        raw = option.on(
            node.class_type, lambda type_: describe(registry[type_], folders) if type_ in registry else None
        )
        edited[option.node] = replace(node, inputs={**node.inputs, option.input: read_sweep(raw, lambda one: one)})
    is_changed = edited != workflow.document.nodes
    document = replace(workflow.document, nodes=edited)
    if resolve:
        document = resolve_texts(document, shapes_of(registry, folders), random.Random(seed), datetime.now())
    return replace(workflow, document=document, file=None if is_changed else workflow.file)


def run(
    open_executor: Callable[[], Executor[Any]],
    registry: Registry,
    folders: Folders,
    rules: Sequence[Rule],
    read: Callable[[], Workflow],
    *,
    as_json: bool,
    explain: bool = False,
) -> int:
    """Run a workflow, show its progress on standard error, print the files it wrote. Returns the exit status.

    What is wrong with the workflow is said before `open_executor` is called. explain: say of each node what it did and
    why, compared with what ran in this base directory before; what runs now is remembered there in any case.
    """
    report = _Report(folders, as_json)
    cancel, account = Cancel(), Account()
    try:
        workflow = read()
        document = workflow.document
        graph = build(document, registry, folders, rules=rules)
        report.problems(graph, workflow.warnings)
        if graph.errors:
            return report.end(REFUSED)
        titles = {node_id: str(node.meta.get("title", node.class_type)) for node_id, node in document.nodes.items()}
        console = Console(sys.stderr, titles)

        def show(event: Event) -> None:
            console(event)
            account(event)
            report.event(event, document)

        explaining = report.explaining(account, titles if explain else None)
        with explaining, open_executor() as executor, stopping_on_ctrl_c(cancel):
            started = time.monotonic()
            results = executor.execute(Run(uuid.uuid4().hex, document, show, cancel, _extra(workflow)), graph)
    except GraphErrors as error:
        report.errors(error.problems)
        return report.end(REFUSED)
    except (ValueError, OSError) as error:
        report.errors([GraphError("invalid_request", str(error))])
        return report.end(REFUSED)
    except NodeError as error:
        report.failure(error)
        report.cells()
        return report.end(FAILED)
    except Interrupted:
        print("interrupted", file=sys.stderr)
        report.cells()
        return report.end(INTERRUPTED)
    report.results(results, time.monotonic() - started)
    return report.end(DONE)


def _extra(workflow: Workflow) -> Mapping[str, object]:
    """What pictures are to carry besides the graph: the file of the editor that it came from."""
    return {"extra_pnginfo": {"workflow": workflow.file.raw}} if workflow.file else {}


def _change(edited: dict[str, DocNode], change: str, registry: Registry) -> None:
    """Apply one `NODE.INPUT=VALUE`. VALUE is text as typed, or a link written `[node, slot]`."""
    target, equals, value = change.partition("=")
    node_id, dot, name = target.partition(".")
    if not (equals and dot and name):
        raise ValueError(f"--set {change}: expected NODE.INPUT=VALUE, such as 6.text=hello")
    node = edited.get(node_id)
    if node is None:
        raise ValueError(f"--set {change}: the workflow has no node {node_id!r}{suggestion(node_id, edited)}")
    spec = registry.find(node.class_type)
    known = {given.name for given in spec.inputs} if spec else {name}
    if name not in known:
        raise ValueError(f"--set {change}: {node.class_type} has no input {name!r}{suggestion(name, known)}")
    edited[node_id] = replace(node, inputs={**node.inputs, name: _link(value) or _typed(value, spec, name)})


def _link(text: str) -> Link | None:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return None
    match given:
        case [str() | int() as node_id, int() as slot] if not isinstance(slot, bool):
            return Link(str(node_id), slot)
        case _:
            return None


def _typed(text: str, spec: NodeSpec | None, name: str) -> object:
    """What was typed, as JSON would have it; as it is where the input takes something else, for `build` to say so."""
    widget = next((given.widget for given in spec.inputs if given.name == name), None) if spec else None
    if not isinstance(widget, Int | Float | Toggle):
        return text
    try:
        return json.loads(text.strip())
    except (ValueError, RecursionError):
        return text


@contextmanager
def stopping_on_ctrl_c(cancel: Cancel) -> Iterator[None]:
    """Let the first Ctrl+C stop the run cleanly; a second one breaks off as usual."""

    def stop(signum: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        cancel.set()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Report:
    """What a run came to, as lines for a person or as one JSON object."""

    def __init__(self, folders: Folders, as_json: bool) -> None:
        self._folders = folders
        self._as_json = as_json
        self._json: dict[str, object] = {"files": [], "errors": []}
        self._warnings: list[GraphError] = []
        self._copies = Copies()
        self._once: dict[NodeId, Ui] = {}

    def problems(self, graph: Graph, lost: Sequence[GraphError]) -> None:
        """Errors and warnings of the workflow itself; `lost` tells what of its file is not in it."""
        self.errors(graph.errors)
        warnings = [*lost, *graph.warnings]
        self._warnings.extend(warnings)
        for problem in warnings:
            print(f"warning: {problem}", file=sys.stderr)

    def event(self, event: Event, document: Document) -> None:
        """Show and keep what a node warned of, and keep what the cells of a sweep show."""
        if isinstance(event, RunStarted):
            self._copies.begin(event)
        elif isinstance(event, NodeFinished) and event.ui:
            if event.cell is None:
                self._once[event.node_id] = event.ui
            else:
                self._copies.show(event.node_id, event.cell, event.ui)
        if isinstance(event, NodeWarned):
            node_type = document.nodes[event.node_id].class_type if event.node_id in document.nodes else ""
            warning = event.warning
            told = GraphError("node_warning", warning.message, event.node_id, node_type, warning.input_name)
            if str(told) not in map(str, self._warnings):  # the run tells those of the workflow itself too
                self._warnings.append(told)
                print(f"warning: {told}", file=sys.stderr)

    def errors(self, problems: Sequence[GraphError]) -> None:
        """Why the workflow cannot run."""
        self._json["errors"] = [problem.as_json() for problem in problems]
        for problem in problems:
            print(problem, file=sys.stderr)

    def failure(self, error: NodeError) -> None:
        """Which node failed, and how."""
        self._json["errors"] = [
            {
                "code": "node_failed",
                "message": error.message,
                "node_id": error.node_id,
                "node_type": error.node_type,
                "input_name": error.input_name,
                "inputs": dict(error.inputs),
            }
        ]
        print(error, file=sys.stderr)

    @contextmanager
    def explaining(self, account: Account, titles: Mapping[NodeId, str] | None) -> Iterator[None]:
        """After the run, remember what ran; say what and why if there are `titles` to say it with."""
        try:
            yield
        finally:
            try:
                with closing(StoredLedger(self._folders.base / DATABASE)) as ledger:
                    explained = account.explain(ledger)
            except (sqlite3.Error, Newer, OSError) as error:
                _logger.debug("what ran could not be remembered", exc_info=error)
                if titles is not None:
                    print(f"what ran before could not be read: {error}", file=sys.stderr)
                explained = account.explain(MemoryLedger())
            if titles is not None:
                self._json["explain"] = told(explained, Redactor({}))
                for line in lines(explained, titles):
                    print(line, file=sys.stderr)

    def results(self, results: Results, seconds: float) -> None:
        """The files that were written, and everything else there is to show."""
        self._json["seconds"] = round(seconds, 3)
        if self._copies.copies:
            self.cells()
        else:
            self._shown({node_id: outputs.ui for node_id, outputs in results.items()})

    def cells(self) -> None:
        """What the cells of a sweep have shown so far; nothing of any other run."""
        if self._copies.copies:
            self._json["sweep"] = self._copies.sweep()
            self._shown(self._copies.outputs(self._once))

    def _shown(self, outputs: Mapping[NodeId, Ui]) -> None:
        self._json["outputs"] = outputs
        files = [str(path) for ui in outputs.values() for path in self._folders.shown_files(ui)]
        self._json["files"] = files
        if not self._as_json:
            print("\n".join(files))

    def end(self, status: int) -> int:
        """Print the JSON object, if that is wanted; gives the exit status back."""
        if self._as_json:
            names = {DONE: "success", FAILED: "failed", REFUSED: "refused", INTERRUPTED: "interrupted"}
            warnings = [problem.as_json() for problem in self._warnings]
            print(json.dumps({"status": names[status], **self._json, "warnings": warnings}))
        return status


def _signature(spec: NodeSpec) -> str:
    given = ", ".join(f"{i.name}: {i.socket}" for i in spec.inputs)
    made = ", ".join(output.name for output in spec.outputs) or "files"
    return f"({given}) -> {made}"
