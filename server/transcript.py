"""What a run has told so far: the messages of its clients, and its entry in the history."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from json.encoder import encode_basestring_ascii
from typing import Any, TypeAlias

from graph.document import NodeId
from graph.errors import GraphErrors, NodeError, brief, kind_of
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
from graph.patient_json import dumps
from graph.sweep import Cell
from server.copies import Copies, together
from server.job import Outcome, State
from server.messages import shown
from server.redact import Redactor

Data: TypeAlias = Mapping[str, object]

WARNING = "execution_warning"
"""The type of the message that says what a node left out."""


@dataclass(frozen=True, slots=True)
class Message:
    """One text frame: `{"type", "data"}`. `lasting` ones are sent again to a client that was away."""

    type: str
    data: Data
    lasting: bool = True

    def text(self) -> str:
        """The frame. The message of every node holds texts alone, which need no encoder to be made for them."""
        texts = [f'"{key}": {encode_basestring_ascii(it)}' for key, it in self.data.items() if isinstance(it, str)]
        if len(texts) == len(self.data):
            return f'{{"type": "{self.type}", "data": {{{", ".join(texts)}}}}}'
        return json.dumps({"type": self.type, "data": self.data})


@dataclass(slots=True)
class NodeProgress:
    """How far one node is."""

    value: float = 0.0
    max: float = 1.0
    state: str = "running"
    seconds: float | None = None
    cached: bool = False


@dataclass(slots=True)
class Transcript:
    """Turns one run's events into messages, in order, and remembers what the history needs.

    `closing` is the last message of the run; it waits until the outcome is stored. `given` are the inputs of each node
    as the prompt has them, until the run ends. What an expansion brings is told by its own id with the visible node
    beside it, under which alone the history keeps what it shows; the ids are few however often a loop runs.
    """

    id: str
    types: Mapping[NodeId, str]
    redact: Redactor
    nodes: dict[NodeId, NodeProgress] = field(default_factory=dict)
    outputs: dict[NodeId, Any] = field(default_factory=dict)
    messages: list[tuple[str, Data]] = field(default_factory=list)
    cached: tuple[NodeId, ...] = ()
    executed: list[NodeId] = field(default_factory=list)
    closing: Message | None = None
    state: State = State.RUNNING
    error: Data | None = None
    copies: Copies = field(default_factory=Copies)
    given: Mapping[NodeId, Mapping[str, object]] = field(default_factory=dict)
    _fragments: dict[NodeId, str] = field(default_factory=dict)
    _visible: dict[NodeId, NodeId] = field(default_factory=dict)

    def apply(self, event: Event, when: float) -> Iterator[Message | NodeId]:
        """The messages for `event`, told at `when`; a node id stands where that node's progress_state belongs."""
        match event:
            case RunStarted():
                self.copies.begin(event)
                sweep = {"sweep": swept} if (swept := self.copies.sweep()) else {}
                yield self._noted("execution_start", {"prompt_id": self.id, "timestamp": int(when * 1000), **sweep})
            case NodesCached(nodes=cached):
                self.cached = cached
                self.copies.at_hand(event)
                data = {"nodes": list(cached), "prompt_id": self.id, "timestamp": int(when * 1000)}
                yield self._noted("execution_cached", data)
            case NodeStarted(node_id=node_id, cell=cell, display_id=display_id):
                self._advance(node_id, cell, display_id)
                yield node_id
                data = {"node": node_id, "display_node": display_id or node_id, "prompt_id": self.id}
                yield Message("executing", data | _place(cell))
            case Progress(node_id=node_id, done=done, total=total, cell=cell, display_id=display_id):
                value, most = as_number(done), as_number(total)
                self._advance(node_id, cell, display_id, value, most)
                yield node_id
                data = {"value": value, "max": most, "prompt_id": self.id, "node": node_id}
                yield Message("progress", data | _place(cell), lasting=False)
            case NodeRetried(node_id=node_id, thrift=thrift, message=message, cell=cell, display_id=display_id):
                self._advance(node_id, cell, display_id)
                yield node_id
                node_id = display_id or node_id
                data = {"prompt_id": self.id, "node_id": node_id, "node_type": self.types.get(node_id)}
                data |= {"thrift": thrift.name.lower(), "how": thrift.words, "exception_message": self.redact(message)}
                yield self._noted("execution_retried", data | {"timestamp": int(when * 1000)})
            case NodeWarned(node_id=node_id, warning=warning, display_id=display_id):
                node_id = display_id or node_id
                data = {"prompt_id": self.id, "node_id": node_id, "display_node": node_id}
                data |= {"node_type": self.types.get(node_id), "input_name": warning.input_name}
                data |= {"message": self.redact(warning.message), "timestamp": int(when * 1000)}
                yield self._noted(WARNING, data)
            case NodeFinished():
                yield from self._finished(event)
            case RunFailed(error=error, display_id=display_id):
                self._stop(error.node_id)
                yield error.node_id
                self.fail(error, when, display_id)
            case RunInterrupted(node_id=node_id, display_id=display_id):
                node_id = display_id or node_id
                data = {"prompt_id": self.id, "node_id": node_id or None, "node_type": self.types.get(node_id)}
                self._close(State.CANCELLED, "execution_interrupted", data | {"executed": list(self.executed)}, when)
            case RunFinished():
                self._close(State.COMPLETED, "execution_success", {"prompt_id": self.id}, when)

    def fail(self, error: NodeError | GraphErrors, when: float, display_id: NodeId = "") -> None:
        """The run ends with a failure. display_id: the visible node that stands for the one that failed."""
        data: dict[str, object] = {"prompt_id": self.id, "executed": list(self.executed), "traceback": []}
        match error:
            case NodeError():
                blamed = display_id or error.node_id
                inputs = {name: [shown(value)] for name, value in self.given.get(blamed, {}).items()}
                data |= {"node_id": blamed, "node_type": error.node_type, "current_inputs": inputs}
                data |= {"current_outputs": [], "exception_message": self.redact(error.message)}
                data |= {"exception_type": error.kind or kind_of(error), "input_name": error.input_name}
                data |= {"traceback": self.redact.each(error.frames)}
                self._stop(error.node_id)
            case GraphErrors(problems=problems):
                first = problems[0].node_id if problems else ""
                data |= {"node_id": first, "node_type": self.types.get(first, ""), "current_inputs": {}}
                data |= {"current_outputs": [], "exception_message": self.redact(str(error))}
                data |= {"exception_type": "GraphErrors"}
        self._close(State.FAILED, "execution_error", data, when)
        self.error = self.closing.data if self.closing else None

    def progress_state(self, only: set[NodeId] | None = None) -> str:
        """The frame that shows all nodes touched so far, or `only` some as a delta."""
        delta = "" if only is None else '"delta": true, '
        joined = ", ".join(map(self._fragment, self.nodes if only is None else only))
        return f'{{"type": "progress_state", "data": {{"prompt_id": {self._id}, {delta}"nodes": {{{joined}}}}}}}'

    def snapshot(self) -> Transcript:
        """The same as it is now, for other threads to read."""
        nodes, outputs, messages = dict(self.nodes), self.copies.outputs(self.outputs), list(self.messages)
        return replace(
            self, nodes=nodes, outputs=outputs, messages=messages, executed=list(self.executed), copies=Copies()
        )

    def outcome(self) -> Outcome:
        """What the history keeps."""
        outputs = self.copies.outputs(self.outputs)
        meta = {
            node_id: {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}
            for node_id in outputs
        }
        return Outcome(
            state=self.state,
            outputs=dumps(outputs),
            messages=dumps(self.messages),
            meta=dumps(meta),
            nodes=dumps(self.timings()),
            error=None if self.error is None else dumps(self.error),
        )

    def timings(self) -> dict[NodeId, dict[str, object]]:
        """Seconds and cached marks by node."""
        timings: dict[NodeId, dict[str, object]] = {node_id: {"cached": True} for node_id in self.cached}
        for node_id, progress in self.nodes.items():
            timings[node_id] = {"cached": progress.cached, "state": progress.state, "seconds": progress.seconds}
        return timings

    def _finished(self, event: NodeFinished) -> Iterator[Message | NodeId]:
        node_id, cell = event.node_id, event.cell
        if event.ui:
            yield self._shown(event)
        before = self.nodes.get(node_id, NodeProgress())
        if not (event.cached or event.display_id) and (cell is None or not before.seconds):
            self.executed.append(node_id)
        if cell is None or event.display_id:
            self._move(node_id, NodeProgress(before.max, before.max, "finished", event.seconds, event.cached))
        else:
            state = "finished" if self.copies.ended(node_id, cell) else "running"
            seconds, cached = (before.seconds or 0.0) + event.seconds, event.cached and not before.seconds
            self._move(node_id, NodeProgress(*self.copies.progress(node_id), state, seconds, cached))
        yield node_id

    def _shown(self, event: NodeFinished) -> Message:
        """What a node shows. What stands inside another, perhaps in a loop, adds to what that has shown."""
        node_id, cell = event.display_id or event.node_id, event.cell
        shown: Any = plain(event.ui)
        if cell is not None:
            shown = (self.copies.show_more if event.display_id else self.copies.show)(node_id, cell, shown)
        elif event.display_id and node_id in self.outputs:
            self.outputs[node_id] = together(self.outputs[node_id], shown)
        else:
            self.outputs[node_id] = shown
        data: dict[str, object] = {"node": event.node_id, "display_node": node_id, "output": shown}
        merge = {"merge": True} if cell or event.display_id else {}
        return Message("executed", data | {"prompt_id": self.id} | merge | _place(cell))

    def _advance(
        self, node_id: NodeId, cell: Cell | None, display_id: NodeId, done: float = 0.0, total: float = 1.0
    ) -> None:
        """A node is at work. One that stands more than once counts its copies."""
        if display_id:
            self._visible[node_id] = display_id
        if cell is None or display_id:
            self._move(node_id, NodeProgress(done, total))
            return
        seconds = self.nodes[node_id].seconds if node_id in self.nodes else None
        value, most = self.copies.progress(node_id, min(done / total, 1.0) if total > 0 else 0.0)
        self._move(node_id, NodeProgress(value, most, seconds=seconds))

    def _stop(self, node_id: NodeId) -> None:
        before = self.nodes.get(node_id, NodeProgress())
        self._move(node_id, NodeProgress(before.value, before.max, "error"))

    def _move(self, node_id: NodeId, progress: NodeProgress) -> None:
        self.nodes[node_id] = progress
        self._fragments.pop(node_id, None)

    def _fragment(self, node_id: NodeId) -> str:
        """A node in progress_state. Written when it is asked for: most of what fast nodes do nobody sees."""
        if (known := self._fragments.get(node_id)) is not None:
            return known
        progress, name = self.nodes[node_id], encode_basestring_ascii(node_id)
        visible = encode_basestring_ascii(self._visible[node_id]) if node_id in self._visible else name
        parent = "null" if visible == name else visible
        written = self._fragments[node_id] = (
            f'{name}: {{"value": {_number(progress.value)}, "max": {_number(progress.max)}, "state": '
            f'"{progress.state}", "node_id": {name}, "prompt_id": {self._id}, "display_node_id": {visible}, '
            f'"parent_node_id": {parent}, "real_node_id": {name}}}'
        )
        return written

    @property
    def _id(self) -> str:
        return encode_basestring_ascii(self.id)

    def _close(self, state: State, type_: str, data: Data, when: float) -> None:
        self.state, self.given = state, {}
        self.closing = self._noted(type_, {**data, "timestamp": int(when * 1000)})

    def _noted(self, type_: str, data: Data) -> Message:
        self.messages.append((type_, data))
        return Message(type_, data)


def _place(cell: Cell | None) -> dict[str, object]:
    """Which cell of a sweep a message is about: its place on each axis, null on those that do not matter to it."""
    return {} if cell is None else {"cell": list(cell.at)}


def plain(value: object) -> object:
    """`value` as JSON can carry it: what a node shows may hold anything."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return brief(value)


def as_number(value: object) -> float:
    """How far a node says it is, as a number that JSON has: nodes report those of numpy and torch too, and NaN."""
    if (type(value) is int and abs(value) < 2**53) or (type(value) is float and math.isfinite(value)):
        return value
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return 0.0
    if not math.isfinite(number):
        return 0.0
    return int(number) if number.is_integer() and not isinstance(value, float) else number


def _number(value: float) -> str:
    """As json.dumps has it, ten times as fast."""
    return int.__repr__(value) if isinstance(value, int) else float.__repr__(value)
