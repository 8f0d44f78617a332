"""How nodes are called: on the loop's own thread, in the pool for files, or beside others, each for as long as it may take."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import partial
from typing import Generic, TypeVar

from graph.calls import Ending, OverdueError, Relief, call, call_async, failure
from graph.context import Context
from graph.errors import NodeError
from graph.lanes import Lanes
from graph.live import Live
from graph.plan import Task
from graph.result import Outputs, Pending, Result
from graph.watch import Watch

S = TypeVar("S")
T = TypeVar("T")

_logger = logging.getLogger(__name__)


class Dispatch(Generic[S]):
    """Calls node functions with `services`, within `scope`, and those of lane `device` with `relief`.

    `is_stuck`: a node of lane `device` does not end, so nothing else can run.
    """

    def __init__(
        self,
        services: S,
        scope: Callable[[], AbstractContextManager[object]],
        relief: Relief | None,
        io_workers: int,
        limit: float | None,
        grace: float,
        conclude: Callable[[Live], None],
    ) -> None:
        """limit: seconds that a node may take. grace: seconds that it has to stop after that; then `conclude` is called
        with its run, from another thread.
        """
        self._services = services
        self._scope = scope
        self._relief = relief
        self._lanes = Lanes(io_workers, scope)
        self._limit = limit
        self._watch = None
        if limit is not None:
            late, lost = partial(self._late, limit), self._lost
            self._watch = Watch[tuple[Live, Task]](limit, late, lambda watched: conclude(watched[0]), lost, grace)
        self._tell_stuck: Callable[[str], None] = _logger.critical
        self.is_stuck = False

    def when_stuck(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called, in words and from another thread, when a node does not end."""
        self._tell_stuck = tell

    def start(self, live: Live, task: Task, inputs: dict[str, object]) -> Result | Ending:
        """Run a device node here, others on their lane."""
        node, context = task.node, self._context(live, task)
        if node.spec.lane == "io":
            return Pending(self._lanes.io(partial(call, node, context, inputs, self._scope)))
        if node.spec.lane == "async":
            limit = node.spec.time_limit or self._limit
            return Pending(self._lanes.promise(call_async(node, context, inputs, limit)))
        if self._watch is None:
            return call(node, context, inputs, self._scope, self._relief)
        return self._watched(live, task, partial(call, node, context, inputs, self._scope, self._relief))

    def go_on(self, live: Live, task: Task) -> Result | Ending:
        """What came of a node whose expansion is done: that, or what the node makes of it."""
        expansion, made = task.expansion, live.frontier.made(task)
        assert expansion is not None
        if expansion.then is None:
            return Outputs(tuple(it.value for it in made), expansion.ui)
        then = partial(expansion.then, made)
        return self._watched(
            live, task, partial(call, task.node, self._context(live, task), {}, self._scope, then=then)
        )

    def beside(self, work: Callable[[], T]) -> Future[T]:
        """Do something in the pool for files that no run waits for."""
        return self._lanes.io(work)

    def overdue(self, lives: Iterable[Live]) -> Iterator[tuple[Live, Task, NodeError]]:
        """The io nodes that take longer than they may: they are left to themselves, with the threads that they hold."""
        if self._limit is None:
            return
        now = time.perf_counter()
        for live in list(lives):
            for future, task in list(live.parked.items()):
                late = task.node.spec.lane == "io" and now - live.started.get(task.id, now) > self._limit
                if late and not future.done():
                    del live.parked[future]
                    self._lanes.replace_pool()
                    yield live, task, _overdue(task, self._limit)

    def close(self) -> None:
        """Wait for what is under way."""
        self._lanes.close()
        if self._watch is not None:
            self._watch.close()

    def _context(self, live: Live, task: Task) -> Context[S]:
        return Context(task.id, live.run, self._services, display_id=task.display_id, scope=task.scope)

    def _watched(self, live: Live, task: Task, work: Callable[[], Result | Ending]) -> Result | Ending:
        if self._watch is None:
            return work()
        with self._watch.over((live, task)):
            result = work()
        self.is_stuck = False
        return result

    def _late(self, limit: float, watched: tuple[Live, Task]) -> None:
        """A device node takes longer than it may: it is asked to stop, and the run will have failed."""
        live, task = watched
        if live.ending is None:
            live.end_by(_overdue(task, limit), task)
        live.run.cancel.set()

    def _lost(self, watched: tuple[Live, Task]) -> None:
        """It does not end: nothing can run any more."""
        task = watched[1]
        self.is_stuck = True
        self._tell_stuck(
            f"node {task.id} ({task.node.spec.type}) does not end, and no thread can be stopped from outside"
        )


def _overdue(task: Task, limit: float) -> NodeError:
    return failure(task.node, task.id, {}, OverdueError(limit))
