"""All node types that workflow files of today may have and that are known here, as `/object_info` tells them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graph.files import Folders
from graph.object_info import object_info
from nodes.registry import builtin
from tests.editor_files import types

NODES = json.loads((Path(__file__).parent / "data" / "nodes.json").read_text("utf-8"))


def known_types(base: Path) -> dict[str, Any]:
    """Ours, those of ComfyUI whose interfaces are known, and those of our corpus, each over the one before."""
    ours = object_info(builtin(), Folders.standard(base))
    return ours | {fact["class"]: _told(fact) for fact in NODES} | types()


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
