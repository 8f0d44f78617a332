"""A run in pieces that any process can run: a cell of a sweep each, or a slice of a batch; what gathers them comes last."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil

from graph.bound import Graph
from graph.cells import Cells
from graph.context import Run
from graph.document import Document, NodeId
from graph.files import FileRef
from graph.multiply import Place, multiply
from graph.order import reachable, reverse
from graph.share import Share, Slice
from graph.slices import LEAST, MOST, largest_batch
from graph.sweep import Axis, Cell


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """What is run by one process, in one go. `at` is its place on each axis; empty for what gathers cells, or stands once.

    `share` says which copies of the targets are made; `gathers`, that it waits for what other pieces hand over.
    `models`: bytes by the names of the model files that are read.
    """

    key: str
    at: Place
    document: Document
    targets: tuple[NodeId, ...]
    extra: Mapping[str, object]
    share: Share
    gathers: bool = False
    models: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A run in pieces, in the order of the sweep. `nodes` are those that were written, sources first. `slices`: of how many
    pieces, together, the result of a node is.
    """

    pieces: tuple[Piece, ...]
    nodes: tuple[NodeId, ...]
    axes: tuple[Axis, ...]
    cells: Cells
    copies: Mapping[tuple[NodeId, str, Place], Cell]
    _on: Mapping[tuple[NodeId, str], Place]
    slices: Mapping[NodeId, int] = field(default_factory=dict)

    def cell(self, node_id: NodeId, role: str, at: Place) -> Cell | None:
        """The copy of a node that stands in the cell at a place; None for one that stands once. role: see `each`."""
        on = self._on.get((node_id, role))
        if on is None:
            return None
        return self.copies.get(
            (node_id, role, tuple(i if k is not None else None for i, k in zip(at, on, strict=False)))
        )

    def copy(self, piece: Piece, handed: NodeId) -> NodeId:
        """What the whole graph calls a node whose result a piece hands over."""
        for written, role in self._on:
            if role and handed == f"{written}:{role}" and (cell := self.cell(written, role, piece.at)) is not None:
                return cell.id
        return handed


def split(run: Run, graph: Graph) -> Split:
    """`graph` is what `build` made of the run's document. Where nothing varies, all of it is one piece."""
    multiplied, told = multiply(graph)
    cells = told or Cells((), {}, {})
    roles = {it: role for it in cells.nodes if (role := _role(graph, multiplied, cells, it))}
    gatherers = {it for it in graph.order if graph.nodes[it].spec.gathers}
    last = reachable(gatherers, reverse(graph.sources()))
    copies = {(cells.written(it), roles.get(it, ""), cell.at): cell for it, cell in cells.cells.items()}
    return Split(
        pieces=tuple(_Cutter(run, graph, multiplied, cells, roles, last).pieces()),
        nodes=tuple(dict.fromkeys(map(cells.written, multiplied.order))),
        axes=cells.axes,
        cells=cells,
        copies=copies,
        _on={(node_id, role): at for node_id, role, at in copies if any(i is not None for i in at)},
    )


def in_slices(run: Run, graph: Graph, workers: int) -> Split:
    """A run whose largest batch is cut into a slice for each worker, or more that are not too large. What reads the whole
    batch is the last piece; it is the only one if there is nothing to cut.
    """
    links, document, extra = graph.sources(), run.document, run.extra
    pieces: list[Piece] = []
    slices: dict[NodeId, int] = {}
    if (batch := largest_batch(graph)) is not None:
        number = max(min(workers, batch.count // LEAST), ceil(batch.count / MOST))
        slices, models = dict.fromkeys(batch.inside, number), _models(graph, links, batch.exits)
        for at in range(number):
            share = Share(batch.exits, frozenset(batch.exits), slice=Slice(batch.source, at, number))
            pieces.append(Piece(f"{at}/{number}", (), document, graph.targets, extra, share, models=models))
    share, models = Share(graph.targets), _models(graph, links, graph.targets)
    pieces.append(Piece("last", (), document, graph.targets, extra, share, True, models))
    return Split(tuple(pieces), graph.order, (), Cells((), {}, {}), {}, {}, slices)


def _models(graph: Graph, links: Mapping[NodeId, list[NodeId]], nodes: Iterable[NodeId]) -> Mapping[str, int]:
    """Bytes by the names of the model files that these nodes rest on."""
    sizes: dict[str, int] = {}
    for node_id in sorted(reachable(nodes, links)):
        for value in graph.nodes[node_id].inputs.values():
            if isinstance(value, FileRef) and value.folder not in ("input", "output", "temp"):
                with suppress(OSError):  # it went away since the graph was built
                    sizes[value.path.name] = value.path.stat().st_size
    return sizes


def _role(graph: Graph, multiplied: Graph, cells: Cells, copy: NodeId) -> str:
    """The type of the node that a cell passes through on its way to what gathers it; nothing for all other copies."""
    own = multiplied.nodes[copy].spec.type
    return "" if own == graph.nodes[cells.written(copy)].spec.type else own


class _Cutter:
    """Makes the pieces. `last` are the nodes that rest on gathered cells; `roles` as in `Split.cell`."""

    def __init__(
        self,
        run: Run,
        graph: Graph,
        multiplied: Graph,
        cells: Cells,
        roles: Mapping[NodeId, str],
        last: Collection[NodeId],
    ) -> None:
        self._run = run
        self._graph = graph
        self._multiplied = multiplied
        self._cells = cells
        self._roles = roles
        self._last = last
        self._links = multiplied.sources()

    def pieces(self) -> Iterator[Piece]:
        """In the order of the targets, those of one place together."""
        cells, places = self._cells, dict[Place, list[NodeId]]()
        wanted = [it for it in self._multiplied.targets if cells.written(it) not in self._last]
        gathering = [it for it in self._multiplied.targets if cells.written(it) in self._last]
        for copy in (*wanted, *self._roles):
            at = cells.cells[copy].at if copy in cells.cells else ()
            places.setdefault(at if any(i is not None for i in at) else (), []).append(copy)
        for at in sorted(places, key=self._turn):
            yield self._cell(at, places[at])
        if gathering:
            share = Share(tuple(gathering))
            yield Piece(
                "last",
                (),
                self._run.document,
                self._graph.targets,
                self._run.extra,
                share,
                True,
                self._models(gathering),
            )

    def _turn(self, at: Place) -> tuple[int, ...]:
        axes = self._cells.axes
        return tuple(axis.size if i is None else i for i, axis in zip(at or (None,) * len(axes), axes, strict=True))

    def _cell(self, at: Place, copies: list[NodeId]) -> Piece:
        cells, run = self._cells, self._run
        targets = tuple(dict.fromkeys(map(cells.written, copies)))
        handed = {f"{cells.written(it)}:{self._roles[it]}" for it in copies if it in self._roles}
        plain = {cells.written(it) for it in copies if it not in self._roles}
        key = ",".join("-" if i is None else str(i) for i in at) or "once"
        shares = Share((*(it for it in targets if it in plain), *sorted(handed)), frozenset(handed))
        if not at:
            return Piece(key, at, run.document, targets, run.extra, shares, models=self._models(copies))
        document = cells.document(copies[0], run.document)
        return Piece(key, at, document, targets, self._extra(copies[0]), shares, models=self._models(copies))

    def _extra(self, copy: NodeId) -> Mapping[str, object]:
        """What a client sent along, with `extra_pnginfo` as the cell has it."""
        extra = self._run.extra
        kept = extra.get("extra_pnginfo")
        if not isinstance(kept, Mapping):
            return extra
        return {**extra, "extra_pnginfo": self._cells.extra(copy, self._run.document, kept)}

    def _models(self, copies: list[NodeId]) -> Mapping[str, int]:
        return _models(self._multiplied, self._links, copies)
