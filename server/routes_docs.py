"""`/openapi.json` and `/docs`: the routes, and below it every node type, in Markdown and by language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from graph.object_info import describe, object_info
from graph.spec import Registry
from server.deps import DEPS, THREADS
from server.node_page import ENGLISH, all_nodes_page, node_page
from server.openapi import page
from server.pack_folders import node_page_of
from server.refused import not_found
from server.threads import in_thread
from server.translations import translations

ALL = "nodes"
DOCUMENT: web.AppKey[Mapping[str, Any]] = web.AppKey("document")


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [
        web.get("/openapi.json", get_openapi),
        web.get("/docs", get_docs),
        web.get("/docs/{file}", get_node_docs),
        web.get("/docs/{type}/{file}", get_node_docs),
    ]


async def get_openapi(request: web.Request) -> web.Response:
    """This description, for programs."""
    return web.json_response(request.app[DOCUMENT])


async def get_docs(request: web.Request) -> web.Response:
    """This description, for people."""
    document: Mapping[str, Any] = request.app[DOCUMENT]
    return web.Response(text=page(document), content_type="text/html")


async def get_node_docs(request: web.Request) -> web.Response:
    """`TYPE.md` or `TYPE/LANGUAGE.md`: what a node type does, takes and gives. `nodes.md`: all of them on one page."""
    app, file = request.app, request.match_info["file"]
    name, dot, ending = file.rpartition(".")
    type_ = request.match_info.get("type") or name
    language = name if "type" in request.match_info else ENGLISH
    engine = await app[DEPS].backend.engine()
    if type_ == ALL and dot + ending == ".md":
        return await _all_nodes(app, engine.registry, language)
    spec = engine.registry.find(type_)
    if spec is None or dot + ending != ".md":
        raise not_found("there is no such page")
    places = engine.foreign.web()

    def written() -> str:
        if (own := node_page_of(places, type_, language)) is not None:
            return own.read_text("utf-8", errors="replace")
        described = describe(spec, app[DEPS].folders)
        texts: Mapping[str, Any] = {}
        if language != ENGLISH and (locales := app[DEPS].locales) is not None:
            texts = translations(locales, {type_: described}).get(language, {}).get("nodeDefs", {}).get(type_, {})
        return node_page(described, texts, language)

    return _markdown(await in_thread(app[THREADS], written))


async def _all_nodes(app: web.Application, registry: Registry, language: str) -> web.Response:
    def written() -> str:
        described = object_info(registry, app[DEPS].folders)
        locales = app[DEPS].locales
        known = locales is not None and language != ENGLISH
        texts = translations(locales, described).get(language, {}).get("nodeDefs", {}) if known and locales else {}
        return all_nodes_page(described, texts, language)

    return _markdown(await in_thread(app[THREADS], written))


def _markdown(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/markdown", headers={"Cache-Control": "no-cache"})
