"""A node that writes a text as a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from graph.result import Shown
from graph.sockets import Choice, Text
from graph.spec import Extra, Named, Tip, node
from nodes.output_files import expand, write_shown
from nodes.services import Context

KINDS = ("txt", "csv", "md", "json")


@node("SaveText", category="utils/string", title="Save Text", terminal=True, lane="io")
def save_text(
    ctx: Context,
    *,
    text: Annotated[str, Text(tooltip="The text, from another node."), Extra({"forceInput": True})],
    filename_prefix: Annotated[str, Text(tooltip="How the name begins. May hold folders.")] = "ComfyUI",
    format: Annotated[  # noqa: A002
        str, Choice(KINDS, typed=True, tooltip="The kind of file; json is written with a line for each value.")
    ] = "txt",
) -> Shown[Annotated[str, Named("text"), Tip("The same text.")]]:
    """Save a text as a file in the output directory."""
    place = expand(filename_prefix, ctx.services.folders.output_dir, {})
    written = _indented(text) if format == "json" else text

    def write(path: Path) -> None:
        path.write_bytes(written.encode())

    return Shown(text, {"text": [text], "files": [write_shown(place, f".{format}", write)]})


def _indented(text: str) -> str:
    """JSON with a line for each value; what is none as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
