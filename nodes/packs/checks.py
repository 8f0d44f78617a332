"""What classes of packs themselves say of their inputs, as a rule that every graph is held to."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from graph.build import BoundNode, Graph, Rule
from graph.document import Link
from graph.errors import GraphError
from nodes.packs.calling import awaited
from nodes.packs.host import Host
from nodes.packs.objects.values import to_pack

Check: TypeAlias = Callable[..., Any]
"""`VALIDATE_INPUTS` or `validate_inputs` of a class: True, or what is wrong."""


def check_of(cls: Any) -> Check | None:
    """The function by which a class checks its inputs, if it has one."""
    check: Check | None = getattr(cls, "VALIDATE_INPUTS", None) or getattr(cls, "validate_inputs", None)
    return check


def self_checked(check: Check | None) -> frozenset[str] | None:
    """The inputs that a class checks itself, so that their ranges and choices are not held to; None: all of them."""
    if check is None:
        return frozenset()
    parameters = inspect.signature(check).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(parameter.name for parameter in parameters)


def checking(checks: Mapping[str, Check], host: Host) -> Rule:
    """The rule: what each node of one of these types says of the values it was given. Links are None to it."""

    def rule(graph: Graph) -> Iterator[GraphError]:
        for node in graph.nodes.values():
            if (check := checks.get(node.spec.type)) is not None:
                yield from _problems(node, graph, check, host)

    return rule


def _problems(node: BoundNode, graph: Graph, check: Check, host: Host) -> Iterator[GraphError]:
    values = {name: None if isinstance(v, Link) else to_pack(v, host) for name, v in node.inputs.items()}
    wanted = self_checked(check)
    given = {name: value for name, value in values.items() if wanted is None or name in wanted}
    if wanted is not None and "input_types" in wanted:
        links = {name: value for name, value in node.inputs.items() if isinstance(value, Link)}
        given["input_types"] = {name: _socket(graph, link) for name, link in links.items()}
    try:
        answer = check(**given)
        if inspect.isawaitable(answer):
            answer = asyncio.run(awaited(answer))
    except Exception as error:  # noqa: BLE001
        answer = traceback.format_exception_only(error)[-1].strip()
    if answer is not True:
        said = answer if isinstance(answer, str) else "its own check says no"
        name = next(iter(given), "") if len(given) == 1 else ""
        yield GraphError("custom_validation_failed", said, node.id, node.spec.type, name, values.get(name))


def _socket(graph: Graph, link: Link) -> str:
    source = graph.nodes.get(link.node)
    return source.spec.outputs[link.slot].socket if source is not None else "*"
