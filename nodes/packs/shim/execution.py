"""`execution`: whether a workflow can run here, as packs ask before they send it elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from graph.build import build
from graph.document import Link, parse
from graph.errors import GraphError, GraphErrors
from graph.order import reachable
from graph.spec import Registry
from nodes.packs.host import Host

MESSAGES = "Prompt outputs failed validation"


def names(host: Host) -> Mapping[str, object]:
    """What the module holds."""

    async def validate_prompt(
        prompt_id: str, prompt: Mapping[str, Any], partial_execution_list: Sequence[str] | None = None
    ) -> tuple[bool, Mapping[str, object] | None, list[str], Mapping[str, object]]:
        """(whether anything of it can run, what is wrong with it as a whole, the outputs that can, what is wrong by node)."""
        try:
            document = parse(json.dumps(prompt))
        except (GraphErrors, TypeError, ValueError) as error:
            return False, _whole("invalid_prompt", str(error)), [], {}
        registry = Registry([*host.specs.values(), *host.brought.values()])
        graph = build(document, registry, host.folders, partial_execution_list)
        faults: dict[str, list[GraphError]] = {}
        for fault in graph.errors:
            faults.setdefault(fault.node_id, []).append(fault)
        sources = {
            node_id: [value.node for value in node.inputs.values() if isinstance(value, Link)]
            for node_id, node in document.nodes.items()
        }
        described: dict[str, object] = {
            node_id: {
                "errors": [_described(it) for it in found],
                "dependent_outputs": [it for it in graph.blocked if node_id in reachable([it], sources)],
                "class_type": found[0].node_type,
            }
            for node_id, found in faults.items()
            if node_id
        }
        if graph.targets:
            return True, None, list(graph.targets), described
        first = next(iter(faults.get("", ())), None)
        kind, words = (first.code, first.message) if first else ("prompt_outputs_failed_validation", MESSAGES)
        return False, _whole(kind, words), [], described

    return {"validate_prompt": validate_prompt}


def _whole(kind: str, message: str) -> Mapping[str, object]:
    return {"type": kind, "message": message, "details": "", "extra_info": {}}


def _described(error: GraphError) -> Mapping[str, object]:
    about = {"input_name": error.input_name, "received_value": error.received} if error.input_name else {}
    return {"type": error.code, "message": error.message, "details": error.input_name, "extra_info": about}
