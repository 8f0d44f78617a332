"""A graph with sweeps -> one in which each node stands once for each combination of values that it depends on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, TypeAlias

from graph.axes import Layout, lay_out
from graph.build import BoundNode, Graph, Input, parts
from graph.cells import Cells
from graph.context import Context
from graph.document import Link, NodeId
from graph.result import Result
from graph.spec import InputSpec, NodeSpec
from graph.sweep import Alternatives, Axis, Cell, Gathered

Place: TypeAlias = tuple[int | None, ...]
"""Where a copy is on each axis; None where it does not depend on one."""


def multiply(graph: Graph) -> tuple[Graph, Cells | None]:
    """Every combination as nodes of its own; what none of them changes stands once. The cells are None without a sweep.

    Targets are in the order of the cells, the axis nearest the sources varying slowest, so that results come in this
    order and a checkpoint is done with before the next. Raises nothing: `build` has looked at the sweep.
    """
    if not graph.swept:
        return graph, None
    return _Multiplier(graph, lay_out(*parts(graph.order, graph.nodes))).result()


class _Multiplier:
    """Makes the copies, node after node."""

    def __init__(self, graph: Graph, layout: Layout) -> None:
        self._graph = graph
        self._layout = layout
        self._axis_of = {target: i for i, axis in enumerate(layout.axes) for target in axis.inputs}
        self._made: dict[NodeId, BoundNode] = {}
        self._written: dict[NodeId, NodeId] = {}
        self._cells: dict[NodeId, Cell] = {}
        self._ids: dict[tuple[NodeId, Place], NodeId] = {}

    def result(self) -> tuple[Graph, Cells]:
        """The graph, and which node each copy stands for."""
        graph, layout = self._graph, self._layout
        for node_id in graph.order:
            node = graph.nodes[node_id]
            for place in self._places(layout.on[node_id]):
                bound = self._gather(node, place) if node.spec.gathers else self._copied(node, place)
                self._add(node_id, place, bound)
        copies: dict[NodeId, int] = {}
        for written in self._written.values():
            copies[written] = copies.get(written, 0) + 1
        targets = sorted(self._targets(), key=lambda target: self._turn(target[1]))
        multiplied = replace(
            graph,
            nodes=self._made,
            order=tuple(self._made),
            targets=tuple(self._ids[target] for target in targets),
        )
        return multiplied, Cells(layout.axes, self._written, self._cells, copies)

    def _places(self, on: Sequence[int]) -> Iterator[Place]:
        axes = self._layout.axes
        return product(*(range(axis.size) if i in on else (None,) for i, axis in enumerate(axes)))

    def _targets(self) -> Iterator[tuple[NodeId, Place]]:
        for target in self._graph.targets:
            for place in self._places(self._layout.on[target]):
                yield target, place

    def _turn(self, place: Place) -> tuple[int, ...]:
        """Sort key: what does not depend on an axis comes after all cells along it."""
        return tuple(axis.size if i is None else i for i, axis in zip(place, self._layout.axes, strict=True))

    def _copied(self, node: BoundNode, place: Place) -> BoundNode:
        inputs = {name: self._input(node, name, value, place) for name, value in node.inputs.items()}
        return replace(node, inputs=inputs)

    def _input(self, node: BoundNode, name: str, value: Input, place: Place) -> Input:
        if type(value) is Link:
            on = self._layout.on[value.node]
            return Link(self._ids[value.node, tuple(i if k in on else None for k, i in enumerate(place))], value.slot)
        if type(value) is Alternatives:
            return value.values[place[self._axis_of[node.id, name]] or 0]
        return value

    def _gather(self, node: BoundNode, place: Place) -> BoundNode:
        """The node over all cells before it that lie at `place`; each of them passes through the input's own node."""
        layout = self._layout
        through = layout.through[node.id]
        free = [k for k in through if place[k] is None]
        inputs: dict[str, Input] = {}
        gathered: dict[str, list[str]] = {}
        places: list[tuple[int, ...]] = []
        for at in product(*(range(layout.axes[k].size) for k in free)):
            whole = list(place)
            for k, i in zip(free, at, strict=True):
                whole[k] = i
            places.append(at)
            for name, each in node.spec.gathers.items():
                link = Link(self._each(node, each, tuple(whole)), 0)
                inputs[f"{name}.{len(places)}"] = link
                gathered.setdefault(name, []).append(f"{name}.{len(places)}")
        axes = tuple((layout.axes[k].name, layout.axes[k].labels) for k in free)
        for name, value in node.inputs.items():
            if name not in node.spec.gathers:
                inputs[name] = self._input(node, name, value, place)
        inputs["(axes)"] = axes
        return BoundNode(node.id, _gathering(node.spec, gathered, axes, tuple(places), inputs), inputs)

    def _each(self, node: BoundNode, each: NodeSpec, place: Place) -> NodeId:
        inputs = {
            declared.name: self._input(node, declared.name, node.inputs[declared.name], place)
            for declared in each.inputs
        }
        return self._add(node.id, place, BoundNode(node.id, each, inputs), each.type)

    def _add(self, written: NodeId, place: Place, node: BoundNode, role: str = "") -> NodeId:
        """Give a copy its id: that of the node itself where it stands once."""
        varies = any(i is not None for i in place)
        node_id = f"{written}[{','.join('-' if i is None else str(i) for i in place)}]" if varies else written
        if role:
            node_id += f":{role}"
        while node_id != written and (node_id in self._graph.nodes or node_id in self._made):
            node_id += "'"
        if varies or role or node.spec.gathers:
            self._written[node_id] = written
            self._cells[node_id] = Cell(node_id, place, self._words(place))
        if not role:
            self._ids[written, place] = node_id
        self._made[node_id] = replace(node, id=node_id)
        return node_id

    def _words(self, place: Place) -> str:
        axes: Sequence[Axis] = self._layout.axes
        return ", ".join(f"{axis.name} {axis.labels[i]}" for axis, i in zip(axes, place, strict=True) if i is not None)


def _gathering(
    spec: NodeSpec,
    gathered: Mapping[str, Sequence[str]],
    axes: tuple[tuple[str, tuple[str, ...]], ...],
    places: tuple[tuple[int, ...], ...],
    inputs: Mapping[str, Input],
) -> NodeSpec:
    """`spec` with an input for every cell, which are one Gathered for its function."""

    def run(context: Context[Any], given: Mapping[str, object]) -> Result:
        together: dict[str, object] = {
            name: Gathered(axes, places, tuple(given[cell] for cell in cells)) for name, cells in gathered.items()
        }
        rest = {name: given[name] for name in given if name in own and name not in gathered}
        return spec.run(context, {**together, **rest})

    own = {declared.name: declared for declared in spec.inputs}
    return replace(spec, run=run, inputs=tuple(own.get(name, InputSpec(name, "*")) for name in inputs))
