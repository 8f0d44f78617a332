"""ComfyUI's first protocol: a class with `INPUT_TYPES`, `RETURN_TYPES` and `FUNCTION` -> a NodeSpec."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from graph.document import NodeId
from graph.inputs import REQUIRED, InputSpec, OutputSpec
from graph.sockets import ANY, Anything, Float, Int, Text, Widget
from graph.spec import NodeSpec, Undeclared
from nodes.packs.calling import HIDDEN, PackNode, run, run_async
from nodes.packs.checks import check_of, self_checked
from nodes.packs.choices import AnyChoice, OpenChoice, SeveralChoices
from nodes.packs.freshness import Freshness
from nodes.packs.host import Host
from nodes.packs.truth import Truth
from nodes.services import Context

Declared: TypeAlias = Mapping[str, Mapping[str, Any]]
"""What `INPUT_TYPES` returns: group -> name -> (type, options)."""

KEPT = 1000  # instances of one class: one for each node of a workflow


@dataclass(eq=False)
class V1Node:
    """One class of a pack, and the instances of it that nodes of the present workflow have."""

    name: str
    cls: Any
    host: Host
    instances: dict[NodeId, Any] = field(default_factory=dict)

    @property
    def declared(self) -> Declared:
        """What the class says of its inputs now; lists of files are read anew."""
        return dict(self.cls.INPUT_TYPES())

    def instance(self, context: Context) -> Any:
        """The object that stands for a node as long as workflows have it."""
        node_id = context.node_id
        if node_id not in self.instances:
            if len(self.instances) >= KEPT:
                self.instances.clear()
            self.instances[node_id] = self.cls()
        return self.instances[node_id]


def v1_spec(name: str, cls: Any, title: str, host: Host) -> NodeSpec:
    """The node type of a class. Raises TypeError, ValueError, AttributeError or what the class raises for one that does not keep to the protocol."""
    node = V1Node(name, cls, host)
    declared = node.declared
    hidden = {key: _hidden(value) for key, value in declared.get("hidden", {}).items()}
    function = getattr(cls, cls.FUNCTION)
    is_async = inspect.iscoroutinefunction(function)
    outputs = tuple(_outputs(cls))
    called = PackNode(host, cls.FUNCTION, outputs, hidden, bool(getattr(cls, "INPUT_IS_LIST", False)), node.instance)
    return NodeSpec(
        type=name,
        function=function,
        inputs=tuple(_inputs(node, declared)),
        outputs=outputs,
        run=partial(run_async if is_async else run, called),
        category=str(getattr(cls, "CATEGORY", "sd")),
        title=title or name,
        description=inspect.cleandoc(str(getattr(cls, "DESCRIPTION", ""))),
        terminal=getattr(cls, "OUTPUT_NODE", False) is True,
        lane="async" if is_async else "device",
        freshness=Freshness(getattr(cls, "IS_CHANGED", None), host, "UNIQUE_ID" in hidden.values()),
        hidden=hidden,
        deprecated=bool(getattr(cls, "DEPRECATED", False)),
        experimental=bool(getattr(cls, "EXPERIMENTAL", False)),
        idempotent=not getattr(cls, "NOT_IDEMPOTENT", False),
        undeclared=_undeclared(node, declared),
    )


def _hidden(value: Any) -> str:
    return str(value[0] if isinstance(value, tuple | list) else value)


def _undeclared(node: V1Node, declared: Declared) -> Undeclared | None:
    """How inputs are that nobody declared: what stands among hidden ones may be given by an expansion, and there are
    dictionaries that say of any name that it is there."""
    given = {name for name, value in declared.get("hidden", {}).items() if _hidden(value) not in HIDDEN}
    open_ended = [(key, group) for key, group in declared.items() if key != "hidden" and _takes_any(group)]
    if not given and not open_ended:
        return None

    def undeclared(name: str) -> InputSpec | None:
        if name in given:
            return _input(node, "hidden", name, ("*",), frozenset())
        found = ((key, group[name]) for key, group in open_ended if name in group)
        return next((_input(node, key, name, entry, frozenset()) for key, entry in found), None)

    return undeclared


def _takes_any(group: object) -> bool:
    return type(group) is not dict and isinstance(group, dict) and "a name that nobody would give" in group


def _inputs(node: V1Node, declared: Declared) -> Iterator[InputSpec]:
    unchecked = self_checked(check_of(node.cls))
    for group in ("required", "optional"):
        for name, entry in declared.get(group, {}).items():
            yield _input(node, group, name, entry, unchecked)


def _input(node: V1Node, group: str, name: str, entry: Any, unchecked: frozenset[str] | None) -> InputSpec:
    """unchecked: the inputs that the class checks itself; None: all of them."""
    kind, options = _taken_apart(entry)
    return InputSpec(
        name=name,
        socket="COMBO" if isinstance(kind, list | tuple) else socket_of(kind),
        widget=_widget(node, group, name, kind, options, unchecked is None or name in unchecked),
        default=REQUIRED if group == "required" else None,
        optional=group != "required",
        tooltip=str(options.get("tooltip", "")),
        extra={key: value for key, value in options.items() if key not in ("options", "tooltip")},
        lazy=options.get("lazy") is True,
        raw=options.get("rawLink") is True,
        is_list=bool(getattr(node.cls, "INPUT_IS_LIST", False)),
    )


def socket_of(kind: Any) -> str:
    """The type of a link. Some packs' types are texts that say they equal all others: they take anything."""
    if not kind != "no type at all":  # noqa: SIM202 - their own `!=` is asked
        return ANY
    return kind if type(kind).__hash__ is not None and isinstance(kind, str) else str(kind)


def _taken_apart(entry: Any) -> tuple[Any, Mapping[str, Any]]:
    if isinstance(entry, str):  # ("*") where ("*",) was meant
        return entry, {}
    if not isinstance(entry, tuple | list) or not entry:
        raise TypeError(f"an input is declared as {entry!r}, expected (type, options)")
    options = entry[1] if len(entry) > 1 else {}
    return entry[0], options if isinstance(options, Mapping) else {}


def _widget(node: V1Node, group: str, name: str, kind: Any, options: Mapping[str, Any], unchecked: bool) -> Widget:
    if isinstance(kind, list | tuple) or kind == "COMBO":
        several = options.get("multiselect") or options.get("multi_select")
        choice = SeveralChoices if several else OpenChoice if unchecked else AnyChoice
        return choice(partial(_choices, node, group, name), typed=kind == "COMBO")
    low, high = (None, None) if unchecked else (options.get("min"), options.get("max"))
    if kind == "INT":
        return Int(low, high)
    if kind == "FLOAT":
        return Float(low, high)
    if kind == "STRING":
        return Text()
    return Truth() if kind == "BOOLEAN" else Anything()  # a value in the place of a link is the pack's affair


def _choices(node: V1Node, group: str, name: str) -> Sequence[Any]:
    kind, options = _taken_apart(node.declared[group][name])
    offered = options.get("options", ()) if kind == "COMBO" else kind
    return [choice if isinstance(choice, str | int | float) else str(choice) for choice in offered]


def _outputs(cls: Any) -> Iterator[OutputSpec]:
    kinds = getattr(cls, "RETURN_TYPES", ())
    names, tips = getattr(cls, "RETURN_NAMES", ()) or (), getattr(cls, "OUTPUT_TOOLTIPS", ()) or ()
    lists = getattr(cls, "OUTPUT_IS_LIST", ()) or ()
    for i, kind in enumerate(kinds):
        socket = "COMBO" if isinstance(kind, list | tuple) else socket_of(kind)
        yield OutputSpec(
            name=str(names[i]) if i < len(names) else str(socket),
            socket=socket,
            tooltip=str(tips[i] or "") if i < len(tips) else "",
            is_list=bool(lists[i]) if i < len(lists) else False,
        )
