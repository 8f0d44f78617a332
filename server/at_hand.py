"""Which workers have results of a job at hand, by the jobs that they were given before: a hint for who should run it."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Collection
from hashlib import sha256

from graph.bound import Graph
from graph.document import Link, NodeId
from server.recent import Recent

_JOBS = 64
"""Of each worker, and of those that wait, that are remembered."""
_NODES = 500
"""Of a larger graph nothing is known: to name its results would take longer than it may save."""


class ResultsAtHand:
    """Results by what they are made of, which says nothing of what files contain: a worker knows better when it runs."""

    def __init__(self, recent: Recent) -> None:
        self._recent = recent
        self._waiting: OrderedDict[str, Collection[str]] = OrderedDict()
        self._given: dict[str, OrderedDict[str, Collection[str]]] = {}

    def note(self, worker: str, job: str) -> None:
        """A worker was given a job."""
        given = self._given.setdefault(worker, OrderedDict())
        given[job] = self._of(job)
        if len(given) > _JOBS:
            given.popitem(last=False)

    def count(self, worker: str, job: str) -> int:
        """How many of a job's nodes a worker has probably run before."""
        given = self._given.get(worker)
        if not given or not (names := self._of(job)):
            return 0
        return sum(any(name in before for before in given.values()) for name in names)

    def _of(self, job: str) -> Collection[str]:
        """Names for what the nodes of a job make on its device; none for one that was not accepted a moment ago."""
        if (known := self._waiting.get(job)) is not None:
            return known
        given = self._recent.look(job)
        names = self._waiting[job] = _names(given.graph) if given is not None and given.graph is not None else ()
        if len(self._waiting) > _JOBS:
            self._waiting.popitem(last=False)
        return names


def _names(graph: Graph) -> Collection[str]:
    if graph.swept or len(graph.order) > _NODES:
        return ()
    names: dict[NodeId, str] = {}
    for node_id in graph.order:
        node = graph.nodes[node_id]
        inputs = {key: (names[it.node], it.slot) if type(it) is Link else repr(it) for key, it in node.inputs.items()}
        names[node_id] = sha256(json.dumps([node.spec.type, inputs]).encode(errors="replace")).hexdigest()[:16]
    nodes = ((node_id, graph.nodes[node_id].spec) for node_id in graph.order)
    return {names[node_id] for node_id, spec in nodes if spec.lane == "device" and not spec.terminal}
