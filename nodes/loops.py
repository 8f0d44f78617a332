"""Loops: what stands between a StartLoop and its EndLoop runs once for each iteration, one after the other."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, TypeAlias

from graph.document import DocNode, Link, NodeId
from graph.errors import InputError
from graph.events import Progress
from graph.files import Folders
from graph.inputs import gathered
from graph.result import Blocked, Expand, Items, Made, Outputs, Result, listed
from graph.sockets import Int, Text, Toggle
from graph.spec import Cases, Group, Named, NodeSpec, Raw, Tip, node
from nodes.loop_body import Body, LoopError, body_of
from nodes.services import Context

LARGEST = 2**64 - 1

Values: TypeAlias = list[Any]


@dataclass(frozen=True)
class Simple:
    """So many times."""

    num_iterations: Annotated[int, Int(0, 1_000_000, tooltip="How many times the loop runs.")] = 4

    def indices(self) -> range:
        return range(self.num_iterations)


@dataclass(frozen=True)
class For:
    """From one number up to another."""

    start_iteration_index: Annotated[int, Int(-LARGEST, LARGEST, tooltip="The first number.")] = 0
    max_iteration: Annotated[int, Int(-LARGEST, LARGEST, tooltip="The loop ends before this number.")] = 4
    step: Annotated[int, Int(1, LARGEST, tooltip="How far each number is from the one before.")] = 1

    def indices(self) -> range:
        return range(self.start_iteration_index, self.max_iteration, self.step)


@dataclass(frozen=True)
class Over:
    """Once for each value of a list."""

    list: Annotated[Values, Tip("The values.")]

    def indices(self) -> range:
        return range(len(self.list))


Mode: TypeAlias = Simple | For | Over


class Iteration(NamedTuple):
    """What an iteration knows of itself."""

    iteration_index: Annotated[int, Tip("The number of the iteration.")]
    is_first: Annotated[bool, Tip("Whether it is the first one.")]
    is_last: Annotated[bool, Tip("Whether it is the last one.")]
    list_item: Annotated[Any, Tip("The value of the list, where the loop runs over one.")]
    current_iteration_value: Annotated[
        list[Any], Tip("What the iteration before handed on; in the first one, the initial value.")
    ]


@node("StartLoop", category="logic/loop", title="Start Loop")
def start_loop(
    ctx: Context,
    *,
    mode: Annotated[
        Mode,
        Cases({}, MappingProxyType({"simple": Simple, "For": For, "List": Over})),
        Tip("What decides how often the loop runs."),
    ] = "simple",  # type: ignore[assignment]  # as documents write it
    cache_iterations: Annotated[
        bool | None, Toggle(tooltip="Whether a run that repeats the loop takes unchanged iterations from the last one.")
    ] = False,
    parent_iteration: Annotated[
        int | None, Raw("INT"), Tip("The number of the outer loop's iteration, to nest loops.")
    ] = None,
    initial_iteration_value: Annotated[
        list[Any] | None, Tip("What the first iteration gets as its current value.")
    ] = None,
) -> Iteration | Blocked:
    """The beginning of a loop: all that is connected to it, up to the End Loop, runs once for each iteration."""
    return Blocked()  # End Loop runs what is between, with a LoopIteration in this place


def _unless_reused(node_id: NodeId, inputs: Mapping[str, object], folders: Folders) -> object:
    return None if inputs["reuse_cache"] else uuid.uuid4().hex


@node("LoopIteration", category="logic/loop", title="Loop Iteration", freshness=_unless_reused, experimental=True)
def loop_iteration(
    ctx: Context,
    *,
    iteration_index: Annotated[int, Tip("Its number.")],
    is_first: Annotated[bool, Tip("Whether it is the first one.")],
    is_last: Annotated[bool, Tip("Whether it is the last one.")],
    reuse_cache: Annotated[bool, Tip("Whether an equal iteration of another run will do.")],
    list_item: Annotated[Any | None, Tip("The value of the list.")] = None,
    current_iteration_value: Annotated[list[Any] | None, Tip("What the iteration before handed on.")] = None,
) -> Iteration:
    """One iteration of a loop, in the place of its Start Loop. End Loop makes it."""
    return Iteration(iteration_index, is_first, is_last, list_item, current_iteration_value or [])


@node("EndLoop", category="logic/loop", title="End Loop", terminal=True)
def end_loop(
    ctx: Context,
    *,
    output_value: Annotated[Link | None, Raw(), Tip("What the loop makes.")] = None,
    next_iteration_value: Annotated[
        Link | None, Raw(), Tip("What the next iteration gets as its current value.")
    ] = None,
    accumulate: Annotated[
        bool | None, Toggle(tooltip="Whether to give what all iterations made, or the last one only.")
    ] = False,
    terminations: Annotated[
        Mapping[str, Annotated[Link, Raw()]], Group("termination", max=50), Tip("What has to run in every iteration.")
    ] = MappingProxyType({}),
) -> Annotated[list[Any], Named("outputs"), Tip("What the last iteration made, or all of them.")] | Expand:
    """The end of a loop: runs all that stands between Start Loop and here, and every node there that writes files."""
    assert ctx.scope is not None
    try:
        body = body_of(ctx.here, ctx.scope)
    except LoopError as error:
        raise InputError("output_value", str(error)) from error
    start, _, _ = ctx.scope.place(body.start)
    loop = _Loop(ctx, body, output_value, next_iteration_value, tuple(terminations.values()), bool(accumulate))
    given = {name: value for name, value in start.inputs.items() if name != "parent_iteration"}
    return Expand({}, tuple(given.values()), lambda made: loop.begin(dict(zip(given, made, strict=True)), start.spec))


@dataclass(slots=True)
class _Loop:
    """A loop under way: an expansion for each iteration, one after the other."""

    ctx: Context
    body: Body
    output: Link | None
    handed_on: Link | None
    terminations: tuple[Link, ...]
    accumulate: bool
    indices: range = range(0)
    reuse: bool = False
    items: Made | None = None
    made: list[object] = field(default_factory=list)

    def begin(self, inputs: Mapping[str, Made], start: NodeSpec) -> Result:
        """Take what the Start Loop's inputs came to."""
        values = {name: _flat(it.value) if name == "mode.list" else it.value for name, it in inputs.items()}
        mode = gathered(start.inputs[0], values)
        assert isinstance(mode, Simple | For | Over)
        self.indices = mode.indices()
        self.reuse = bool(values["cache_iterations"])
        self.items = inputs.get("mode.list")
        return self.iterate(0, _something(inputs["initial_iteration_value"]))

    def iterate(self, turn: int, current: Made | None) -> Result:
        """The next iteration, or what the loop made."""
        self.ctx.progress(turn, len(self.indices))
        if turn == len(self.indices):
            return Outputs((listed(self.made),))
        inputs: dict[str, object] = {
            "iteration_index": self.indices[turn],
            "is_first": turn == 0,
            "is_last": turn == len(self.indices) - 1,
            "reuse_cache": self.reuse,
            "list_item": self._item(turn),
            "current_iteration_value": current,
        }
        nodes = {self.body.start: DocNode("LoopIteration", inputs), **self.body.nodes}
        wanted = [link for link in (self.output, self.handed_on, *self.terminations) if link is not None]
        return Expand(nodes, tuple(wanted), lambda made: self._next(turn, made), display=self.body.display)

    def _next(self, turn: int, made: tuple[Made, ...]) -> Result:
        given = iter(made)
        if self.output is not None:
            if not self.accumulate:
                self.made.clear()
            self.made += _flat(next(given).value)
        return self.iterate(turn + 1, _something(next(given)) if self.handed_on is not None else None)

    def _item(self, turn: int) -> Made | None:
        if self.items is None:
            return None
        return Made(_flat(self.items.value)[turn], f"{self.items.source}[{turn}]", self.items.slot)


def _something(made: Made) -> Made | None:
    return None if made.value is None else made


def _flat(value: object) -> list[object]:
    return list(value.values) if type(value) is Items else [value]


@node(
    "LoopProgress",
    category="logic/loop",
    title="Loop Progress",
    experimental=True,
    freshness=lambda *_: uuid.uuid4().hex,
)
def loop_progress(
    ctx: Context,
    *,
    start_id: Annotated[str, Text(tooltip="The node that shows how far the loop is.")],
    position: Annotated[int, Int(tooltip="How many iterations are done.")],
    total: Annotated[int, Int(tooltip="How many there are.")],
) -> Annotated[int, Named("position"), Tip("The same number.")]:
    """Say how far a loop is, and pass the number on."""
    ctx.run.tell(Progress(ctx.run.id, start_id, position, total))
    return position


@node("LoopResult", category="logic/loop", title="Loop Result", terminal=True, experimental=True)
def loop_result(
    ctx: Context,
    *,
    close_id: Annotated[str, Text(tooltip="The loop's end.")],
    outputs: Annotated[Mapping[str, Any], Group("output", flat=True), Tip("What has to run.")] = MappingProxyType({}),
) -> None:
    """Have everything run that is connected, as the end of a loop does; gives nothing itself."""
