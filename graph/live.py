"""A run from its submission to its closing event: how far it is, what it waits for, and what it tells."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from graph.build import Graph, Rule
from graph.cache import Cache
from graph.calls import Ending, failure
from graph.cells import Cells
from graph.context import Run
from graph.document import NodeId
from graph.errors import GraphErrors, Interrupted, NodeError
from graph.events import NodeFinished, NodesCached, NodeStarted, RunFailed, RunFinished, RunInterrupted, RunStarted
from graph.expansion import entered
from graph.files import Folders
from graph.fingerprint import Fingerprint, Namer
from graph.plan import CycleError, Frontier, Task
from graph.recipe import Recipe
from graph.result import Expand, Inside, Need, NodeWarning, Outputs, Pending, Result
from graph.scope import Scope
from graph.spec import Registry

Results: TypeAlias = Mapping[NodeId, Outputs]
"""The outputs of a run's targets."""

KEPT_SECONDS = 1.0
"""What took less is sooner made again than kept elsewhere."""


@dataclass(slots=True, eq=False)
class Live:
    """What the loop knows of one run. `parked` are the nodes that run elsewhere, `waiting` the results that another run
    is making, `spoilt` those that are not what their names say.
    """

    run: Run
    graph: Graph
    namer: Namer
    scope: Scope
    frontier: Frontier
    cells: Cells | None = None
    results: Future[Results] = field(default_factory=Future)
    begun: bool = False
    started: dict[NodeId, float] = field(default_factory=dict)
    parked: dict[Future[Result | Ending], Task] = field(default_factory=dict)
    waiting: set[Fingerprint] = field(default_factory=set)
    spoilt: set[Fingerprint] = field(default_factory=set)
    ending: Ending | None = None
    stopped_at: tuple[NodeId, NodeId] = ("", "")
    _closing: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, recipes: Callable[[bool], Iterator[Recipe]], cache: Cache) -> None:
        """Plan the run, and tell what need not run and what is wrong so far. recipes: see RunStarted."""
        self.begun = True
        run, cached = self.run, self.frontier.plan()
        run.tell(RunStarted(run.id, self.graph.order, recipes=recipes))
        run.tell(NodesCached(run.id, cached))
        for problem in self.graph.warnings:
            run.tell_warnings(problem.node_id, [NodeWarning(problem.message, problem.input_name)])
        self._tell_again(cached, cache)
        at_hand = self.frontier.results()
        for target in self.graph.targets:
            if target in at_hand and at_hand[target].ui:
                run.tell(NodeFinished(run.id, target, at_hand[target].ui, cached=True))

    def _tell_again(self, cached: Sequence[NodeId], cache: Cache) -> None:
        """What the results at hand left out holds for this run too, also where nobody reads them any more, and so does what
        they showed inside."""
        if telling := cache.telling:
            for node_id in cached:
                name = self.scope.names[node_id]
                if name in telling and (outputs := cache.get(name)) is not None:
                    self.run.tell_warnings(node_id, outputs.warnings)
                    self._tell_inside(f"{node_id}.", node_id, outputs.inside)

    def _tell_inside(self, prefix: str, shown_at: NodeId, inside: Sequence[Inside]) -> None:
        """Tell what expansions show that need not run for that."""
        for it in inside:
            told = NodeFinished(self.run.id, prefix + it.node_id, it.ui, cached=True)
            self.run.tell(replace(told, display_id=it.display_id or shown_at))

    def start(self, task: Task) -> None:
        """Tell that a node runs, the first time that it is called."""
        if task.id not in self.started:
            self.started[task.id] = time.perf_counter()
            self.run.tell(NodeStarted(self.run.id, task.id, None, task.display_id))

    def need(self, task: Task, names: Sequence[str]) -> NodeError | None:
        """Have lazy inputs computed; what is wrong with having asked for them."""
        try:
            if self.frontier.need(task, names):
                self._tell_shown()
                return None
        except CycleError:
            return _cycle(task)
        problem = f"asked for {', '.join(map(repr, names))}, which is no lazy input that is still to come"
        return NodeError(task.id, task.node.spec.type, problem)

    def expand(
        self, task: Task, expansion: Expand, registry: Registry, folders: Folders, rules: Sequence[Rule]
    ) -> NodeError | None:
        """Put what a node expanded to in its place; what is wrong with it."""
        self.note_spoilt(task)
        try:
            inner, targets = entered(task, expansion, registry, folders, self.namer, rules)
            self.frontier.expand(task, expansion, inner, targets)
        except GraphErrors as errors:
            message = "; ".join(f"its expansion cannot run: {problem}" for problem in errors.problems[:3])
            return NodeError(task.id, task.node.spec.type, message)
        except CycleError:
            return _cycle(task)
        self._tell_shown()
        return None

    def _tell_shown(self) -> None:
        for scope, it in self.frontier.shown():
            self._tell_inside(scope.prefix, scope.shown_at, [it])

    def finish(self, task: Task, outputs: Outputs, cached: bool) -> None:
        """Take a node's result, and tell of it and of all that get the same."""
        run = self.run
        twins = self.frontier.finish(task, outputs)
        if cached:
            run.tell_warnings(task.id, outputs.warnings, task.display_id)
            run.tell(NodeFinished(run.id, task.id, outputs.ui, cached=True, display_id=task.display_id))
            self._tell_inside(f"{task.id}.", task.display_id or task.id, outputs.inside)
        else:
            self.tell_finished(task, outputs)
        for twin, shown_at in twins:
            run.tell_warnings(twin, outputs.warnings, shown_at)
            run.tell(NodeFinished(run.id, twin, outputs.ui, cached=True, display_id=shown_at))
            self._tell_inside(f"{twin}.", shown_at or twin, outputs.inside)

    def keep(self, task: Task, outputs: Outputs) -> None:
        """Hand over a result to who keeps those that took a while."""
        begun = self.started.get(task.id)
        if self.run.keep is None or begun is None or outputs.ui or time.perf_counter() - begun < KEPT_SECONDS:
            return
        self.run.keep(task.name, outputs)

    def tell_finished(self, task: Task, outputs: Outputs) -> None:
        """Tell that a node has run, unless that was told before."""
        if (begun := self.started.pop(task.id, None)) is not None:
            seconds = time.perf_counter() - begun
            self.run.tell(NodeFinished(self.run.id, task.id, outputs.ui, seconds, False, None, None, task.display_id))

    def is_sound(self, task: Task) -> bool:
        """Whether a result is what its name says. It is not, if a file was another when the node read it."""
        if self.namer.stands(task.name):
            if self.spoilt:
                self.note_spoilt(task)
            return task.name not in self.spoilt
        self.spoilt.add(task.name)
        replaced = NodeWarning("a file that it reads was replaced at the same time; run the workflow again")
        self.run.tell_warnings(task.id, [replaced], task.display_id)
        return False

    def note_spoilt(self, task: Task) -> None:
        """What is made of a result that is not what its name says, is not either."""
        if self.spoilt and not self.spoilt.isdisjoint(task.sources):
            self.spoilt.add(task.name)

    def stop(self, ending: Ending, task: Task | None = None) -> None:
        """Have nothing more of it start. The first reason counts."""
        if self.ending is None:
            self.end_by(ending, task)
            for future in list(self.parked):
                future.cancel()

    def end_by(self, ending: Ending, task: Task | None) -> None:
        """Note why it ends, and where."""
        self.ending = self.run.as_written(ending, task.display_id if task is not None else "")
        self.stopped_at = (task.id, task.display_id) if task is not None else (next(iter([*self.started]), ""), "")

    def close(self) -> bool:
        """Tell the end, once: a node may come back while the watch ends its run for being late. Whether it was now."""
        if not self._closing.acquire(blocking=False):
            return False
        run, (stopped_at, shown_at) = self.run, self.stopped_at
        match self.ending:
            case None:
                run.tell(RunFinished(run.id))
                self.results.set_result(self.frontier.results())
            case NodeError() as error:
                run.tell(RunFailed(run.id, error, display_id=shown_at))
                self.results.set_exception(error)
            case Interrupted() as interrupted:
                run.tell(RunInterrupted(run.id, stopped_at, display_id=shown_at))
                self.results.set_exception(interrupted)
        self.frontier.release()
        return True


def outcome(task: Task, future: Future[Any]) -> Result | Ending:
    """What a future came to, whoever made it."""
    if future.cancelled():
        return Interrupted()
    if (error := future.exception()) is not None:
        return error if isinstance(error, NodeError | Interrupted) else failure(task.node, task.id, {}, error)
    result = future.result()
    if isinstance(result, Outputs | Pending | Need | Expand | NodeError | Interrupted):
        return result
    return failure(task.node, task.id, {}, TypeError(f"its future gave {type(result).__name__}, expected Outputs"))


def _cycle(task: Task) -> NodeError:
    message = "its expansion, or an input that it asked for, waits for this node itself"
    return NodeError(task.id, task.node.spec.type, message)
