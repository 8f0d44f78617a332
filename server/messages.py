"""The wire's shapes: refusals of a prompt, and binary previews."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from graph.document import Document, Link, NodeId, as_written
from graph.errors import GraphError
from graph.files import Folders
from graph.object_info import describe
from graph.order import reachable, reverse
from graph.patient_json import dumps
from graph.spec import NodeSpec, Registry
from server.redact import Redactor

PREVIEW = 1
TEXT = 3
PREVIEW_WITH_METADATA = 4

_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "required_input_missing": "Required input is missing",
        "return_type_mismatch": "Return type mismatch between linked nodes",
        "bad_linked_input": "Bad linked input, must be a length-2 list of [node_id, slot_index]",
        "linked_node_missing": "The linked node does not exist",
        "linked_slot_missing": "The linked node has no such output",
        "value_smaller_than_min": "Value smaller than min",
        "value_bigger_than_max": "Value bigger than max",
        "value_not_in_list": "Value not in list",
        "invalid_input_type": "Failed to convert an input value",
        "custom_validation_failed": "Custom validation failed for node",
        "dependency_cycle": "The node depends on itself",
        "missing_node_type": "The node type does not exist",
        "duplicate_key": "A key is given more than once",
        "invalid_sweep": "The several values of an input cannot be taken",
        "invalid_path": "The path is refused",
        "file_unreadable": "A file cannot be read",
        "invalid_prompt": "The node is no node",
    }
)
_SHOWN = 10_000
"""Characters of a wrong value that are sent back."""
_VISITS = 100_000
"""Steps spent on finding which outputs rest on faulty nodes; only a hostile workflow needs more."""


def refusal(type_: str, message: str, details: str = "") -> dict[str, object]:
    """A refusal that blames no node."""
    return {
        "error": {"type": type_, "message": message, "details": details, "extra_info": {}},
        "node_errors": {},
    }


def top_error(problems: Iterable[GraphError], redact: Redactor) -> dict[str, object]:
    """The `error` of a refused prompt, which older clients show alone."""
    for problem in problems:
        if problem.code == "prompt_no_outputs":
            return {"type": problem.code, "message": "Prompt has no outputs", "details": "", "extra_info": {}}
        if problem.code in ("missing_node_type", "invalid_prompt") and problem.node_id:
            known = problem.code == "missing_node_type"
            message = (
                f"Cannot execute because node {problem.node_type} does not exist."
                if known
                else "Cannot execute because a node is missing the class_type property."
            )
            place = f"Node ID '#{problem.node_id}'"
            return {"type": "invalid_prompt", "message": message, "details": place, "extra_info": {}}
    loose = next((problem for problem in problems if not problem.node_id), None)
    if loose is not None:
        return {"type": loose.code, "message": redact(loose.message), "details": "", "extra_info": {}}
    return {
        "type": "prompt_outputs_failed_validation",
        "message": "Prompt outputs failed validation",
        "details": "",
        "extra_info": {},
    }


class NodeErrors:
    """Writes the `node_errors` of one document."""

    def __init__(self, document: Document, registry: Registry, folders: Folders, redact: Redactor) -> None:
        self._document = document
        self._registry = registry
        self._folders = folders
        self._redact = redact
        self._described: dict[str, Mapping[str, object]] = {}

    def write(self, problems: Iterable[GraphError], blocked: Iterable[NodeId]) -> dict[NodeId, object]:
        """Every problem of every node, with the outputs that it keeps from running."""
        by_node: dict[NodeId, list[GraphError]] = {}
        for problem in problems:
            if problem.node_id:
                by_node.setdefault(problem.node_id, []).append(problem)
        dependents = self._dependents(by_node, list(blocked))
        return {
            node_id: {
                "errors": [self._error(problem) for problem in faults],
                "dependent_outputs": dependents[node_id],
                "class_type": self._document.nodes[node_id].class_type,
            }
            for node_id, faults in by_node.items()
        }

    def _error(self, problem: GraphError) -> dict[str, object]:
        info: dict[str, object] = {}
        if problem.input_name:
            info["input_name"] = problem.input_name
            info["input_config"] = self._config(problem)
        given = self._given(problem)
        match problem.code, given:
            case "required_input_missing", _:
                pass
            case (("return_type_mismatch" | "linked_node_missing" | "linked_slot_missing"), Link(node, slot)):
                info["linked_node"] = [node, slot]
                info["received_type"] = self._socket(given)
            case _:
                info["received_value"] = shown(problem.received)
        message = self._redact(problem.message)
        details = f"{problem.input_name}: {message}" if problem.input_name else message
        if problem.code == "required_input_missing":
            details = problem.input_name
        return {
            "type": problem.code,
            "message": _TITLES.get(problem.code, "The node cannot run"),
            "details": details,
            "extra_info": info,
        }

    def _given(self, problem: GraphError) -> object:
        node = self._document.nodes.get(problem.node_id)
        return None if node is None else node.inputs.get(problem.input_name)

    def _socket(self, link: Link) -> str | None:
        source = self._document.nodes.get(link.node)
        spec = self._registry.find(source.class_type) if source else None
        return spec.outputs[link.slot].socket if spec and 0 <= link.slot < len(spec.outputs) else None

    def _config(self, problem: GraphError) -> object:
        spec = self._registry.find(problem.node_type)
        if spec is None:
            return None
        inputs = self._inputs(spec)
        return inputs.get(problem.input_name)

    def _inputs(self, spec: NodeSpec) -> Mapping[str, object]:
        """The inputs of a node type as `/object_info` has them; a long list of choices is left out."""
        if spec.type not in self._described:
            groups = describe(spec, self._folders)["input"]
            found: dict[str, object] = {}
            for group in groups.values() if isinstance(groups, dict) else ():
                found |= {name: None if _is_long(config) else config for name, config in group.items()}
            self._described[spec.type] = found
        return self._described[spec.type]

    def _dependents(self, faulty: Iterable[NodeId], blocked: list[NodeId]) -> dict[NodeId, list[NodeId]]:
        """For each faulty node the outputs that rest on it; after `_VISITS` steps only whether it is one itself."""
        nodes = self._document.nodes
        readers = reverse(
            {
                node_id: [link.node for link in node.inputs.values() if isinstance(link, Link) and link.node in nodes]
                for node_id, node in nodes.items()
            }
        )
        places = {node_id: place for place, node_id in enumerate(nodes)}
        outputs, visits, found = set(blocked), 0, {}
        for node_id in faulty:
            if visits < _VISITS:
                reached = reachable([node_id], readers)
                visits += len(reached)
                found[node_id] = sorted(reached & outputs, key=places.__getitem__)
            else:
                found[node_id] = [node_id] if node_id in outputs else []
        return found


def preview_frame(jpeg: bytes) -> bytes:
    """A preview for clients that know no metadata; 1 says JPEG, 2 PNG."""
    return struct.pack(">II", PREVIEW, 2 if jpeg.startswith(b"\x89PNG") else 1) + jpeg


def text_frame(text: str, node_id: NodeId) -> bytes:
    """A line of text to be shown at a node."""
    name = node_id.encode()
    return struct.pack(">II", TEXT, len(name)) + name + text.encode()


def preview_frame_with_metadata(jpeg: bytes, node_id: NodeId, prompt_id: str) -> bytes:
    """A preview that says which node it belongs to."""
    metadata = {
        "node_id": node_id,
        "prompt_id": prompt_id,
        "display_node_id": node_id,
        "parent_node_id": None,
        "real_node_id": node_id,
        "image_type": "image/png" if jpeg.startswith(b"\x89PNG") else "image/jpeg",
    }
    header = json.dumps(metadata).encode()
    return struct.pack(">II", PREVIEW_WITH_METADATA, len(header)) + header + jpeg


def shown(value: object) -> object:
    """The value of an input as the prompt had it; only the beginning if it is long."""
    value = as_written(value)
    if isinstance(value, str) and len(value) > _SHOWN:
        return value[:200] + "…"
    try:
        text = dumps(value)
    except (TypeError, ValueError, RecursionError):
        return repr(value)[:200]
    return value if len(text) <= _SHOWN else text[:200] + "…"


def _is_long(config: object) -> bool:
    choices = config[0] if isinstance(config, list) and config else None
    return isinstance(choices, list) and len(choices) > 20
