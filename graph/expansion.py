"""An expansion as a graph: bound, named and held to the rules before any of it runs."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence

from graph.build import BoundNode, Graph, Rule, build_inner
from graph.document import Link, NodeId
from graph.errors import GraphError, GraphErrors, Severity
from graph.files import Folders
from graph.fingerprint import Namer
from graph.plan import Task
from graph.result import Expand
from graph.scope import Scope
from graph.spec import Registry

DEEPEST = 10_000
"""Expansions inside one another; a node that expands to itself without end would fill the memory."""


def entered(
    task: Task, expansion: Expand, registry: Registry, folders: Folders, namer: Namer, rules: Sequence[Rule]
) -> tuple[Scope, tuple[NodeId, ...]]:
    """The graph that takes the place of `task`, and what has to run in it. Raises GraphErrors."""
    scope = task.scope
    outputs = [output for output in expansion.outputs if type(output) is Link]
    graph = build_inner(expansion.nodes, [output.node for output in outputs], registry, folders, scope.bound)
    if problems := [*graph.errors] or _loose(task, expansion, graph):
        raise GraphErrors(problems)
    _obey(graph, scope, rules)
    names = namer.name(graph, scope.name, f"{task.name}.{task.rounds}")
    return Scope(
        nodes=graph.nodes,
        names=names,
        outer=scope,
        prefix=f"{task.id}.",
        display=expansion.display,
        shown_at=task.display_id or task.id,
        depth=scope.depth + 1,
    ), graph.targets


def _loose(task: Task, expansion: Expand, graph: Graph) -> list[GraphError]:
    """What is wrong with the outputs of an expansion."""
    problems = []
    wanted, given = len(task.node.spec.outputs), len(expansion.outputs)
    if expansion.then is None and given != wanted:
        problems.append(GraphError("invalid_expansion", f"gave {given} outputs, expected {wanted}"))
    for output in expansion.outputs:
        if type(output) is Link:
            node = graph.nodes.get(output.node) or task.scope.bound(output.node)
            if node is None or not 0 <= output.slot < len(node.spec.outputs):
                message = f"gave output {output.slot} of node {output.node}, which does not exist"
                problems.append(GraphError("invalid_expansion", message))
    if task.scope.depth >= DEEPEST:
        problems.append(GraphError("invalid_expansion", f"expanded {DEEPEST} levels deep without end"))
    return problems


def _obey(graph: Graph, outer: Scope, rules: Sequence[Rule]) -> None:
    """Hold an expansion to the rules. A node that writes files shows them where its inputs come from."""
    around: Mapping[NodeId, BoundNode] = ChainMap(dict(graph.nodes), *(dict(scope.nodes) for scope in outer.outwards()))
    whole = Graph(around, graph.order, graph.targets)
    if problems := [problem for rule in rules for problem in rule(whole) if problem.severity is Severity.ERROR]:
        raise GraphErrors(problems)
