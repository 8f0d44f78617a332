"""Calling a node function: what it raises becomes a value, and when memory runs out it is called again, thriftier."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from graph.build import BoundNode
from graph.context import Context
from graph.errors import InputError, Interrupted, NodeError, brief
from graph.events import NodeRetried
from graph.files import FileRef
from graph.result import Outputs, Result
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
) -> Result | Ending:
    """Call the node function. The only place that catches what foreign code raises.

    With `relief`, a node that ran out of memory is called again, each time one step thriftier, once what it held and
    what nobody uses is free. A failure outlives the run, and its traceback keeps every frame on the stack alive: so
    `inputs` is emptied, as are the frames below this one.
    """
    thrift = Thrift.NONE
    while True:
        try:
            context.check()
            with scope():
                result = node.spec.run(context if thrift is Thrift.NONE else replace(context, thrift=thrift), inputs)
            return _warned(context, result) if context.warnings else result
        except Interrupted:
            return Interrupted()
        except (Exception, SystemExit) as error:  # noqa: BLE001
            if relief is None or thrift is max(Thrift) or not relief.is_out_of_memory(error):
                failure = _failure(node, inputs, error, thrift)
                context.run.tell_warnings(node.id, context.warnings)
                inputs.clear()
                _forget_frames(error)
                return failure
            message = _words(error)
            _forget_frames(error)
        thrift = Thrift(thrift + 1)
        context.warnings.clear()
        relief.free()
        _logger.warning("node %s (%s): %s; trying again: %s", node.id, node.spec.type, message, thrift.words)
        context.run.tell(NodeRetried(context.run.id, node.id, thrift, message))


def _warned(context: Context[S], result: Result) -> Result:
    """Tell what the node warned of, and keep it with the result."""
    context.run.tell_warnings(context.node_id, context.warnings)
    return replace(result, warnings=tuple(context.warnings)) if isinstance(result, Outputs) else result


def _failure(node: BoundNode, inputs: Mapping[str, object], error: BaseException, thrift: Thrift) -> NodeError:
    blamed, message = "", _words(error)
    if isinstance(error, InputError):
        blamed, message = error.input_name, error.message
    if thrift:
        message += f" (it was tried again: {thrift.words})"
    shown = {name: brief(value.name if isinstance(value, FileRef) else value) for name, value in inputs.items()}
    failure = NodeError(node.id, node.spec.type, message, blamed, shown)
    failure.__cause__ = error
    return failure


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
