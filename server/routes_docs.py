"""`/openapi.json` and `/docs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from server.openapi import page

DOCUMENT: web.AppKey[Mapping[str, Any]] = web.AppKey("document")


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [web.get("/openapi.json", get_openapi), web.get("/docs", get_docs)]


async def get_openapi(request: web.Request) -> web.Response:
    """This description, for programs."""
    return web.json_response(request.app[DOCUMENT])


async def get_docs(request: web.Request) -> web.Response:
    """This description, for people."""
    document: Mapping[str, Any] = request.app[DOCUMENT]
    return web.Response(text=page(document), content_type="text/html")
