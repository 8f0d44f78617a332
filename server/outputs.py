"""What a job has made, as lists show it: its files, and which of them to show first."""

from __future__ import annotations

from collections.abc import Mapping
from mimetypes import guess_type
from typing import Any

_TEXT = 1024
"""Characters of a text that lists show."""
_PREVIEWABLE = ("image", "video", "audio")


def files_of(outputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every file, with the node that made it and the name under which that showed it."""
    return [
        {**entry, "nodeId": node_id, "mediaType": kind}
        for node_id, ui in outputs.items()
        for kind, entries in ui.items()
        if isinstance(entries, list)
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("filename"), str)
    ]


def previews_of(outputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What can be shown: saved pictures first, then what else was saved, then what was only shown, then texts.

    Each has all members that ComfyUI's front end asks of a file; it drops the whole list over one that has not.
    """
    files = [
        {"subfolder": "", "type": "output", **file}
        for file in files_of(outputs)
        if kind_of(file["filename"]) in _PREVIEWABLE
    ]
    files.sort(key=lambda file: (file["type"] != "output", kind_of(file["filename"]) != "image"))
    return [*files, *_texts(outputs)]


def kind_of(filename: str) -> str:
    """image, video, audio, text, or whatever else a file is by its ending; empty if that says nothing."""
    return (guess_type(filename)[0] or "").partition("/")[0]


def _texts(outputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    nowhere = {"filename": "", "subfolder": "", "type": "temp", "mediaType": "text"}
    return [
        {**nowhere, "nodeId": node_id, "content": text[:_TEXT]}
        for node_id, ui in outputs.items()
        for text in ui.get("text", ())
        if isinstance(text, str)
    ]
