"""Calling a node of a pack: what it gets, what it asks for, and what it gives back."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graph.build import BoundNode
from graph.document import DocNode, Document, Link, write
from graph.files import FileRef
from graph.inputs import OutputSpec
from graph.result import LATER, Blocked, Expand, Items, Need, Outputs, Result
from graph.scope import Scope
from nodes.packs.host import Host
from nodes.packs.objects.values import from_pack, to_pack
from nodes.packs.shim.graph_utils import ExecutionBlocker, is_link
from nodes.services import Context

HIDDEN = frozenset({"UNIQUE_ID", "PROMPT", "EXTRA_PNGINFO", "DYNPROMPT", "AUTH_TOKEN_COMFY_ORG", "API_KEY_COMFY_ORG"})
"""What can be behind a hidden input. A pack may declare others there, for what its own expansions give."""


@dataclass(frozen=True, eq=False)
class PackNode:
    """What both protocols have in common. `callee(context)`: the object whose method `function` is called.

    hidden: name -> what is behind it. is_list: it is called once, with all values of every link. `gather(inputs)`: the
    inputs as its function has them, where several of them are one.
    """

    host: Host
    function: str
    outputs: tuple[OutputSpec, ...]
    hidden: Mapping[str, str]
    is_list: bool
    callee: Callable[[Context], Any]
    gather: Callable[[Mapping[str, object]], Mapping[str, object]] = lambda inputs: inputs


def run(node: PackNode, context: Context, inputs: Mapping[str, object]) -> Result:
    """Call the node. What it raises goes through."""
    token = node.host.running.set(context)
    try:
        callee = node.callee(context)
        given = _given(node, context, inputs)
        asked = _asked(node, callee, inputs, given)
        if (need := _needed(inputs, asyncio.run(awaited(asked)) if inspect.isawaitable(asked) else asked)) is not None:
            return need
        return _result(node, getattr(callee, node.function)(**given))
    finally:
        node.host.running.reset(token)


async def run_async(node: PackNode, context: Context, inputs: Mapping[str, object]) -> Result:
    """The same for an async function."""
    node.host.running.set(context)  # each task has variables of its own
    callee = node.callee(context)
    given = _given(node, context, inputs)
    asked = _asked(node, callee, inputs, given)
    if (need := _needed(inputs, await asked if inspect.isawaitable(asked) else asked)) is not None:
        return need
    return _result(node, await getattr(callee, node.function)(**given))


def _given(node: PackNode, context: Context, inputs: Mapping[str, object]) -> dict[str, object]:
    """What the function is called with. Optional inputs that were not given are left out, as packs expect."""
    document = context.document.nodes.get(context.written_id)
    known = inputs.keys() if document is None else document.inputs.keys()
    given = {name: _value(value, node) for name, value in inputs.items() if value is not None or name in known}
    whole = dict(node.gather(given))
    for name, what in node.hidden.items():
        if what in HIDDEN or name not in whole:
            value = behind(context, what)
            whole[name] = [value] if node.is_list else value
    return whole


def _value(value: object, node: PackNode) -> object:
    match value:
        case _ if value is LATER:
            return None
        case Link(node=source, slot=slot):
            return [source, slot]
        case list():
            return [to_pack(item, node.host) for item in value]
        case _:
            return to_pack(value, node.host)


def behind(context: Context, what: str) -> object:
    """The value of a hidden input, by what is behind it."""
    match what:
        case "UNIQUE_ID":
            return context.written_id
        case "PROMPT":
            return json.loads(write(context.document))
        case "EXTRA_PNGINFO":
            return dict(context.kept) or None
        case "DYNPROMPT":
            return DynamicPrompt(context.document, context.scope, context.written_id)
        case _:
            return None


@dataclass(frozen=True)
class DynamicPrompt:
    """The graph that runs, as packs look into it: that of the node, where an expansion brought it, and those around it.

    own: the id that the node sees as its own, which in an expansion is longer than what links there call it.
    """

    document: Document
    scope: Scope | None = None
    own: str = ""

    def get_original_prompt(self) -> dict[str, object]:
        """The graph as it was submitted."""
        written: dict[str, object] = json.loads(write(self.document))
        return written

    def has_node(self, node_id: str) -> bool:
        """Whether a node has this id."""
        return self._inner(node_id) is not None or node_id in self.document.nodes

    def get_node(self, node_id: str) -> object:
        """A node as it was submitted, or as an expansion has it. Raises KeyError."""
        if (node := self._inner(node_id)) is not None:
            return {"class_type": node.spec.type, "inputs": {key: _as_written(it) for key, it in node.inputs.items()}}
        return self.get_original_prompt()[node_id]

    def all_node_ids(self) -> set[str]:
        """The ids of all nodes."""
        return set(self.document.nodes).union(*(scope.nodes for scope in self._expansions()))

    def get_real_node_id(self, node_id: str) -> str:
        """The node itself."""
        return node_id

    def get_parent_node_id(self, node_id: str) -> str | None:
        """The node that brought it; here always none, since expansions have graphs of their own."""
        return None

    def get_display_node_id(self, node_id: str) -> str:
        """The visible node that stands for it."""
        return node_id

    def _expansions(self) -> list[Scope]:
        return [] if self.scope is None else [it for it in self.scope.outwards() if it.outer is not None]

    def _inner(self, node_id: str) -> BoundNode | None:
        own = node_id == self.own and self.scope is not None
        local = node_id.removeprefix(self.scope.prefix) if own and self.scope else node_id
        return next((it.nodes[local] for it in self._expansions() if local in it.nodes), None)


def _as_written(value: object) -> object:
    match value:
        case Link(node=source, slot=slot):
            return [source, slot]
        case FileRef(name=name):
            return name
        case tuple():
            return [_as_written(item) for item in value]
        case _:
            return value


def _asked(node: PackNode, callee: Any, inputs: Mapping[str, object], given: Mapping[str, object]) -> Any:
    """The lazy inputs that the node asks for, or a promise of them."""
    check = getattr(callee, "check_lazy_status", None)
    if check is None or LATER not in inputs.values():
        return ()
    absent = {name: (None,) if node.is_list else None for name, value in inputs.items() if value is LATER}
    return check(**{**given, **{name: value for name, value in absent.items() if name in given}})


def _needed(inputs: Mapping[str, object], asked: Iterable[str] | None) -> Need | None:
    """Those of them that are not there yet."""
    wanted = tuple(name for name in asked or () if inputs.get(name) is LATER)
    return Need(wanted) if wanted else None


async def awaited(promise: Any) -> Any:
    """What is promised."""
    return await promise


def _result(node: PackNode, returned: Any) -> Result:
    """A class returns a tuple, a dictionary of `ui`, `result` and `expand`, or something that blocks."""
    outputs = node.outputs
    ui: Mapping[str, Any] = {}
    expansion = None
    if isinstance(returned, Mapping):
        ui, expansion, returned = returned.get("ui", {}), returned.get("expand"), returned.get("result")
    if isinstance(returned, ExecutionBlocker):
        returned = (returned,) * len(outputs)
    if type(returned) is not tuple and not isinstance(returned, tuple | list | None):
        raise TypeError(f"returned {type(returned).__name__}, expected a tuple of its {len(outputs)} outputs")
    values = tuple(returned or ())
    shown = {key: list(entries) for key, entries in ui.items()}
    if expansion is not None:
        return _expanded(node, expansion, values, outputs, shown)
    values += (None,) * (len(outputs) - len(values))
    if len(values) > len(outputs):
        raise TypeError(f"returned {len(values)} outputs, declared {len(outputs)}")
    made = (_made(value, spec, node.host) for value, spec in zip(values, outputs, strict=True))
    return Outputs(tuple(made), shown)


def _made(value: Any, spec: OutputSpec, host: Host) -> object:
    if isinstance(value, ExecutionBlocker):
        return Blocked(value.message or "")
    if not spec.is_list:
        return from_pack(value, spec.socket, host)
    if not isinstance(value, list | tuple):
        raise TypeError(f"output {spec.name} is declared as a list, got {type(value).__name__}")
    return Items(tuple(_made(item, _single(spec), host) for item in value))


def _single(spec: OutputSpec) -> OutputSpec:
    return OutputSpec(spec.name, spec.socket)


def _expanded(
    node: PackNode, graph: Any, values: Sequence[Any], outputs: Sequence[OutputSpec], ui: Mapping[str, list[object]]
) -> Expand:
    nodes = {
        node_id: DocNode(entry["class_type"], {key: _input(value, node.host) for key, value in entry["inputs"].items()})
        for node_id, entry in graph.items()
    }
    visible = node.host.context.document.nodes
    display = {
        node_id: str(entry["override_display_id"])
        for node_id, entry in graph.items()
        if entry.get("override_display_id") in visible
    }
    given = tuple(
        Link(value[0], int(value[1])) if is_link(value) else _made(value, spec, node.host)
        for value, spec in zip(values, outputs, strict=False)
    )
    return Expand(nodes, given, ui=ui, display=display)


def _input(value: Any, host: Host) -> object:
    if is_link(value):
        return Link(value[0], int(value[1]))
    return tuple(value) if isinstance(value, list) else from_pack(value, "*", host)
