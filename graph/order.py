"""Order, reach and cycles of a graph given as {node: the nodes it reads}. Nothing here recurses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from graph.document import NodeId


def sort_sources_first(
    sources: Mapping[NodeId, Sequence[NodeId]],
) -> tuple[tuple[NodeId, ...], list[list[NodeId]]]:
    """Every node after those it reads, and one cycle of each knot. The order leaves out nodes in and behind knots."""
    readers = reverse(sources)
    unread = {node: len(links) for node, links in sources.items()}
    order = [node for node, count in unread.items() if not count]
    for node in order:  # grows meanwhile
        for reader in readers[node]:
            unread[reader] -= 1
            if not unread[reader]:
                order.append(reader)
    return tuple(order), [] if len(order) == len(sources) else _cycles(sources)


def reachable(starts: Iterable[NodeId], following: Mapping[NodeId, Iterable[NodeId]]) -> set[NodeId]:
    """`starts` and all that follows from them."""
    seen = set(starts)
    pending = list(seen)
    while pending:
        for node in following.get(pending.pop(), ()):
            if node not in seen:
                seen.add(node)
                pending.append(node)
    return seen


def reverse(sources: Mapping[NodeId, Iterable[NodeId]]) -> dict[NodeId, list[NodeId]]:
    """{node: the nodes that read it}."""
    readers: dict[NodeId, list[NodeId]] = {node: [] for node in sources}
    for node, links in sources.items():
        for source in links:
            readers[source].append(node)
    return readers


def _cycles(sources: Mapping[NodeId, Sequence[NodeId]]) -> list[list[NodeId]]:
    """One cycle of each knot, in the direction of the data and from its first node in the document."""
    import networkx as nx  # 0.14 s, which only a faulty workflow should pay

    place = {node: index for index, node in enumerate(sources)}
    everything = nx.DiGraph((source, node) for node, links in sources.items() for source in links)
    components = [part for part in nx.strongly_connected_components(everything) if _is_knot(part, sources)]
    cycles = []
    for part in sorted(components, key=lambda part: min(map(place.__getitem__, part))):
        inside = sorted(part, key=place.__getitem__)
        knot = nx.DiGraph((source, node) for node in inside for source in sources[node] if source in part)
        cycle = [source for source, _ in nx.find_cycle(knot, inside[0])]
        first = cycle.index(min(cycle, key=place.__getitem__))
        cycles.append(cycle[first:] + cycle[:first])
    return cycles


def _is_knot(part: set[NodeId], sources: Mapping[NodeId, Sequence[NodeId]]) -> bool:
    return len(part) > 1 or any(node in sources[node] for node in part)
