"""`/openapi.json`: every route as it is, from the route table, the handlers' docstrings and what is declared here."""

from __future__ import annotations

import html
import inspect
import json
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from aiohttp import web

from server.operation import Operation
from server.operations import OPERATIONS
from server.schema import OBJECT, TEXT, Schema, members

_PLACEHOLDER = re.compile(r"{(\w+)(?::[^}]*)?}")
"""A part of a path, with its regular expression where aiohttp is told one."""
_ANY: Schema = MappingProxyType({"type": "string", "minLength": 1})

ERROR = members(
    {"error": members({"type": TEXT, "message": TEXT}, ["type", "message"]), "node_errors": OBJECT}, ["error"]
)


def describe_routes(routes: Iterable[web.RouteDef], version: str) -> dict[str, Any]:
    """The document. Every route also answers below `/api`."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = OPERATIONS.get(f"{route.method} {route.path}", Operation())
        paths.setdefault(_PLACEHOLDER.sub(r"{\1}", route.path), {})[route.method.lower()] = _described(route, operation)
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
        {"name": name, "in": "path", "required": True, "schema": _plain(operation.places.get(name, _ANY))}
        for name in _PLACEHOLDER.findall(route.path)
    ]
    header = [
        {"name": name, "in": "header", "required": False, "schema": _plain(schema)}
        for name, schema in operation.header.items()
    ]
    errors = _error_content(operation.error)
    described: dict[str, Any] = {
        "summary": words[0] if words else route.path,
        "operationId": getattr(route.handler, "__name__", route.path),
        "parameters": places + query + header,
        "responses": {
            str(operation.status): _answer(operation),
            "4XX": {"description": "The client's mistake.", "content": errors},
            "503": {"description": "Not now; the text says why.", "content": errors},
            "507": {"description": "There is no room to store it.", "content": errors},
        },
    }
    if operation.also is not None:
        described["responses"][str(operation.also)] = _answer(operation)
    for schema, kind in ((operation.body, "application/json"), (operation.form, "multipart/form-data")):
        if schema is not None:
            needed = "required" in schema or not schema  # of an object whose members are optional none need come
            described["requestBody"] = {"required": needed, "content": {kind: {"schema": _plain(schema)}}}
    if operation.content:
        described["requestBody"] = {"content": {"application/octet-stream": {}}}
    return described


def _answer(operation: Operation) -> dict[str, Any]:
    match operation.answer:
        case None:
            return {"description": "Done."}
        case str() as kind:
            return {"description": "The content.", "content": {kind: {}}}
        case schema:
            return {"description": "The answer.", "content": {"application/json": {"schema": _plain(schema)}}}


def _error_content(schema: Schema | None) -> dict[str, Any]:
    shown = {"$ref": "#/components/schemas/Error"} if schema is None else _plain(schema)
    return {"application/json": {"schema": shown}, "text/plain": {}}


def _plain(schema: Any) -> Any:
    """Without the read-only wrappers, which JSON does not know."""
    if isinstance(schema, Mapping):
        return {key: _plain(value) for key, value in schema.items()}
    return [_plain(item) for item in schema] if isinstance(schema, list) else schema
