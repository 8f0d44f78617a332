"""`main.py convert` and `check`, and the workflow files of all other commands: JSON of either format, or what carries it."""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from graph.build import Rule, build
from graph.document import as_json
from graph.errors import GraphError, GraphErrors
from graph.files import Folders
from graph.flatten import MOST_NODES
from graph.litegraph import read_editor
from graph.needs import MissingModel, MissingType, Needs, needs_of
from graph.node_shapes import Shapes, shapes_of
from graph.queue_time import next_seeds
from graph.replacements import RENAMED, Replacement
from graph.spec import Registry
from graph.unflatten import unflatten
from graph.whole_files import write_whole
from graph.workflow import Workflow, read_settings_workflow, read_workflow
from server.carried import Carried, NoWorkflow, carried, read_file

DONE, REFUSED = 0, 2  # exit statuses
Form = Literal["api", "editor"]


def understand(
    found: Carried,
    shapes: Shapes,
    folders: Folders,
    most_nodes: int = MOST_NODES,
    *,
    drawn: bool,
    replacements: Mapping[str, Replacement] = RENAMED,
) -> Workflow:
    """The workflow that a file carries: what the editor drew if `drawn`, else the graph that was run; and if it carries
    none, one like what another program says that it did. Raises GraphErrors and NoWorkflow.
    """
    try:
        raw = found.document() if drawn else found.request()
    except NoWorkflow:
        if (composed := read_settings_workflow(found.texts, folders)) is None:
            raise
        return composed
    return read_workflow(raw, shapes, replacements, most_nodes)


def open_workflow(name: str, registry: Registry, folders: Folders) -> Workflow:
    """The workflow in a file: the graph that a picture was made by. Raises GraphErrors, ValueError, OSError."""
    return understand(carried(read_file(name)), shapes_of(registry, folders), folders, drawn=False)


def convert(name: str, form: Form, registry: Registry, folders: Folders) -> int:
    """Print a workflow file in the other format. Returns the exit status."""
    try:
        shapes = shapes_of(registry, folders)
        workflow = understand(carried(read_file(name)), shapes, folders, drawn=form == "editor")
    except (GraphErrors, ValueError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return REFUSED
    for warning in workflow.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(json.dumps(in_form(workflow, form, shapes), indent=2))
    return DONE


def in_form(workflow: Workflow, form: Form, shapes: Shapes) -> Mapping[str, object]:
    """The workflow as JSON of either format; as the editor's it stays what it was, or is laid out."""
    if form == "api":
        return as_json(workflow.document)
    return workflow.file.raw if workflow.file else unflatten(workflow.document, shapes)


def step_seeds(name: str, shapes: Shapes) -> int:
    """Write the next seeds into a file of the editor, as its control words say. Returns the exit status."""
    try:
        text = Path(name).read_text("utf-8-sig")
        file = read_editor(json.loads(text))
        stepped = next_seeds(file, shapes, random.Random())
        if stepped != file.raw:
            indent = re.match(r"\s*\{\r?\n( +)", text)
            written = json.dumps(stepped, ensure_ascii=False, indent=len(indent[1]) if indent else None)
            write_whole(Path(name), written.encode())
    except (GraphErrors, ValueError, RecursionError, OSError) as error:
        print(f"--seed-after: {name}: {error}", file=sys.stderr)
        return REFUSED
    return DONE


def check(name: str, registry: Registry, folders: Folders, rules: Sequence[Rule], *, as_json: bool) -> int:
    """Print what a workflow file needs that is not here, and what else is wrong with it. Returns the exit status."""
    try:
        workflow = understand(carried(read_file(name)), shapes_of(registry, folders), folders, drawn=True)
    except (GraphErrors, ValueError, OSError) as error:
        print(json.dumps({"error": str(error)}) if as_json else f"{name}: {error}")
        return REFUSED
    report = checked(workflow, registry, folders, rules)
    if as_json:
        print(json.dumps(report.as_json(), indent=1))
    else:
        print("\n".join(report.lines()))
    return REFUSED if report.stops else DONE


class Report:
    """What is wrong with a workflow, each thing once."""

    def __init__(
        self, needs: Needs, errors: Sequence[GraphError], warnings: Sequence[GraphError], program: str
    ) -> None:
        self._needs = needs
        self._errors = errors
        self._warnings = warnings
        self._program = program

    @property
    def stops(self) -> bool:
        """Whether anything of it keeps the workflow from running as a whole."""
        return bool(self._needs or self._errors)

    def lines(self) -> list[str]:
        """For a person."""
        found = [*map(_type_line, self._needs.types), *map(_model_line, self._needs.models), *map(str, self._errors)]
        found += [f"warning: {warning}" for warning in self._warnings]
        return found or ["nothing is missing: the workflow can run"]

    def as_json(self) -> Mapping[str, object]:
        """For a program."""
        return {
            "types": [{"type": each.type, "nodes": list(each.nodes), "pack": each.pack} for each in self._needs.types],
            "models": [{"name": each.name, "folder": each.folder, "url": each.url} for each in self._needs.models],
            "errors": [error.as_json() for error in self._errors],
            "warnings": [warning.as_json() for warning in self._warnings],
            "program": self._program,
        }


def checked(workflow: Workflow, registry: Registry, folders: Folders, rules: Sequence[Rule]) -> Report:
    """What is wrong with a workflow. Nodes of unknown types, and files that are not there, are told once each."""
    graph = build(workflow.document, registry, folders, rules=rules)
    needs = needs_of(workflow, graph.problems, registry, folders)
    unknown = {node for each in needs.types for node in each.nodes}
    absent = {each.name for each in needs.models}
    other = [
        error
        for error in graph.problems
        if error.node_id not in unknown
        and error.code != "missing_node_type"
        and not (isinstance(error.received, str) and error.received in absent)
    ]
    errors = [error for error in other if error in graph.errors]
    warnings = [*workflow.warnings, *(error for error in other if error not in graph.errors)]
    return Report(needs, errors, warnings, workflow.program)


def _type_line(missing: MissingType) -> str:
    nodes = ", ".join(missing.nodes[:5]) + (f" and {len(missing.nodes) - 5} more" if len(missing.nodes) > 5 else "")
    more = f"; the pack {missing.pack} has it" if missing.pack else missing.near
    return f"node type {missing.type} is unknown here{more} (node {nodes})"


def _model_line(missing: MissingModel) -> str:
    where = f"; to be had at {missing.url}" if missing.url else ""
    return f"model {missing.name} is not in {missing.folder or 'any folder'}{where}"
