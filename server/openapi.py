"""`/openapi.json`: every route as it is, from the route table, the handlers' docstrings and what is declared here."""

from __future__ import annotations

import html
import inspect
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

from aiohttp import web

from server.job import State
from server.places import KINDS

Schema: TypeAlias = Mapping[str, Any]

TEXT: Schema = MappingProxyType({"type": "string"})
WHOLE: Schema = MappingProxyType({"type": "integer"})
NUMBER: Schema = MappingProxyType({"type": "number"})
TRUTH: Schema = MappingProxyType({"type": "boolean"})
ANYTHING: Schema = MappingProxyType({})
OBJECT: Schema = MappingProxyType({"type": "object"})
NAMES: Schema = MappingProxyType({"type": "array", "items": {"type": "string"}})
YES: Schema = MappingProxyType({"type": "string", "enum": ["true", "false"]})
KIND: Schema = MappingProxyType({"type": "string", "enum": list(KINDS)})
DIGITS: Schema = MappingProxyType({"type": "integer", "minimum": 0, "maximum": 10**9})

_PLACEHOLDER = re.compile(r"{(\w+)}")
_FILE: Schema = MappingProxyType({"type": "string", "format": "binary"})
_UPLOAD: Mapping[str, Schema] = MappingProxyType({"image": _FILE, "type": KIND, "subfolder": TEXT, "overwrite": YES})


def _object(properties: Mapping[str, Schema], required: Iterable[str] = ()) -> Schema:
    shape = {"type": "object", "properties": {name: dict(schema) for name, schema in properties.items()}}
    return {**shape, "required": sorted(required)} if required else shape


ERROR = _object(
    {"error": _object({"type": TEXT, "message": TEXT}, ["type", "message"]), "node_errors": OBJECT}, ["error"]
)


@dataclass(frozen=True, slots=True)
class Operation:
    """What one route takes and gives. `answer` is the JSON of 200, None for an empty body, a text for another type."""

    answer: Schema | str | None = None
    query: Mapping[str, Schema] = field(default_factory=dict)
    body: Schema | None = None
    form: Schema | None = None
    status: int = 200
    needed: frozenset[str] = frozenset()


_REMAINING = _object({"exec_info": _object({"queue_remaining": WHOLE}, ["queue_remaining"])}, ["exec_info"])
_ANY_WORKFLOW: Schema = MappingProxyType(
    {"type": "object", "description": "A workflow: nodes by id, or a file of the editor with a list of nodes."}
)
_NEEDS = _object(
    {
        "types": {"type": "array", "items": _object({"type": TEXT, "nodes": NAMES, "pack": TEXT}, ["type", "nodes"])},
        "models": {"type": "array", "items": _object({"name": TEXT, "folder": TEXT, "url": TEXT}, ["name"])},
        "errors": {"type": "array", "items": OBJECT},
        "warnings": {"type": "array", "items": OBJECT},
    },
    ["types", "models", "errors", "warnings"],
)
_QUEUE = _object(
    {
        "queue_running": {"type": "array", "items": {"type": "array"}},
        "queue_pending": {"type": "array", "items": {"type": "array"}},
    },
    ["queue_running", "queue_pending"],
)
_REMOVAL = _object({"clear": TRUTH, "delete": NAMES})
_AXIS = _object(
    {
        "name": TEXT,
        "inputs": {"type": "array", "items": _object({"node": TEXT, "input": TEXT}, ["node", "input"])},
        "labels": NAMES,
    },
    ["name", "inputs", "labels"],
)
_SWEEP: Schema = MappingProxyType(
    {
        "type": ["object", "null"],
        "properties": {"axes": {"type": "array", "items": _AXIS}},
        "description": "The axes of a swept job, slowest first. A file in `outputs` then has a `cell`: its place on each "
        "axis, null on those that do not matter to it.",
    }
)
_JOB = _object(
    {"id": TEXT, "status": {"type": "string", "enum": [str(state) for state in State]}, "sweep": _SWEEP},
    ["id", "status"],
)
_JOBS = _object(
    {"jobs": {"type": "array", "items": _JOB}, "pagination": OBJECT, "paused": TRUTH}, ["jobs", "pagination", "paused"]
)
_STORED = _object({"name": TEXT, "subfolder": TEXT, "type": KIND}, ["name", "subfolder", "type"])
_LISTS: Schema = MappingProxyType({"type": "array"})
_PAGE: Mapping[str, Schema] = MappingProxyType(
    {
        "status": TEXT,
        "type": TEXT,
        "text": TEXT,
        "after": NUMBER,
        "before": NUMBER,
        "sort_order": {"type": "string", "enum": ["asc", "desc"]},
        "limit": DIGITS,
        "offset": DIGITS,
    }
)
_PROMPT = _object(
    {
        "prompt": {
            "type": "object",
            "description": 'Nodes by id. In the place of any literal may stand several values: {"__sweep__": [2, 4], '
            '"axis": "cfg"} or {"__seeds__": {"from": 1, "count": 8}}. What has the same axis is taken in step, '
            "different axes multiply.",
        },
        "client_id": TEXT,
        "prompt_id": TEXT,
        "extra_data": OBJECT,
        "front": TRUTH,
        "number": NUMBER,
        "priority": WHOLE,
        "partial_execution_targets": NAMES,
    },
    ["prompt"],
)
_EXAMPLE = _object({"name": TEXT, "title": OBJECT, "description": OBJECT}, ["name", "title", "description"])
_EXAMPLES: Schema = MappingProxyType({"type": "array", "items": _EXAMPLE})
_QUEUED = _object({"prompt_id": TEXT, "number": NUMBER, "node_errors": OBJECT}, ["prompt_id", "number", "node_errors"])

OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        "POST /prompt": Operation(_QUEUED, body=_PROMPT),
        "POST /prompt/check": Operation(_object({"error": ANYTHING, "node_errors": OBJECT}, ["error"]), body=_PROMPT),
        "POST /workflow/convert": Operation(
            OBJECT, {"to": {"type": "string", "enum": ["api", "editor"]}}, body=_ANY_WORKFLOW
        ),
        "POST /workflow/check": Operation(_NEEDS, body=_ANY_WORKFLOW),
        "GET /prompt": Operation(_REMAINING),
        "GET /queue": Operation(_QUEUE),
        "POST /queue": Operation(body=_REMOVAL),
        "POST /interrupt": Operation(body=_object({"prompt_id": TEXT})),
        "POST /free": Operation(body=_object({"unload_models": TRUTH, "free_memory": TRUTH})),
        "GET /history": Operation(OBJECT, {"max_items": DIGITS, "offset": DIGITS}),
        "GET /history/{prompt_id}": Operation(OBJECT),
        "POST /history": Operation(body=_REMOVAL),
        "GET /jobs": Operation(_JOBS, _PAGE),
        "GET /jobs/{id}": Operation(_JOB),
        "POST /jobs/{id}/retry": Operation(_QUEUED),
        "POST /jobs/{id}/priority": Operation(body=_object({"priority": WHOLE}, ["priority"])),
        "POST /jobs/{id}/move": Operation(body=_object({"place": DIGITS}, ["place"])),
        "GET /view": Operation(
            "*/*", {"filename": TEXT, "subfolder": TEXT, "type": KIND, "preview": TEXT, "channel": TEXT}
        ),
        "GET /view_metadata/{folder}": Operation(OBJECT, {"filename": TEXT}),
        "POST /upload/image": Operation(_STORED, form=_object(_UPLOAD, ["image"])),
        "POST /upload/mask": Operation(
            _STORED, form=_object({**_UPLOAD, "original_ref": TEXT}, ["image", "original_ref"])
        ),
        "GET /object_info": Operation(OBJECT),
        "GET /object_info/{type}": Operation(OBJECT),
        "GET /system_stats": Operation(_object({"system": OBJECT, "devices": _LISTS}, ["system", "devices"])),
        "GET /features": Operation(OBJECT),
        "GET /models": Operation(NAMES),
        "GET /models/{folder}": Operation(NAMES),
        "GET /experiment/models": Operation(_LISTS),
        "GET /experiment/models/{folder}": Operation(_LISTS),
        "GET /embeddings": Operation(NAMES),
        "GET /extensions": Operation(NAMES),
        "GET /workflow_templates": Operation(OBJECT),
        "GET /i18n": Operation(OBJECT),
        "GET /examples": Operation(_EXAMPLES),
        "GET /examples/{file}": Operation("*/*"),
        "GET /internal/logs": Operation(TEXT),
        "GET /internal/logs/raw": Operation(OBJECT),
        "GET /internal/folder_paths": Operation(OBJECT),
        "GET /metrics": Operation("text/plain"),
        "GET /users": Operation(OBJECT),
        "POST /users": Operation(body=OBJECT),
        "GET /settings": Operation(OBJECT),
        "POST /settings": Operation(body=OBJECT),
        "GET /settings/{id}": Operation(ANYTHING),
        "POST /settings/{id}": Operation(body=ANYTHING),
        "GET /userdata": Operation(
            _LISTS, {"dir": TEXT, "recurse": YES, "full_info": YES, "split": YES}, needed=frozenset({"dir"})
        ),
        "GET /v2/userdata": Operation(_LISTS, {"path": TEXT}),
        "GET /user.css": Operation("text/css"),
        "GET /userdata/{file}": Operation("*/*"),
        "POST /userdata/{file}": Operation(ANYTHING, {"overwrite": YES, "full_info": YES}, body=ANYTHING),
        "DELETE /userdata/{file}": Operation(status=204),
        "POST /userdata/{file}/move/{target}": Operation(ANYTHING, {"overwrite": YES, "full_info": YES}),
        "GET /ws": Operation(query={"clientId": TEXT, "watch": TEXT}, status=101),
        "GET /openapi.json": Operation(OBJECT),
        "GET /docs": Operation("text/html"),
    }
)
"""Routes that are not here take nothing and answer with an empty body."""


def describe_routes(routes: Iterable[web.RouteDef], version: str) -> dict[str, Any]:
    """The document. Every route also answers below `/api`."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = OPERATIONS.get(f"{route.method} {route.path}", Operation())
        paths.setdefault(route.path, {})[route.method.lower()] = _described(route, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Darkroom",
            "version": version,
            "description": "Every route answers below /api as well. A server that others can reach wants a token.",
        },
        "paths": paths,
        "components": {"schemas": {"Error": _plain(ERROR)}, "securitySchemes": {"token": _plain(_BEARER)}},
        "security": [{}, {"token": []}],
    }


def page(document: Mapping[str, Any]) -> str:
    """The document for people, as HTML that needs nothing else."""
    sections = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            shown = {key: operation[key] for key in ("parameters", "requestBody", "responses") if operation.get(key)}
            details = html.escape(json.dumps(shown, indent=1))
            head = f"<b>{method.upper()}</b> <code>{html.escape(path)}</code> — {html.escape(operation['summary'])}"
            sections.append(f"<details><summary>{head}</summary><pre>{details}</pre></details>")
    style = (
        "body{font:15px/1.6 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}b{display:inline-block;width:4.5em}"
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Darkroom: routes</title><style>{style}</style>"
        f"<h1>Routes</h1><p>{html.escape(document['info']['description'])} "
        f'<a href="openapi.json">openapi.json</a></p>{"".join(sections)}'
    )


_BEARER: Schema = MappingProxyType({"type": "http", "scheme": "bearer"})


def _described(route: web.RouteDef, operation: Operation) -> dict[str, Any]:
    words = inspect.cleandoc(route.handler.__doc__ or "").splitlines()
    query = [
        {"name": name, "in": "query", "required": name in operation.needed, "schema": _plain(schema)}
        for name, schema in operation.query.items()
    ]
    places = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PLACEHOLDER.findall(route.path)
    ]
    described: dict[str, Any] = {
        "summary": words[0] if words else route.path,
        "operationId": getattr(route.handler, "__name__", route.path),
        "parameters": places + query,
        "responses": {
            str(operation.status): _answer(operation),
            "4XX": {"description": "The client's mistake.", "content": _error_content()},
            "503": {"description": "Not now; the text says why.", "content": _error_content()},
            "507": {"description": "There is no room to store it.", "content": _error_content()},
        },
    }
    for schema, kind in ((operation.body, "application/json"), (operation.form, "multipart/form-data")):
        if schema is not None:
            described["requestBody"] = {"content": {kind: {"schema": _plain(schema)}}}
    return described


def _answer(operation: Operation) -> dict[str, Any]:
    match operation.answer:
        case None:
            return {"description": "Done."}
        case str() as kind:
            return {"description": "The content.", "content": {kind: {}}}
        case schema:
            return {"description": "The answer.", "content": {"application/json": {"schema": _plain(schema)}}}


def _error_content() -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}, "text/plain": {}}


def _plain(schema: Any) -> Any:
    """Without the read-only wrappers, which JSON does not know."""
    if isinstance(schema, Mapping):
        return {key: _plain(value) for key, value in schema.items()}
    return [_plain(item) for item in schema] if isinstance(schema, list) else schema
