"""Document -> Graph: every name resolved, every value converted, every problem found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from graph.axes import Swept, faults
from graph.bind import Binder
from graph.bound import BoundNode, Graph, Input, Rule
from graph.document import DocNode, Document, NodeId
from graph.errors import GraphError, Severity, brief
from graph.files import Folders
from graph.order import reachable, reverse
from graph.spec import Registry
from graph.sweep import Alternatives

__all__ = ("BoundNode", "Graph", "Input", "Rule", "build", "build_inner", "enforce", "parts")


def build(
    document: Document,
    registry: Registry,
    folders: Folders,
    targets: Sequence[NodeId] | None = None,
    rules: Sequence[Rule] = (),
) -> Graph:
    """Bind `document` to node types. Never raises: what is wrong is in `problems`, what can run is the rest.

    `targets` may name any nodes; None means all that write files. `rules`: see `enforce`.
    """
    binder = Binder(document.nodes, registry, folders)
    problems = binder.bind_all(document)
    if targets is None:
        wanted = binder.outputs
        if not wanted:
            problems.append(GraphError("prompt_no_outputs", "nothing to do: no node of this workflow writes a file"))
    else:
        wanted = [target for target in dict.fromkeys(targets) if target in document.nodes]
        problems.extend(_no_target(target) for target in targets if target not in document.nodes)
    return enforce(_runnable(binder, wanted, problems), (_sweep_fits, *rules) if binder.swept else rules)


def build_inner(
    nodes: Mapping[NodeId, DocNode],
    outputs: Iterable[NodeId],
    registry: Registry,
    folders: Folders,
    outer: Callable[[NodeId], BoundNode | None],
) -> Graph:
    """Bind an expansion: `outputs` and all that write files are the targets. Links may also lead to `outer` nodes."""
    binder = Binder(nodes, registry, folders, outer)
    problems = binder.bind_all(Document(nodes))
    wanted = [*dict.fromkeys(output for output in outputs if output in nodes)]
    wanted += [node_id for node_id in binder.outputs if node_id not in wanted]
    return _runnable(binder, wanted, problems)


def _runnable(binder: Binder, wanted: Sequence[NodeId], problems: Sequence[GraphError]) -> Graph:
    """What of the wanted nodes can run, and what of the problems keeps others from it."""
    bound, order, sources = binder.bound, binder.order, binder.sources
    broken = {problem.node_id for problem in problems if problem.severity is Severity.ERROR}
    stuck = reachable(broken, reverse(sources())) if broken else broken
    runnable = tuple(target for target in wanted if target not in stuck)
    kept = binder.read.union(runnable)
    if stuck or len(kept) < len(order):  # some lead nowhere
        kept = reachable(runnable, sources())
    if len(kept) < len(order):
        order = tuple(node_id for node_id in order if node_id in kept)
    if problems:
        if not len(runnable) == len(wanted) > 0:
            every = sources()
            kept = reachable(wanted or every, every)
        problems = [problem if problem.node_id in kept else _harmless(problem) for problem in problems]
    return Graph(
        nodes=bound if len(order) == len(bound) else {node_id: bound[node_id] for node_id in order},
        order=order,
        targets=runnable,
        blocked=tuple(target for target in wanted if target in stuck),
        problems=tuple(problems),
        swept=binder.swept,
    )


def enforce(graph: Graph, rules: Sequence[Rule]) -> Graph:
    """`graph` without the targets that rest on a node some rule objects to; they are `blocked`.

    An error that names no node objects to the graph as a whole.
    """
    found = [problem for rule in rules for problem in rule(graph)]
    if not found:
        return graph
    wrong = {problem.node_id for problem in found if problem.severity is Severity.ERROR}
    sources = {node_id: [link.node for link in node.links()] for node_id, node in graph.nodes.items()}
    stuck = set(sources) if "" in wrong else reachable(wrong, reverse(sources))
    runnable = tuple(target for target in graph.targets if target not in stuck)
    kept = reachable(runnable, sources)
    order = tuple(node_id for node_id in graph.order if node_id in kept)
    return Graph(
        nodes={node_id: graph.nodes[node_id] for node_id in order},
        order=order,
        targets=runnable,
        blocked=(*graph.blocked, *(target for target in graph.targets if target in stuck)),
        problems=(*graph.problems, *found),
        swept=graph.swept,
    )


def parts(
    order: Iterable[NodeId], nodes: Mapping[NodeId, BoundNode]
) -> tuple[Mapping[NodeId, Sequence[NodeId]], Swept, set[NodeId]]:
    """What the axes of a sweep follow from: who reads whom (sources first), the swept inputs, the gathering nodes."""
    sources = {node_id: [link.node for link in nodes[node_id].links()] for node_id in order}
    swept: dict[NodeId, dict[str, Alternatives]] = {}
    for node_id in sources:
        for name, value in nodes[node_id].inputs.items():
            if type(value) is Alternatives:
                swept.setdefault(node_id, {})[name] = value
    return sources, swept, {node_id for node_id in sources if nodes[node_id].spec.gathers}


def _sweep_fits(graph: Graph) -> Iterator[GraphError]:
    """A rule: axes that go together, and not too many cells."""
    for node_id, name, message in faults(*parts(graph.order, graph.nodes)):
        yield GraphError("invalid_sweep", message, node_id, graph.nodes[node_id].spec.type, name)


def _no_target(target: NodeId) -> GraphError:
    return GraphError(
        "unknown_target", f"there is no node {brief(target)} to run", received=target, expected="a node id"
    )


def _harmless(problem: GraphError) -> GraphError:
    return replace(problem, severity=Severity.WARNING) if problem.node_id else problem
