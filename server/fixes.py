"""What would mend a problem of a workflow, in words: which output fits an open input, which name was meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

_SHOWN = 5


def fix(problem: Mapping[str, Any], nodes: Mapping[str, Any], types: Mapping[str, Any]) -> str:
    """A suggestion, or nothing. problem: an entry of `errors` that `/workflow/check` gives; nodes: the workflow in the
    API format; types: `/object_info`.
    """
    match problem.get("code"):
        case "missing_node_type":
            near = get_close_matches(str(problem.get("node_type")), types, _SHOWN, 0.5)
            return f"did you mean {_or(near)}?" if near else "search_nodes finds types by what they do"
        case "required_input_missing" | "return_type_mismatch" | "linked_node_missing" | "linked_slot_missing":
            return _source(problem, nodes, types)
        case "prompt_no_outputs":
            return "add a node that keeps something, such as SaveImage"
    return ""


def _source(problem: Mapping[str, Any], nodes: Mapping[str, Any], types: Mapping[str, Any]) -> str:
    wanted = _wanted(problem, nodes, types)
    if not wanted:
        return ""
    here = [
        f"[{node_id!r}, {slot}] of {kind}"
        for node_id, kind, slot in _givers(wanted, str(problem.get("node_id")), nodes, types)
    ]
    if here:
        return f"a {wanted} comes from {_or(here[:_SHOWN])}"
    able = [name for name, entry in types.items() if wanted in entry.get("output", ())]
    return f"add a node that gives a {wanted}: {_or(able[:_SHOWN])}" if able else ""


def _wanted(problem: Mapping[str, Any], nodes: Mapping[str, Any], types: Mapping[str, Any]) -> str:
    """The type of the input that a problem is about."""
    node = nodes.get(str(problem.get("node_id")))
    entry = types.get(str(node.get("class_type")), {}) if isinstance(node, Mapping) else {}
    for group in ("required", "optional"):
        declared = entry.get("input", {}).get(group, {}).get(problem.get("input_name"))
        if declared and isinstance(declared[0], str):
            return str(declared[0])
    return ""


def _givers(
    wanted: str, own: str, nodes: Mapping[str, Any], types: Mapping[str, Any]
) -> Iterator[tuple[str, str, int]]:
    for node_id, node in nodes.items():
        kind = str(node.get("class_type")) if isinstance(node, Mapping) and node_id != own else ""
        for slot, given in enumerate(types.get(kind, {}).get("output", ())):
            if given == wanted:
                yield node_id, kind, slot


def _or(names: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
