"""What a node type does, takes and gives, as a page of Markdown; and one page of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

ENGLISH = "en"
_WORDS: Mapping[str, tuple[str, str, str, str]] = MappingProxyType(
    {ENGLISH: ("Inputs", "Outputs", "optional", "from"), "zh": ("输入", "输出", "可选", "取值")}
)


def node_page(described: Mapping[str, Any], texts: Mapping[str, Any], language: str) -> str:
    """described: the entry of `/object_info`. texts: what `/i18n` has for it; what it lacks stays English."""
    inputs, outputs, optional, span = _WORDS.get(language, _WORDS[ENGLISH])
    lines = [f"# {texts.get('display_name', described['display_name'])}", ""]
    if about := texts.get("description", described["description"]):
        lines += [about, ""]
    named = texts.get("inputs", {})
    if rows := list(_inputs(described, named, optional, span)):
        lines += [f"## {inputs}", "", *rows, ""]
    tips = described.get("output_tooltips") or [""] * len(described["output"])
    told = texts.get("outputs", {})
    rows = [
        f"- **{name}** `{socket}`" + (f": {tip}" if (tip := told.get(str(at), {}).get("tooltip") or tips[at]) else "")
        for at, (name, socket) in enumerate(zip(described["output_name"], described["output"], strict=True))
    ]
    if rows:
        lines += [f"## {outputs}", "", *rows, ""]
    return "\n".join(lines)


def all_nodes_page(described: Mapping[str, Mapping[str, Any]], texts: Mapping[str, Any], language: str) -> str:
    """All node types by category, each with what it does, takes and gives. texts: as for `node_page`, by type."""
    by_category: dict[str, list[str]] = {}
    for type_ in sorted(described, key=lambda type_: (described[type_]["category"], type_)):
        by_category.setdefault(described[type_]["category"] or "other", []).append(type_)
    title = {"zh": "所有节点"}.get(language, "All nodes")
    lines = [f"# {title}", "", *(f"- {category} ({len(types)})" for category, types in by_category.items()), ""]
    for category, types in by_category.items():
        lines += [f"## {category}", ""]
        for type_ in types:
            heading, *rest = node_page(described[type_], texts.get(type_, {}), language).split("\n")
            lines += [f"##{heading} `{type_}`", *(f"##{line}" if line.startswith("## ") else line for line in rest)]
    return "\n".join(lines).rstrip() + "\n"


def _inputs(described: Mapping[str, Any], texts: Mapping[str, Any], optional: str, span: str) -> Iterator[str]:
    for kind in ("required", "optional"):
        for name, (socket, *rest) in described["input"].get(kind, {}).items():
            options = rest[0] if rest else {}
            own = texts.get(name, {})
            label = own.get("name", name)
            words = [f"- **{label}** `{'COMBO' if isinstance(socket, list) else socket}`"]
            words += [f"({optional})"] if kind == "optional" else []
            if "min" in options and "max" in options:
                words.append(f"{span} {options['min']} … {options['max']}")
            tip = own.get("tooltip") or options.get("tooltip")
            yield " ".join(words) + (f": {tip}" if tip else "")
