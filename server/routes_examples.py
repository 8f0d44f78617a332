"""Example workflows that come with the program: `/examples`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aiohttp import web

from server.deps import DEPS, THREADS
from server.refused import not_found
from server.threads import in_thread

INDEX = "index.json"
"""The file that lists them: for each its name, and by language its title and description."""

_KINDS: Mapping[str, str] = MappingProxyType({".json": "application/json", ".webp": "image/webp"})


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [web.get("/examples", get_examples), web.get("/examples/{file}", get_example)]


async def get_examples(request: web.Request) -> web.Response:
    """The examples in their order: name, and by language title and description."""
    return web.json_response(await in_thread(request.app[THREADS], examples, request.app[DEPS].examples))


async def get_example(request: web.Request) -> web.Response:
    """`NAME.json`, a workflow in API format, or `NAME.webp`, the picture it makes."""
    folder = request.app[DEPS].examples
    body, kind = await in_thread(request.app[THREADS], example, folder, request.match_info["file"])
    return web.Response(body=body, content_type=kind, headers={"Cache-Control": "no-cache"})


def examples(folder: Path | None) -> list[Mapping[str, Any]]:
    """What the index lists."""
    return json.loads((folder / INDEX).read_text("utf-8")) if folder else []


def example(folder: Path | None, file: str) -> tuple[bytes, str]:
    """Only what the index names is looked for. Raises Refused."""
    name, dot, suffix = file.rpartition(".")
    kind = _KINDS.get(dot + suffix)
    if folder and kind and any(entry["name"] == name for entry in examples(folder)) and (folder / file).is_file():
        return (folder / file).read_bytes(), kind
    raise not_found("no example has that name")
