"""Names and explanations of node types in other languages, in the shape in which ComfyUI's clients read `/i18n`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def translations(folder: Path, described: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By language what `folder`/LANGUAGE.json has for the node types of `/object_info`.

    Such a file holds tables: `names` of nodes and `texts` by the English one, `inputs` by their name, `categories` by
    the part between slashes, and `sentences`: what nodes say while they run, as patterns with named places. What it
    lacks is left out, and clients show the English.
    """
    return {
        path.stem: _language(json.loads(path.read_text("utf-8")), described) for path in sorted(folder.glob("*.json"))
    }


def _language(tables: Mapping[str, Mapping[str, str]], described: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "nodeDefs": {type_: _node(tables, node) for type_, node in described.items()},
        "nodeCategories": tables["categories"],
        "sentences": tables.get("sentences", {}),
    }


def _node(tables: Mapping[str, Mapping[str, str]], node: Mapping[str, Any]) -> dict[str, Any]:
    texts = tables["texts"]
    inputs = {
        name: _known({"name": tables["inputs"].get(name), "tooltip": texts.get(tooltip)})
        for name, tooltip in _inputs(node)
    }
    outputs = {
        str(at): _known({"tooltip": texts.get(tooltip or "")})
        for at, tooltip in enumerate(node.get("output_tooltips", ()))
    }
    own = _known(
        {"display_name": tables["names"].get(node["display_name"]), "description": texts.get(node["description"])}
    )
    return own | {"inputs": inputs, "outputs": outputs}


def _inputs(node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every input with its explanation. Hidden ones are not described."""
    for kind in ("required", "optional"):
        for name, (_, *options) in node["input"].get(kind, {}).items():
            yield name, options[0].get("tooltip", "") if options else ""


def _known(texts: Mapping[str, str | None]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if text is not None}
