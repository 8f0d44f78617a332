"""The copies of a swept graph as the nodes that were written: what their events, errors and workflows say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from graph.document import DocNode, Document, NodeId
from graph.editor_workflow import with_values
from graph.errors import NodeError
from graph.events import (
    Event,
    NodeFinished,
    NodeRetried,
    NodesCached,
    NodeStarted,
    NodeWarned,
    Progress,
    RunFailed,
    RunInterrupted,
    RunStarted,
)
from graph.sweep import Axis, Cell, Sweep


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """`nodes` has the written node of each copy, `cells` where the copy is; both lack nodes that stand once."""

    axes: tuple[Axis, ...]
    nodes: Mapping[NodeId, NodeId]
    cells: Mapping[NodeId, Cell]
    copies: Mapping[NodeId, int] = field(default_factory=dict)

    def written(self, node_id: NodeId) -> NodeId:
        """The id in the document."""
        return self.nodes.get(node_id, node_id)

    def telling(self, emit: Callable[[Event], None]) -> Callable[[Event], None]:
        """`emit`, told of written nodes, with the cell each event is about."""
        return lambda event: emit(self._as_written(event))

    def error(self, error: NodeError, display_id: NodeId = "") -> NodeError:
        """The same failure, blamed on the node that was written; says at which values."""
        if (cell := self.cells.get(display_id or error.node_id)) is None:
            return error
        message = f"{error.message} (at {cell.words})" if cell.words else error.message
        told = replace(error, node_id=self.written(error.node_id), message=message)
        told.__cause__ = error.__cause__
        return told

    def document(self, node_id: NodeId, whole: Document) -> Document:
        """The workflow as a copy has it: without sweeps, each input with the value of its cell.

        What does not depend on any axis, such as a sheet of all cells, has `whole`.
        """
        if (places := self._places(node_id)) is None:
            return whole
        return Document({key: _plain(key, node, places) for key, node in whole.nodes.items()}, whole.problems)

    def extra(self, node_id: NodeId, whole: Document, extra: Mapping[str, object]) -> Mapping[str, object]:
        """What a client sent along to be kept in files (`extra_pnginfo`), its `workflow` as a copy has it; without it
        where that cannot be told.
        """
        if "workflow" not in extra or (places := self._places(node_id)) is None:
            return extra
        chosen: dict[NodeId, dict[str, tuple[Mapping[str, object], object]]] = {}
        for key, node in whole.nodes.items():
            for name, value in node.inputs.items():
                if isinstance(value, Sweep):
                    chosen.setdefault(key, {})[name] = value.raw, _one(value, places.get((key, name), 0))
        workflow = with_values(extra["workflow"], chosen)
        rest = {name: value for name, value in extra.items() if name != "workflow"}
        return rest if workflow is None else {**rest, "workflow": workflow}

    def _places(self, node_id: NodeId) -> Mapping[tuple[NodeId, str], int] | None:
        """Which of their values the swept inputs have for a copy; None for what does not depend on any axis."""
        cell = self.cells.get(node_id)
        if cell is None or all(place is None for place in cell.at):
            return None
        return {target: place or 0 for axis, place in zip(self.axes, cell.at, strict=True) for target in axis.inputs}

    def _as_written(self, event: Event) -> Event:
        match event:
            case RunStarted(nodes=nodes):
                return replace(event, nodes=self._unique(nodes), axes=self.axes, copies=self.copies)
            case NodesCached(nodes=nodes):
                return self._cached(event, nodes)
            case NodeStarted() | Progress() | NodeRetried() | NodeFinished():
                told = replace(event, node_id=self.written(event.node_id), display_id=self.written(event.display_id))
                return replace(told, cell=self.cells.get(event.display_id or event.node_id))
            case NodeWarned() | RunInterrupted():
                return replace(event, node_id=self.written(event.node_id), display_id=self.written(event.display_id))
            case RunFailed():
                return replace(event, display_id=self.written(event.display_id))
            case _:
                return event

    def _cached(self, event: NodesCached, nodes: Sequence[NodeId]) -> NodesCached:
        """A written node is at hand if all its copies are; of the others the copies are named."""
        found: dict[NodeId, list[Cell]] = {}
        for node_id in nodes:
            cells = found.setdefault(self.written(node_id), [])
            if node_id in self.cells:
                cells.append(self.cells[node_id])
        whole = [node_id for node_id, cells in found.items() if len(cells) == self.copies.get(node_id, 0)]
        some = {node_id: tuple(cells) for node_id, cells in found.items() if node_id not in set(whole)}
        return replace(event, nodes=tuple(whole), cells=some)

    def _unique(self, nodes: Sequence[NodeId]) -> tuple[NodeId, ...]:
        return tuple(dict.fromkeys(map(self.written, nodes)))


def _one(given: Sweep, place: int) -> object:
    return given.values[place] if given.values else None


def _plain(node_id: NodeId, node: DocNode, chosen: Mapping[tuple[NodeId, str], int]) -> DocNode:
    """The node with one value wherever it has several. Those of nodes that nothing needs have their first."""
    if not any(type(value) is Sweep for value in node.inputs.values()):
        return node
    inputs = {
        name: _one(value, chosen.get((node_id, name), 0)) if isinstance(value, Sweep) else value
        for name, value in node.inputs.items()
    }
    return replace(node, inputs=inputs)
