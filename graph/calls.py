"""Calling a node function: what it raises becomes a value, and when memory runs out it is called again, thriftier."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from graph.build import BoundNode
from graph.context import Context
from graph.document import NodeId
from graph.errors import InputError, Interrupted, NodeError, brief, frames_within, kind_of
from graph.events import NodeRetried
from graph.files import FileRef
from graph.lists import SPECIAL, blocked, joined, rows, told
from graph.result import Blocked, Items, Outputs, Result
from graph.spec import NodeSpec
from graph.thrift import Thrift

S = TypeVar("S")
_logger = logging.getLogger(__name__)

Ending: TypeAlias = NodeError | Interrupted


@dataclass(frozen=True, slots=True)
class Relief:
    """What is done when memory runs out. `free` gives back what nobody uses; the executor's loop calls it."""

    is_out_of_memory: Callable[[BaseException], bool]
    free: Callable[[], None]


def call(
    node: BoundNode,
    context: Context[S],
    inputs: dict[str, object],
    scope: Callable[[], AbstractContextManager[object]],
    relief: Relief | None = None,
    then: Callable[[], Result] | None = None,
) -> Result | Ending:
    """Call the node function, once for each value of a list, or instead `then`, which goes on where it left off.
    With `call_async` the only place that catches what foreign code raises.

    With `relief`, a node that ran out of memory is called again, each time one step thriftier, once what it held and
    what nobody uses is free. A failure outlives the run, and its traceback keeps every frame on the stack alive: so
    `inputs` is emptied, as are the frames below this one.
    """
    thrift = Thrift.NONE
    while True:
        try:
            context.check()
            with scope():
                sparing = context if thrift is Thrift.NONE else replace(context, thrift=thrift)
                result = _outcome(node, sparing, inputs) if then is None else then()
            return _warned(context, result) if context.warnings else result
        except Interrupted:
            return Interrupted()
        except (Exception, SystemExit) as error:  # noqa: BLE001
            if relief is None or thrift is max(Thrift) or not relief.is_out_of_memory(error):
                return _failed(node, context, inputs, error, thrift)
            message = _words(error)
            _forget_frames(error)
        thrift = Thrift(thrift + 1)
        context.warnings.clear()
        relief.free()
        _logger.warning("node %s (%s): %s; trying again: %s", context.node_id, node.spec.type, message, thrift.words)
        context.run.tell(NodeRetried(context.run.id, context.node_id, thrift, message, display_id=context.display_id))


async def call_async(
    node: BoundNode, context: Context[S], inputs: dict[str, object], limit: float | None
) -> Result | Ending:
    """As `call`, for an async function, and for all values of a list at once. limit: seconds it may take."""
    clock = asyncio.timeout(limit)
    try:
        context.check()
        async with clock:
            result = await _promised(node, context, inputs)
        return _warned(context, result) if context.warnings else result
    except Interrupted:
        return Interrupted()
    except TimeoutError as error:
        return _failed(node, context, inputs, OverdueError(limit) if clock.expired() else error)
    except (Exception, SystemExit) as error:  # noqa: BLE001
        first = _first(error)
        return Interrupted() if isinstance(first, Interrupted) else _failed(node, context, inputs, first)


class OverdueError(Exception):
    """A node took longer than it may."""

    def __init__(self, limit: float | None) -> None:
        super().__init__(f"took longer than its limit of {limit:g} s" if limit is not None else "took too long")


def failure(node: BoundNode, node_id: NodeId, inputs: Mapping[str, object], error: BaseException) -> NodeError:
    """What went wrong at a node, as its run tells it."""
    blamed, message = "", str(error) if isinstance(error, OverdueError) else _words(error)
    if isinstance(error, InputError):
        blamed, message = error.input_name, error.message
    shown = {name: brief(value.name if isinstance(value, FileRef) else value) for name, value in inputs.items()}
    frames = frames_within(error, node.spec.home) if node.spec.home else ()
    if frames:
        _logger.warning("node %s (%s) of %s: %s\n%s", node_id, node.spec.type, node.spec.home, message, "".join(frames))
    failed = NodeError(node_id, node.spec.type, message, blamed, shown, kind_of(error), frames)
    failed.__cause__ = error
    return failed


def _outcome(node: BoundNode, context: Context[S], inputs: dict[str, object]) -> Result:
    spec = node.spec
    if spec.is_plain and SPECIAL.isdisjoint(map(type, inputs.values())):
        return spec.run(context, inputs)
    calls = rows(node.input_specs, inputs)
    results = [_kept(spec, context, row) or spec.run(context, row) for row in calls]
    return results[0] if _is_single(inputs, node, results) else joined(spec, results)


async def _promised(node: BoundNode, context: Context[S], inputs: dict[str, object]) -> Result:
    spec = node.spec
    calls = rows(node.input_specs, inputs)
    kept = [_kept(spec, context, row) for row in calls]
    async with asyncio.TaskGroup() as group:
        promises = [it or group.create_task(spec.run(context, row)) for it, row in zip(kept, calls, strict=True)]
    results = [it if isinstance(it, Outputs) else it.result() for it in promises]
    return results[0] if _is_single(inputs, node, results) else joined(spec, results)


def _is_single(inputs: Mapping[str, object], node: BoundNode, results: Sequence[Result]) -> bool:
    """Whether no list decided how often the node was called."""
    specs = zip(node.input_specs, inputs.values(), strict=True)
    return len(results) == 1 and not any(type(value) is Items and not spec.is_list for spec, value in specs)


def _kept(spec: NodeSpec, context: Context[S], row: Mapping[str, object]) -> Outputs | None:
    """What a node gives that is kept from running: the same, but nobody is told of it twice."""
    if (reason := blocked(row)) is None:
        return None
    if reason.message:
        context.warn(told(reason))
    return Outputs((Blocked(),) * len(spec.outputs))


def _failed(
    node: BoundNode, context: Context[S], inputs: dict[str, object], error: BaseException, thrift: Thrift = Thrift.NONE
) -> NodeError:
    """What the run tells, and nothing that keeps values alive."""
    failed = failure(node, context.node_id, inputs, error)
    if thrift:
        failed.message += f" (it was tried again: {thrift.words})"
    context.run.tell_warnings(context.node_id, context.warnings, context.display_id)
    inputs.clear()
    _forget_frames(error)
    return failed


def _warned(context: Context[S], result: Result) -> Result:
    """Tell what the node warned of, and keep it with the result."""
    context.run.tell_warnings(context.node_id, context.warnings, context.display_id)
    return replace(result, warnings=tuple(context.warnings)) if isinstance(result, Outputs) else result


def _first(error: BaseException) -> BaseException:
    """What went wrong first, where several calls were under way."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _words(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()


def _forget_frames(error: BaseException) -> None:
    """Empty the frames that `error` and its causes came through. Those still running stay as they are."""
    pending, seen = [error], set[int]()
    while pending:
        current = pending.pop()
        if id(current) not in seen:
            seen.add(id(current))
            traceback.clear_frames(current.__traceback__)
            pending.extend(chained for chained in (current.__cause__, current.__context__) if chained is not None)
