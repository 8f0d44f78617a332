"""`main.py convert` and `check`, and the workflow files of all other commands: JSON of either format, or what carries it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Literal

from graph.build import Rule, build
from graph.document import as_json
from graph.errors import GraphError, GraphErrors
from graph.files import Folders
from graph.needs import MissingModel, MissingType, Needs, needs_of
from graph.node_shapes import shapes_of
from graph.spec import Registry
from graph.unflatten import unflatten
from graph.workflow import Workflow, read_workflow
from server.carried import open_file

DONE, REFUSED = 0, 2  # exit statuses
Form = Literal["api", "editor"]


def open_workflow(name: str, registry: Registry, folders: Folders) -> Workflow:
    """The workflow in a file: the graph that a picture was made by. Raises GraphErrors, ValueError, OSError."""
    return read_workflow(open_file(name).request(), shapes_of(registry, folders))


def convert(name: str, form: Form, registry: Registry, folders: Folders) -> int:
    """Print a workflow file in the other format. Returns the exit status."""
    try:
        file = open_file(name)
        shapes = shapes_of(registry, folders)
        if form == "api":
            workflow = read_workflow(file.request(), shapes)
            made: object = as_json(workflow.document)
        else:
            workflow = read_workflow(file.document(), shapes)
            made = workflow.file.raw if workflow.file else unflatten(workflow.document, shapes)
    except (GraphErrors, ValueError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return REFUSED
    for warning in workflow.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(json.dumps(made, indent=2))
    return DONE


def check(name: str, registry: Registry, folders: Folders, rules: Sequence[Rule], *, as_json: bool) -> int:
    """Print what a workflow file needs that is not here, and what else is wrong with it. Returns the exit status."""
    try:
        workflow = read_workflow(open_file(name).document(), shapes_of(registry, folders))
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

    def __init__(self, needs: Needs, errors: Sequence[GraphError], warnings: Sequence[GraphError]) -> None:
        self._needs = needs
        self._errors = errors
        self._warnings = warnings

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
    return Report(needs, errors, warnings)


def _type_line(missing: MissingType) -> str:
    nodes = ", ".join(missing.nodes[:5]) + (f" and {len(missing.nodes) - 5} more" if len(missing.nodes) > 5 else "")
    more = f"; the pack {missing.pack} has it" if missing.pack else missing.near
    return f"node type {missing.type} is unknown here{more} (node {nodes})"


def _model_line(missing: MissingModel) -> str:
    where = f"; to be had at {missing.url}" if missing.url else ""
    return f"model {missing.name} is not in {missing.folder or 'any folder'}{where}"
