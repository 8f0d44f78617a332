"""Lists on links: a node that takes single values is called once for each, the shorter list repeating its last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from graph.build import BoundNode
from graph.document import DocNode, Link, NodeId
from graph.inputs import InputSpec
from graph.result import LATER, Blocked, Expand, Items, Made, Need, NodeWarning, Outputs, Result, Ui, listed
from graph.spec import NodeSpec

SPECIAL = frozenset({Items, Blocked})
"""Types of values that no node function is called with."""


def rows(declared: Sequence[InputSpec], inputs: Mapping[str, object]) -> list[dict[str, object]]:
    """The inputs of each call: as many as the longest list has values; none if one of the lists is empty."""
    fixed: dict[str, object] = {}
    lists: dict[str, tuple[object, ...]] = {}
    for spec, (name, value) in zip(declared, inputs.items(), strict=True):
        fixed[name] = _all(spec, value) if spec.is_list else value
        if type(value) is Items and not spec.is_list:
            lists[name] = value.values
    if not lists:
        return [fixed]
    if not all(lists.values()):
        return []
    count = max(map(len, lists.values()))
    return [fixed | {name: values[min(i, len(values) - 1)] for name, values in lists.items()} for i in range(count)]


def uncalled(node: BoundNode, inputs: Mapping[str, object]) -> Outputs | None:
    """The result of a node that none of its inputs lets be called: all of them are blocked, or there are none."""
    if SPECIAL.isdisjoint(map(type, inputs.values())) or all(map(_is_something, inputs.values())):
        return None
    calls = rows(node.input_specs, inputs)
    kept = [reason for row in calls if (reason := blocked(row)) is not None]
    if len(kept) < len(calls):
        return None
    if not calls:
        return Outputs((Items(()),) * len(node.spec.outputs))
    warnings = dict.fromkeys(NodeWarning(told(reason)) for reason in kept if reason.message)
    return Outputs((Blocked(),) * len(node.spec.outputs), warnings=tuple(warnings))


def _is_something(value: object) -> bool:
    """Whether a value keeps nobody from running."""
    if type(value) is Items:
        return len(value.values) > 0 and Blocked not in map(type, value.values)
    return type(value) is not Blocked


def told(reason: Blocked) -> str:
    """What the first node says that is kept from running."""
    return f"was kept from running: {reason.message}"


def blocked(row: Mapping[str, object]) -> Blocked | None:
    """What keeps a call with these inputs from being made."""
    for value in row.values():
        found = [item for item in value if type(item) is Blocked] if isinstance(value, list) else [value]
        for item in found:
            if type(item) is Blocked:
                return item
    return None


def joined(spec: NodeSpec, results: Sequence[Result]) -> Result:
    """The results of a node's calls as one. Raises TypeError for one that cannot be joined."""
    if needs := [name for result in results if isinstance(result, Need) for name in result.names]:
        return Need(tuple(dict.fromkeys(needs)))
    if any(isinstance(result, Expand) for result in results):
        return _expanded(spec, results)
    whole = [result for result in results if isinstance(result, Outputs)]
    if len(whole) < len(results):
        raise TypeError("a node that is called for each value of a list has to give its results at once")
    values = zip(*(result.values for result in whole), strict=True) if whole else ((),) * len(spec.outputs)
    return Outputs(tuple(listed(list(_flat(each))) for each in values), _shown([result.ui for result in whole]))


def _all(spec: InputSpec, value: object) -> object:
    """All values of a link, for an input that takes them at once; nothing stays nothing."""
    if value is LATER or (value is None and spec.optional and spec.default is None):
        return value
    return list(value.values) if type(value) is Items else [value]


def _flat(values: Sequence[object]) -> Iterator[object]:
    for value in values:
        if type(value) is Items:
            yield from value.values
        else:
            yield value


def _shown(parts: Sequence[Ui]) -> Ui:
    """What there is to show of several calls, one behind the other."""
    together: dict[str, list[object]] = {}
    for part in parts:
        for key, entries in part.items():
            together.setdefault(key, []).extend(entries)
    return together


def _expanded(spec: NodeSpec, results: Sequence[Result]) -> Expand:
    """The expansions of several calls side by side: the nodes of each call have its number before their ids."""
    several = {i: result for i, result in enumerate(results) if isinstance(result, Expand)}
    nodes: dict[NodeId, DocNode] = {}
    display: dict[NodeId, NodeId] = {}
    outputs: list[object] = []
    for i, result in several.items():
        for node_id, node in result.nodes.items():
            inputs = {name: _moved(value, i, result) for name, value in node.inputs.items()}
            nodes[f"{i}.{node_id}"] = replace(node, inputs=inputs)
        display |= {f"{i}.{node_id}": shown for node_id, shown in result.display.items()}
        outputs += [_moved(output, i, result) for output in result.outputs]

    def then(made: tuple[Made, ...]) -> Result:
        given = iter(made)
        parts = {i: tuple(islice(given, len(result.outputs))) for i, result in several.items()}
        return joined(spec, [_next(several[i], parts[i]) if i in several else it for i, it in enumerate(results)])

    return Expand(nodes, tuple(outputs), then, display=display)


def _next(expansion: Expand, made: tuple[Made, ...]) -> Result:
    if expansion.then is not None:
        return expansion.then(made)
    return Outputs(tuple(it.value for it in made), expansion.ui)


def _moved(value: object, call: int, expansion: Expand) -> object:
    return Link(f"{call}.{value.node}", value.slot) if type(value) is Link and value.node in expansion.nodes else value
