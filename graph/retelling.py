"""What the pieces of a run tell, as one run would tell it: every copy of a node once, with the cell that it stands in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

from graph.context import Run
from graph.document import NodeId
from graph.errors import Interrupted, NodeError
from graph.events import (
    Event,
    NodeFinished,
    NodeRetried,
    NodesCached,
    NodeStarted,
    NodeWarned,
    Progress,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
)
from graph.recipe import Recipe
from graph.result import NodeWarning
from graph.share import Slice
from graph.split import Piece, Split
from graph.sweep import Cell

Lasting: TypeAlias = NodeFinished | NodeWarned
"""What a piece tells that holds after it has run."""
Recipes: TypeAlias = Callable[[bool], Iterable[Recipe]]


class Retelling:
    """Tells `run`. Pieces may be told of from any thread, and twice, as when one is run again: it is told on once."""

    def __init__(self, run: Run, split: Split) -> None:
        self._run = run
        self._split = split
        self._lock = threading.Lock()
        self._begun: set[str] = set()
        self._done: dict[str, bool] = {}  # whether it was told what they show
        self._warned: set[tuple[str, NodeWarning]] = set()
        self._recipes: dict[str, Recipe] = {}
        self._shown_at = ""
        self._together = _Together(split.slices)

    def begin(self) -> None:
        """Tell that the run begins."""
        run, split = self._run, self._split
        run.tell(RunStarted(run.id, split.nodes, split.axes, split.cells.copies, recipes=lambda _: self._known()))
        run.tell(NodesCached(run.id, ()))

    def hear(self, piece: Piece, event: Event) -> Iterator[Lasting]:
        """Tell what a piece tells, as far as it is new; gives what has to be told again if the run is begun anew."""
        for told in self._retold(piece, event):
            if isinstance(told, NodeFinished | NodeWarned):
                yield told
            self.tell(told, piece)

    def tell(self, event: Event, piece: Piece) -> None:
        """Tell an event of the whole run, unless it is known."""
        with self._lock:
            whole = event if piece.share.slice is None else self._together.heard(event, piece.share.slice)
            if whole is not None and self._is_new(whole, piece):
                self._run.tell(whole)

    def explain(self, piece: Piece, recipes: Iterable[Recipe]) -> None:
        """Learn what named the results of a piece's nodes, for those who explain the run. Slices have names of their own."""
        for recipe in recipes:
            cell = self._cell(piece, recipe.node, recipe.cell)
            told = recipe if cell is None else replace(recipe, id=cell.id, cell=cell)
            self._recipes.setdefault(told.id, told)

    def end(self, ending: NodeError | Interrupted | None) -> None:
        """Tell how the run has ended."""
        run = self._run
        match ending:
            case None:
                run.tell(RunFinished(run.id))
            case NodeError():
                run.tell(RunFailed(run.id, ending, self._shown_at))
            case Interrupted():
                run.tell(RunInterrupted(run.id))

    def failed(self, piece: Piece, error: NodeError, shown_at: NodeId) -> NodeError:
        """The failure of a piece, which ends the run: it says at which values. shown_at: the visible node that stands for
        the one that failed.
        """
        self._shown_at = shown_at
        cell = self._split.cell(shown_at or error.node_id, "", piece.at)
        if cell is None or not cell.words:
            return error
        told = replace(error, message=f"{error.message} (at {cell.words})")
        told.__cause__ = error.__cause__
        return told

    def _known(self) -> list[Recipe]:
        order = {node_id: at for at, node_id in enumerate(self._split.nodes)}
        return sorted(self._recipes.values(), key=lambda it: order.get(it.node, 0))

    def _retold(self, piece: Piece, event: Event) -> Iterator[Event]:
        run_id = self._run.id
        match event:
            case NodesCached(nodes=nodes, cells=some):
                for node_id in nodes:
                    yield NodeFinished(run_id, node_id, {}, cached=True, cell=self._cell(piece, node_id, None))
                for node_id, at_hand in some.items():
                    for one in at_hand:
                        yield NodeFinished(run_id, node_id, {}, cached=True, cell=self._cell(piece, node_id, one))
            case NodeStarted() | Progress() | NodeRetried() | NodeFinished():
                cell = self._cell(piece, event.display_id or event.node_id, event.cell)
                yield replace(event, run_id=run_id, cell=cell)
            case NodeWarned():
                yield replace(event, run_id=run_id)
            case _:
                pass

    def _cell(self, piece: Piece, node_id: NodeId, told: Cell | None) -> Cell | None:
        """The copy that an event is about. told: the cell that the piece's own process knows of."""
        if not piece.at:
            return told
        role = "" if told is None else told.id.removeprefix(node_id).removeprefix(":")
        return self._split.cell(node_id, role, piece.at)

    def _is_new(self, event: Event, piece: Piece) -> bool:
        """Note what is told. A copy that has its result is not heard of again."""
        match event:
            case NodeWarned(node_id=node_id, warning=warning, display_id=inside):
                cell = self._split.cell(inside or node_id, "", piece.at)
                about = (node_id if cell is None else f"{node_id} {cell.id}", warning)
                if about in self._warned:
                    return False
                self._warned.add(about)
            case NodeStarted() | Progress() | NodeRetried() | NodeFinished():
                copy = event.node_id if event.cell is None else f"{event.node_id} {event.cell.id}"
                shows = isinstance(event, NodeFinished) and bool(event.ui)
                if copy in self._done and not (shows and not self._done[copy]):
                    return False
                if isinstance(event, NodeStarted):
                    if copy in self._begun:
                        return False
                    self._begun.add(copy)
                if isinstance(event, NodeFinished):
                    self._done[copy] = shows
            case _:
                pass
        return True


class _Together:
    """Nodes of which each piece makes a part: begun with the first part, and done with the last."""

    def __init__(self, slices: Mapping[NodeId, int]) -> None:
        self._slices = slices
        self._at: dict[NodeId, dict[int, float]] = {}
        self._done: dict[NodeId, set[int]] = {}

    def heard(self, event: Event, part: Slice) -> Event | None:
        """What an event about a part says of the whole; None if nothing."""
        match event:
            case NodeStarted() | Progress() | NodeRetried() | NodeFinished() if event.node_id == part.taken:
                return None
            case NodeStarted(node_id=node) if node in self._slices:
                is_first = node not in self._at
                self._at.setdefault(node, {})[part.number] = 0.0
                return event if is_first else None
            case Progress(node_id=node, done=done, total=total) if node in self._slices:
                at = self._at.setdefault(node, {})
                at[part.number] = done
                return replace(event, done=sum(at.values()), total=total * self._slices[node])
            case NodeFinished(node_id=node) if node in self._slices:
                done_by = self._done.setdefault(node, set())
                done_by.add(part.number)
                return event if len(done_by) == self._slices[node] else None
            case _:
                return event
