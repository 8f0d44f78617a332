"""What a node type does, takes and gives, as a page of Markdown."""

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
