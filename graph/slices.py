"""A large batch in slices: which nodes of a graph work through it item by item, and the graph of one slice."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from graph.bound import BoundNode, Graph
from graph.document import Link, NodeId
from graph.order import reachable
from graph.share import Slice
from graph.spec import Items

LEAST = 2
"""Items of a slice; with fewer, what a slice costs besides would be more than it saves."""

MOST = 16
"""Items of a slice, or nearly so: its pictures travel in one message, and are lost with a worker."""


@dataclass(frozen=True, slots=True)
class LargeBatch:
    """A batch of `count` items or more that `source` gives. `inside` are the nodes that work through it item by item, and
    `exits` those of them that others read: sources first.
    """

    source: NodeId
    count: int
    inside: tuple[NodeId, ...]
    exits: tuple[NodeId, ...]


def largest_batch(graph: Graph) -> LargeBatch | None:
    """The batch of a graph that several processes can share best; None if there is none, or if it is swept."""
    if graph.swept or all(node.spec.batch is None for node in graph.nodes.values()):
        return None
    alike: set[NodeId] = set()
    for node_id in graph.order:
        node = graph.nodes[node_id]
        if _holds(node) and not _items(node).of and all(link.node in alike for link in node.links()):
            alike.add(node_id)
    found = (batch for node_id in graph.order if (batch := _batch(graph, node_id, alike)) is not None)
    return max(found, key=lambda batch: batch.count, default=None)


def sliced(graph: Graph, part: Slice) -> Graph:
    """The graph over a part of a batch. What it has been cut down to (`Graph.only`) reads the batch item by item."""
    node, nodes = graph.nodes[part.source], dict[NodeId, BoundNode]()
    assert node.spec.batch is not None
    takes = node.spec.batch.part
    for node_id in graph.order:
        inputs = {name: _moved(value, part) for name, value in graph.nodes[node_id].inputs.items()}
        nodes[node_id] = replace(graph.nodes[node_id], inputs=inputs)
        if node_id == part.source:
            given = {takes.inputs[0].name: Link(part.source, 0), "number": part.number, "of": part.of}
            nodes[part.taken] = BoundNode(part.taken, takes, given)
    return replace(graph, nodes=nodes, order=tuple(nodes))


def _moved(value: object, part: Slice) -> object:
    return Link(part.taken, 0) if type(value) is Link and value.node == part.source else value


def _batch(graph: Graph, source: NodeId, alike: Collection[NodeId]) -> LargeBatch | None:
    """What a node gives, if it is a batch that is worth cutting: no sampling before it, which each process would do again,
    and a model at work on its items.
    """
    node = graph.nodes[source]
    count = node.inputs.get(node.spec.batch.count) if node.spec.batch is not None else None
    if type(count) is not int or count < 2 * LEAST:
        return None
    batches = {source}
    for node_id in graph.order:
        if _goes_through(graph.nodes[node_id], batches, alike):
            batches.add(node_id)
    inside = tuple(it for it in graph.order if it in batches and it != source)
    outside = [graph.nodes[it] for it in graph.order if it not in batches]
    read = {link.node for node in outside for link in node.links()} | set(graph.targets)
    links = graph.sources()
    before = reachable([source], links)
    whole = reachable(inside, links)
    models = any(it in alike for node_id in inside for it in links[node_id])
    again = any(graph.nodes[it].spec.items is not None and _items(graph.nodes[it]).of for it in before)
    if not models or again or not all(graph.nodes[it].spec.is_plain for it in whole):
        return None
    return LargeBatch(source, count, inside, tuple(it for it in inside if it in read))


def _goes_through(node: BoundNode, batches: Collection[NodeId], alike: Collection[NodeId]) -> bool:
    """Whether a node works item by item through batches that are, and reads nothing else that differs between items."""
    if not _holds(node) or not (of := _items(node).of):
        return False
    return all(
        value.node in (batches if name in of else alike) for name, value in node.inputs.items() if type(value) is Link
    )


def _holds(node: BoundNode) -> bool:
    """Whether what its type says of batches is true of a node."""
    given = [(node.inputs.get(name), values) for name, values in _items(node).unless.items()]
    return node.spec.items is not None and all(type(value) is not Link and value not in it for value, it in given)


def _items(node: BoundNode) -> Items:
    return node.spec.items or Items()
