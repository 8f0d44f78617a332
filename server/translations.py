"""Names and explanations of node types in other languages, in the shape in which ComfyUI's clients read `/i18n`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def translations(folder: Path, described: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By language what `folder`/LANGUAGE.json has for the node types of `/object_info`.

    Such a file holds tables: `names` of nodes and `texts` by the English one, `inputs` and `outputs` by their name,
    `categories` by the part between slashes, and `sentences`: what nodes say while they run, as patterns with named
    places. Inputs that a choice brings, and the members of a group, are told as `holder.input`. What it lacks is left
    out, and clients show the English.
    """
    return {
        path.stem: _language(json.loads(path.read_text("utf-8")), described) for path in sorted(folder.glob("*.json"))
    }


def _language(tables: Mapping[str, Mapping[str, str]], described: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "nodeDefs": {type_: _node(tables, node) for type_, node in described.items()},
        "nodeCategories": tables["categories"],
        "outputs": tables.get("outputs", {}),
        "sentences": tables.get("sentences", {}),
    }


def _node(tables: Mapping[str, Mapping[str, str]], node: Mapping[str, Any]) -> dict[str, Any]:
    texts = tables["texts"]
    inputs = {
        path: _known({"name": tables["inputs"].get(name), "tooltip": texts.get(tooltip)})
        for path, name, tooltip in inputs_of(node)
    }
    called = tables.get("outputs", {})
    tooltips = node.get("output_tooltips") or [""] * len(node["output_name"])
    outputs = {
        str(at): _known({"name": called.get(name), "tooltip": texts.get(tooltip or "")})
        for at, (name, tooltip) in enumerate(zip(node["output_name"], tooltips, strict=True))
    }
    own = _known(
        {"display_name": tables["names"].get(node["display_name"]), "description": texts.get(node["description"])}
    )
    return own | {"inputs": inputs, "outputs": outputs}


def inputs_of(described: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Every input of a node's description, with its path, its own name and its explanation: those that a choice brings and
    the members of a group too. Hidden ones are not described.
    """
    yield from _within(described["input"], "")


def _within(groups: Mapping[str, Mapping[str, Any]], holder: str) -> Iterator[tuple[str, str, str]]:
    for kind in ("required", "optional"):
        for name, (_, *more) in groups.get(kind, {}).items():
            options = more[0] if more else {}
            yield holder + name, name, options.get("tooltip", "")
            for option in options.get("options", ()):
                if isinstance(option, Mapping):
                    yield from _within(option.get("inputs", {}), f"{holder}{name}.")
            yield from _within(options.get("template", {}).get("input", {}), f"{holder}{name}.")


def _known(texts: Mapping[str, str | None]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if text is not None}
