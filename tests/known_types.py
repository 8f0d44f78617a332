"""All node types that workflow files of today may have and that are known here, as `/object_info` tells them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from graph.files import Folders
from graph.litegraph import SHELLS
from graph.object_info import object_info
from nodes.registry import builtin
from tests.editor_files import types

NODES = json.loads((Path(__file__).parent / "data" / "nodes.json").read_text("utf-8"))


def known_types(base: Path) -> dict[str, Any]:
    """Those of our corpus, those of ComfyUI whose interfaces are known, and ours, each over the one before."""
    return types() | {fact["class"]: _told(fact) for fact in NODES} | object_info(builtin(), Folders.standard(base))


def types_of(files: Iterable[Mapping[str, Any]], known: Mapping[str, Any]) -> dict[str, Any]:
    """Node types that are not known, made of how files use them: enough to convert by, whatever they really are."""
    used: dict[str, list[Mapping[str, Any]]] = {}
    for file in files:
        subgraphs = list(definitions(file))
        apart = SHELLS | set(known) | {each["id"] for each in subgraphs}
        for level in (file, *subgraphs):
            for node in level["nodes"]:
                if node["type"] not in apart:
                    used.setdefault(node["type"], []).append(node)
    return {name: _guessed(name, nodes) for name, nodes in used.items()}


def definitions(level: Mapping[str, Any]) -> Iterator[Any]:
    """All subgraphs that a file defines, nested ones too."""
    for each in (level.get("definitions") or {}).get("subgraphs", []):
        yield each
        yield from definitions(each)


def _guessed(name: str, nodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A type with all the sockets and fields that its nodes have; how its list of values is laid out nobody knows."""
    inputs: dict[str, list[Any]] = {}
    for node in nodes:
        for slot in node.get("inputs") or []:
            kind = "COMBO" if slot["type"].startswith("COMFY_") else slot["type"]
            inputs.setdefault(slot["name"], [kind, {} if slot.get("widget") else {"forceInput": True}])
    outputs = max((node.get("outputs") or [] for node in nodes), key=len)
    told: dict[str, Any] = {"input": {"required": inputs}, "output": [output["type"] for output in outputs]}
    told |= {"output_name": [output["name"] for output in outputs], "output_is_list": [False for _ in outputs]}
    told |= {"name": name, "display_name": name, "category": "", "output_node": not outputs}
    return told | {"description": "", "python_module": "nodes"}


def _told(fact: Mapping[str, Any]) -> dict[str, Any]:
    """A node type of `nodes.json`, as `/object_info` tells it."""
    groups: dict[str, dict[str, Any]] = {"required": {}}
    for entry in fact["inputs"]:
        options = {
            key: value for key, value in entry.items() if key not in ("name", "group", "type", "options", "folder")
        }
        choices = entry.get("options", [] if "folder" in entry else None)
        kind = entry["type"] if choices is None and entry["type"] != "COMBO" else choices or []
        if entry["group"] != "hidden":
            groups.setdefault(entry["group"], {})[entry["name"]] = [kind, options]
    outputs = [output["type"] for output in fact["outputs"]]
    told = {"input": groups, "output": outputs, "output_name": [output["name"] for output in fact["outputs"]]}
    told |= {"output_is_list": [output["is_list"] for output in fact["outputs"]], "name": fact["class"]}
    told |= {"display_name": fact["display_name"], "category": fact["category"], "output_node": fact["output_node"]}
    return told | {"description": "", "python_module": "nodes"}
