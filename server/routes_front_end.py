"""What ComfyUI's front ends ask besides: files of a folder, templates, node replacements, subgraphs to choose from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from graph.document import read
from graph.node_shapes import shapes_of
from graph.replacements import RENAMED, replacements_json
from graph.unflatten import unflatten
from server.backend import Engine
from server.deps import DEPS, THREADS
from server.listing import entries
from server.pack_folders import example_file, example_names, subgraphs
from server.places import directory
from server.refused import not_found
from server.routes_examples import example, examples
from server.threads import in_thread

_PICTURE = "-1.webp"
"""How the name of a template's picture ends."""


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [
        web.get("/internal/files/{folder}", get_files),
        web.get("/node_replacements", get_node_replacements),
        web.get("/global_subgraphs", get_subgraphs),
        web.get("/global_subgraphs/{id}", get_subgraph),
        web.get("/workflow_templates", get_pack_examples),
        web.get("/workflow_templates/{pack}/{file}", get_pack_example),
        web.get("/templates/index.json", get_templates),
        web.get("/templates/index_logo.json", get_nothing),
        web.get("/templates/fuse_options.json", get_nothing),
        web.get("/templates/{file}", get_template),
    ]


async def get_files(request: web.Request) -> web.Response:
    """The files directly in `input`, `output` or `temp`, newest first."""
    folder = directory(request.app[DEPS].folders, request.match_info["folder"])
    found = await in_thread(request.app[THREADS], entries, folder) or []
    files = [entry for entry in found if not entry.is_directory and not entry.name.startswith(".")]
    return web.json_response([entry.name for entry in sorted(files, key=lambda entry: -entry.modified)])


async def get_node_replacements(request: web.Request) -> web.Response:
    """Which node types are called otherwise now, by their old names."""
    foreign = (await request.app[DEPS].backend.engine()).foreign
    return web.json_response(replacements_json({**foreign.replacements(), **RENAMED}))


async def get_subgraphs(request: web.Request) -> web.Response:
    """The subgraphs that lie in `subgraphs/` of packs, by id: name and pack."""
    found = await in_thread(request.app[THREADS], subgraphs, request.app[DEPS].folders)
    return web.json_response(
        {id_: {"name": path.stem, "info": {"node_pack": path.parent.parent.name}} for id_, path in found.items()}
    )


async def get_subgraph(request: web.Request) -> web.Response:
    """One of them, its file as `data`."""
    found = await in_thread(request.app[THREADS], subgraphs, request.app[DEPS].folders)
    path = found.get(request.match_info["id"])
    if path is None:
        raise not_found("no subgraph has that id")
    text = await in_thread(request.app[THREADS], path.read_text, "utf-8")
    return web.json_response({"name": path.stem, "info": {"node_pack": path.parent.parent.name}, "data": text})


async def get_pack_examples(request: web.Request) -> web.Response:
    """The names of the example workflows of packs."""
    return web.json_response(await in_thread(request.app[THREADS], example_names, request.app[DEPS].folders))


async def get_pack_example(request: web.Request) -> web.StreamResponse:
    """An example workflow of a pack, or the picture of the same name."""
    place = request.match_info
    found = await in_thread(request.app[THREADS], example_file, request.app[DEPS].folders, place["pack"], place["file"])
    if found is None:
        raise not_found("there is no such example")
    return web.FileResponse(found, headers={"Cache-Control": "no-cache"})


async def get_nothing(request: web.Request) -> web.Response:
    """There is nothing of that kind here."""
    return web.json_response({})


async def get_templates(request: web.Request) -> web.Response:
    """Our examples, as the template browser lists them."""
    listed = await in_thread(request.app[THREADS], examples, request.app[DEPS].examples)
    if not listed:
        return web.json_response([])
    group = {"moduleName": "default", "title": "Darkroom", "type": "image", "category": "Darkroom", "isEssential": True}
    return web.json_response([{**group, "templates": [_template(entry) for entry in listed]}])


async def get_template(request: web.Request) -> web.Response:
    """`NAME.json`, an example as a file of the editor, or `NAME-1.webp`, the picture it makes."""
    app, file = request.app, request.match_info["file"]
    if file.endswith(_PICTURE):
        body, kind = await in_thread(app[THREADS], example, app[DEPS].examples, file.removesuffix(_PICTURE) + ".webp")
        return web.Response(body=body, content_type=kind)
    body, kind = await in_thread(app[THREADS], example, app[DEPS].examples, file)
    if kind == "application/json":
        engine = await app[DEPS].backend.engine()
        body = await in_thread(app[THREADS], _drawn, body, engine, app)
    return web.Response(body=body, content_type=kind)


def _template(entry: Mapping[str, Any]) -> dict[str, object]:
    title, description = entry["title"]["en"], entry["description"]["en"]
    texts = {"name": entry["name"], "title": title, "localizedTitle": title, "description": description}
    return {
        **texts,
        "localizedDescription": description,
        "mediaType": "image",
        "mediaSubtype": "webp",
        "tags": ["Stable Diffusion"],
        "models": ["Stable Diffusion 1.5"],
        "openSource": True,
    }


def _drawn(body: bytes, engine: Engine, app: web.Application) -> bytes:
    """The front end opens files of the editor only."""
    document = read(json.loads(body))
    return json.dumps(unflatten(document, shapes_of(engine.registry, app[DEPS].folders))).encode()
