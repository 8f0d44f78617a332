"""What a run did, node by node: an event sink that says afterwards what ran, why, how long and with how much memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from graph.document import NodeId
from graph.events import (
    Event,
    NodeFinished,
    NodesCached,
    NodeStarted,
    RunFailed,
    RunFinished,
    RunStarted,
)
from graph.explain import Comparison, Ledger, Reason
from graph.recipe import Recipe
from graph.sweep import Cell


class Did(StrEnum):
    """What became of a node in a run."""

    RAN = "ran"
    AT_HAND = "at_hand"
    FAILED = "failed"
    STOPPED = "stopped"  # it was under way when the run ended
    NOT_NEEDED = "not_needed"  # a branch that no node asked for, or what was at hand further on
    NOT_REACHED = "not_reached"  # the run ended before


@dataclass(frozen=True, slots=True)
class Explanation:
    """One node of the graph, or one copy of it. `peak_bytes`: the most memory in use while it ran, if that is known."""

    node: NodeId
    type: str
    did: Did
    reasons: tuple[Reason, ...] = ()
    seconds: float | None = None
    peak_bytes: int | None = None
    cell: Cell | None = None

    @property
    def words(self) -> str:
        """A sentence without its subject."""
        why = "; ".join(dict.fromkeys(reason.words for reason in self.reasons))
        match self.did:
            case Did.AT_HAND:
                return "did not have to run: nothing that it depends on has changed"
            case Did.NOT_NEEDED:
                return "did not have to run: no node that ran asked for it"
            case Did.NOT_REACHED:
                return "was not reached"
            case Did.RAN:
                return f"ran: {why}"
            case Did.FAILED:
                return f"ran and failed: {why}"
            case Did.STOPPED:
                return f"was stopped: {why}"


@dataclass(slots=True)
class Account:
    """Hears the events of one run; `explain` afterwards."""

    _started: RunStarted | None = None
    _cached: set[str] = field(default_factory=set)
    _did: dict[str, Did] = field(default_factory=dict)
    _finished: dict[str, NodeFinished] = field(default_factory=dict)
    _failed: str = ""
    _is_whole: bool = False

    def __call__(self, event: Event) -> None:
        """Take one event."""
        match event:
            case RunStarted():
                self._started = event
            case NodesCached(nodes=nodes, cells=cells):
                self._cached.update(nodes)
                self._cached.update(cell.id for found in cells.values() for cell in found)
            case NodeStarted(display_id=inside) | NodeFinished(display_id=inside) if inside:
                pass  # an expansion's: the node that it stands for is told of besides
            case NodeStarted(node_id=node_id, cell=cell):
                self._did[self._at(node_id, cell)] = Did.STOPPED
            case NodeFinished(node_id=node_id, cell=cell, cached=cached):
                place = self._at(node_id, cell)
                self._did.setdefault(place, Did.AT_HAND)
                if not cached:
                    self._did[place] = Did.RAN
                    self._finished[place] = event
            case RunFailed(error=error):
                self._failed = error.node_id
            case RunFinished():
                self._is_whole = True
            case _:
                pass

    def explain(self, ledger: Ledger) -> list[Explanation]:
        """Every node, sources first; of swept ones every copy. Has `ledger` remember what ran."""
        begun = any(did is not Did.AT_HAND for did in self._did.values())
        recipes = list(self._started.recipes(begun)) if self._started is not None else []
        by_id = {recipe.id: recipe for recipe in recipes}
        comparison = Comparison(recipes, ledger)
        explained = [self._explained(recipe, comparison) for recipe in recipes]
        ledger.keep(by_id[place] for place, did in self._did.items() if did is Did.RAN and place in by_id)
        return explained

    def _at(self, node_id: NodeId, cell: Cell | None) -> str:
        return node_id if cell is None else cell.id

    def _became(self, recipe: Recipe) -> Did:
        if (did := self._did.get(recipe.id)) is not None:
            return Did.FAILED if did is Did.STOPPED and recipe.node == self._failed else did
        if {recipe.id, recipe.node} & self._cached:
            return Did.AT_HAND
        return Did.NOT_NEEDED if self._is_whole else Did.NOT_REACHED

    def _explained(self, recipe: Recipe, comparison: Comparison) -> Explanation:
        did = self._became(recipe)
        finished = self._finished.get(recipe.id)
        ran = did in (Did.RAN, Did.STOPPED, Did.FAILED)
        return Explanation(
            node=recipe.node,
            type=recipe.type,
            did=did,
            reasons=comparison.reasons(recipe, bool(recipe.destination)) if ran else (),
            seconds=finished.seconds if finished else None,
            peak_bytes=finished.peak_bytes if finished else None,
            cell=recipe.cell,
        )


def by_node(explained: Sequence[Explanation]) -> Mapping[NodeId, Sequence[Explanation]]:
    """The copies of each node together."""
    found: dict[NodeId, list[Explanation]] = {}
    for one in explained:
        found.setdefault(one.node, []).append(one)
    return found


def summed(copies: Sequence[Explanation]) -> Explanation:
    """One explanation for all copies of a node: their seconds together, and the most that any of them needed."""
    if len(copies) == 1:
        return copies[0]
    order = (Did.FAILED, Did.STOPPED, Did.RAN, Did.AT_HAND, Did.NOT_NEEDED, Did.NOT_REACHED)
    did = next(did for did in order if any(one.did is did for one in copies))
    seconds = [one.seconds for one in copies if one.seconds is not None]
    peaks = [one.peak_bytes for one in copies if one.peak_bytes is not None]
    return Explanation(
        node=copies[0].node,
        type=copies[-1].type,
        did=did,
        reasons=tuple(dict.fromkeys(reason for one in copies for reason in one.reasons))[:MOST_REASONS],
        seconds=sum(seconds) if seconds else None,
        peak_bytes=max(peaks, default=None),
    )


MOST_REASONS = 3
"""Reasons that are named of a node that ran for many cells."""
