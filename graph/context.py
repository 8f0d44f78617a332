"""A run, and what a node function sees of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeAlias, TypeVar

from graph.cells import Cells
from graph.document import Document, NodeId
from graph.errors import Interrupted, NodeError
from graph.events import Event, NodeWarned, Progress
from graph.result import NodeWarning, Outputs
from graph.scope import Scope
from graph.share import Share
from graph.thrift import Thrift

S = TypeVar("S")
E = TypeVar("E")
_logger = logging.getLogger(__name__)


class Cancel:
    """A request to stop one run. Takes no lock, so a signal handler may set it."""

    def __init__(self) -> None:
        self._set = False
        self._asked = False
        self._wakers: list[Callable[[], None]] = []

    @property
    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        """Ask the run to stop, and wake the loop that waits for it. May be called from any thread, and twice."""
        self._set = True
        self._wake()

    def ask(self) -> None:
        """As `set`, but a run that has nothing left to do but to write what it has made may end: to stop it would only
        have it made again.
        """
        self._asked = True
        self._wake()

    def check(self) -> None:
        """Raise Interrupted once `set` was called."""
        if self._set:
            raise Interrupted

    def waking(self, wake: Callable[[], None]) -> None:
        """Have `set` and `ask` call `wake`; at once if that has already happened. Who is asked, and does not let the run
        end, calls `set`.
        """
        self._wakers.append(wake)
        if self._set or self._asked:
            wake()

    def _wake(self) -> None:
        for wake in list(self._wakers):
            wake()


Keep: TypeAlias = Callable[[str, Outputs], None]


def _ignore(event: Event) -> None:
    pass


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One execution of a document.

    `emit` is called from the loop's thread and from those of the io lane. What it raises is logged and goes no
    further: whoever watches a run cannot break it. `extra` is what clients send along (`extra_pnginfo`). `cells` are those
    of a sweep. `share`: which part of it is made here, if that is not all. `keep(name, outputs)` is called with each
    result that took a while, by the thread that serves: it should not take long.
    """

    id: str
    document: Document
    emit: Callable[[Event], None] = _ignore
    cancel: Cancel = field(default_factory=Cancel)
    extra: Mapping[str, object] = field(default_factory=dict)
    cells: Cells | None = None
    share: Share | None = None
    keep: Keep | None = None

    def over(self, cells: Cells | None) -> Run:
        """The same run of a swept graph: whoever watches is told of the nodes that were written."""
        return self if cells is None else replace(self, emit=cells.telling(self.emit), cells=cells)

    def as_written(self, ending: E, display_id: NodeId = "") -> E | NodeError:
        """How the run ended; a failure blames the node that was written."""
        return (
            self.cells.error(ending, display_id) if self.cells is not None and isinstance(ending, NodeError) else ending
        )

    def tell(self, event: Event) -> None:
        """Hand `event` to the sink."""
        try:
            self.emit(event)
        except Exception:
            _logger.exception("the event sink of run %s failed on %s", self.id, type(event).__name__)

    def tell_warnings(self, node_id: NodeId, warnings: Iterable[NodeWarning], display_id: NodeId = "") -> None:
        """Tell what the result of a node leaves out."""
        for warning in warnings:
            self.tell(NodeWarned(self.id, node_id, warning, display_id))


@dataclass  # not frozen, which takes long to make; with slots, a generic alias could not be called on Python 3.11
class Context(Generic[S]):
    """The first argument of every node function: who it is, for whom it works, and what it may use.

    `display_id`: the node of the document that stands for one that an expansion brought; nothing for others. `scope`
    is the graph that the node stands in, for those that expand.
    """

    node_id: NodeId
    run: Run
    services: S
    thrift: Thrift = Thrift.NONE
    warnings: list[NodeWarning] = field(default_factory=list)
    display_id: NodeId = ""
    scope: Scope | None = None

    @property
    def here(self) -> NodeId:
        """The id of the node in its own graph, which is what links there call it."""
        return self.node_id if self.scope is None else self.node_id.removeprefix(self.scope.prefix)

    @property
    def _shown(self) -> NodeId:
        return self.display_id or self.node_id

    @property
    def written_id(self) -> NodeId:
        """The node's id in `document`: in a swept graph `node_id` is that of one copy."""
        return self.node_id if self.run.cells is None else self.run.cells.written(self.node_id)

    @property
    def shown_id(self) -> NodeId:
        """The node of `document` that stands for this one, which may be an expansion's."""
        return self._shown if self.run.cells is None else self.run.cells.written(self._shown)

    @property
    def document(self) -> Document:
        """The workflow as it was submitted; in a swept graph with the values of this node's cell, and without sweeps."""
        return self.run.document if self.run.cells is None else self.run.cells.document(self._shown, self.run.document)

    @property
    def kept(self) -> Mapping[str, object]:
        """What the client sent along to be kept in files, `extra_pnginfo`; in a swept graph as this node's cell has it."""
        extra = self.run.extra.get("extra_pnginfo")
        if not isinstance(extra, Mapping):
            return {}
        cells = self.run.cells
        return extra if cells is None else cells.extra(self._shown, self.run.document, extra)

    def check(self) -> None:
        """Raise Interrupted if the run was asked to stop; cheap enough to call for every block of a network."""
        self.run.cancel.check()

    def warn(self, message: str, input_name: str = "") -> None:
        """Say what the result leaves out, or how it differs from what was asked; said once however often it is called.

        `message` is a sentence for the user; `input_name` is the input that it is about.
        """
        warning = NodeWarning(message, input_name)
        if warning not in self.warnings:
            self.warnings.append(warning)

    def progress(self, done: float, total: float, preview: Callable[[], object] | None = None) -> None:
        """Report `done` of `total` steps, then `check`. `preview` is called only if somebody looks."""
        self.run.tell(Progress(self.run.id, self.node_id, done, total, preview, display_id=self.display_id))
        self.run.cancel.check()
