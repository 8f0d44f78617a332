"""How much memory device nodes need: measured between the events that a run tells of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from graph.build import BoundNode
from graph.document import NodeId
from graph.events import Event, NodeFinished, NodeStarted


class Meter(Protocol):
    """The most memory in use since it was reset."""

    def reset(self) -> None: ...

    def peak(self) -> int | None:
        """Bytes; None where that cannot be told."""


def metered(emit: Callable[[Event], None], nodes: Mapping[NodeId, BoundNode], meter: Meter) -> Callable[[Event], None]:
    """`emit`, told of each device node what it needed. Those run one at a time, and tell so from the loop's thread;
    nodes of other lanes run beside them and have no peak of their own.
    """

    def tell(event: Event) -> None:
        if isinstance(event, NodeStarted | NodeFinished):
            node = nodes.get(event.node_id)
            if node is not None and node.spec.lane == "device":
                if isinstance(event, NodeStarted):
                    meter.reset()
                elif not event.cached:
                    event = replace(event, peak_bytes=meter.peak())
        emit(event)

    return tell
