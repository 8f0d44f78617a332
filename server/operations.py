"""What each route takes and gives: one table, which `/openapi.json` shows and every request is checked by."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import get_args

from aiohttp import web

from graph.account import Did
from graph.explain import Kind
from server.foreign import Decision
from server.job import ID_LENGTH, PRIORITIES, State
from server.operation import Operation
from server.operations_v2 import OPERATIONS_V2
from server.places import KINDS
from server.refused import bad_request
from server.schema import (
    ANYTHING,
    NAMES,
    NUMBER,
    OBJECT,
    TEXT,
    TRUTH,
    WHOLE,
    Schema,
    fault,
    members,
    optional,
    read_query,
)

PREFIX = "/api"
"""Every route also answers below it."""

KIND: Schema = MappingProxyType({"type": "string", "enum": list(KINDS)})
DIGITS: Schema = MappingProxyType({"type": "integer", "minimum": -1, "maximum": 10**9})
"""How many, or from where; -1 means all."""
YES: Schema = MappingProxyType({"type": "string", "description": "`true`, in any case, means yes."})

_FILE: Schema = MappingProxyType({"type": "string", "format": "binary"})
_FIELD: Schema = MappingProxyType({"description": "A text, as all fields of a form are."})
_UPLOAD: Mapping[str, Schema] = MappingProxyType(
    {"image": _FILE, "type": KIND, "subfolder": _FIELD, "overwrite": _FIELD}
)


_REMAINING = members({"exec_info": members({"queue_remaining": WHOLE}, ["queue_remaining"])}, ["exec_info"])
_ANY_WORKFLOW: Schema = MappingProxyType(
    {"type": "object", "description": "A workflow: nodes by id, or a file of the editor with a list of nodes."}
)
_NEEDS = members(
    {
        "types": {"type": "array", "items": members({"type": TEXT, "nodes": NAMES, "pack": TEXT}, ["type", "nodes"])},
        "models": {"type": "array", "items": members({"name": TEXT, "folder": TEXT, "url": TEXT}, ["name"])},
        "errors": {"type": "array", "items": OBJECT},
        "warnings": {"type": "array", "items": OBJECT},
        "program": TEXT,
    },
    ["types", "models", "errors", "warnings", "program"],
)
_QUEUE = members(
    {
        "queue_running": {"type": "array", "items": {"type": "array"}},
        "queue_pending": {"type": "array", "items": {"type": "array"}},
    },
    ["queue_running", "queue_pending"],
)
_IDS: Schema = MappingProxyType({"type": ["array", "string", "null"], "items": TEXT})
_REMOVAL = members({"clear": optional(TRUTH), "delete": _IDS})
_AXIS = members(
    {
        "name": TEXT,
        "inputs": {"type": "array", "items": members({"node": TEXT, "input": TEXT}, ["node", "input"])},
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
_JOB = members(
    {"id": TEXT, "status": {"type": "string", "enum": [str(state) for state in State]}, "sweep": _SWEEP},
    ["id", "status"],
)
_CANCELLED = members({"cancelled": TRUTH}, ["cancelled"])
_DID: Mapping[str, Schema] = MappingProxyType(
    {
        "did": {"type": "string", "enum": [str(did) for did in Did]},
        "words": {"type": "string", "description": "A sentence whose subject is the node."},
        "reasons": {
            "type": "array",
            "items": members(
                {
                    "kind": {"type": "string", "enum": [str(kind) for kind in Kind]},
                    "words": TEXT,
                    "input": TEXT,
                    "before": TEXT,
                    "after": TEXT,
                    "node": {"type": "string", "description": "Where the change was made, if it was further up."},
                },
                ["kind", "words", "input", "before", "after", "node"],
            ),
        },
        "seconds": {"type": ["number", "null"]},
        "peak_bytes": {
            "type": ["integer", "null"],
            "description": "The most memory in use while it ran: of the accelerator, or of the process on a CPU.",
        },
    }
)
_EXPLANATION = members(
    {
        "id": TEXT,
        "status": TEXT,
        "nodes": {
            "type": "array",
            "items": members(
                {
                    "node_id": TEXT,
                    "node_type": TEXT,
                    **_DID,
                    "cells": {
                        "type": "array",
                        "items": members({"cell": {"type": "array"}, **_DID}, ["cell", *_DID]),
                        "description": "The copies of a swept node, each with its place on the axes.",
                    },
                },
                ["node_id", "node_type", *_DID],
            ),
        },
    },
    ["id", "status", "nodes"],
)
_JOBS = members(
    {"jobs": {"type": "array", "items": _JOB}, "pagination": OBJECT, "paused": TRUTH}, ["jobs", "pagination", "paused"]
)
_STORED = members({"name": TEXT, "subfolder": TEXT, "type": KIND}, ["name", "subfolder", "type"])
_LISTS: Schema = MappingProxyType({"type": "array"})
_PAGE: Mapping[str, Schema] = MappingProxyType(
    {
        "status": {"type": "string", "pattern": f"^(({'|'.join(State)})(,|$))*$"},
        "type": TEXT,
        "text": TEXT,
        "after": NUMBER,
        "before": NUMBER,
        "sort_order": {"type": "string", "enum": ["asc", "desc"]},
        "limit": DIGITS,
        "offset": DIGITS,
    }
)
_ID: Schema = MappingProxyType({"type": ["string", "null"], "maxLength": ID_LENGTH})
BESIDES_PROMPT = members(
    {
        "client_id": _ID,
        "prompt_id": _ID,
        "extra_data": optional(OBJECT),
        "front": optional(TRUTH),
        "number": {"type": ["number", "string", "null"], "pattern": "^-?[0-9]+([.][0-9]+)?$"},
        "priority": {"type": "integer", "minimum": PRIORITIES[0], "maximum": PRIORITIES[-1]},
        "partial_execution_targets": {"type": ["array", "null"], "items": {"type": ["string", "integer"]}},
    }
)
"""What stands beside the workflow in `POST /prompt`, which is read apart from it."""
_PROMPT = members(
    {
        **BESIDES_PROMPT["properties"],
        "prompt": {
            "type": "object",
            "description": 'Nodes by id. In the place of any literal may stand several values: {"__sweep__": [2, 4], '
            '"axis": "cfg"} or {"__seeds__": {"from": 1, "count": 8}}. What has the same axis is taken in step, '
            "different axes multiply.",
        },
    },
    ["prompt"],
)
_CHECKED = members({**_PROMPT["properties"], "prompt": ANYTHING}, ["prompt"])
"""Whatever stands as a workflow is told what is wrong with it."""
_SUGGESTION = members(
    {"node_id": TEXT, "values": OBJECT, "model": TEXT, "file": TEXT}, ["node_id", "values", "model", "file"]
)
_FAULTS = members(
    {"error": ANYTHING, "node_errors": OBJECT, "suggestions": {"type": "array", "items": _SUGGESTION}}, ["error"]
)
_EDITS = members(
    {
        "file": {"type": "string", "description": "Below the user's directory, such as workflows/boats.json."},
        "edits": {
            "type": "array",
            "items": OBJECT,
            "description": 'In order: {"add": TYPE, "name": "draw", "inputs": {"steps": 20, "model": ["loader", "MODEL"]}, '
            '"title": "…"}, {"set": NODE, "inputs": {…}} or {"remove": NODE}.',
        },
        "create": TRUTH,
        "by": TEXT,
    },
    ["file", "edits"],
)
_EDITED = members({"ids": OBJECT, "modified": NUMBER, "report": _NEEDS}, ["ids", "modified", "report"])
_EXAMPLE = members({"name": TEXT, "title": OBJECT, "description": OBJECT}, ["name", "title", "description"])
_EXAMPLES: Schema = MappingProxyType({"type": "array", "items": _EXAMPLE})
_WORKER = members(
    {
        "id": TEXT,
        "state": {"type": "string", "enum": ["starting", "idle", "running", "paused", "drained"]},
        "draining": TRUTH,
        "job": optional(TEXT),
        "lost": NUMBER,
        "memory": OBJECT,
        "models": OBJECT,
        "devices": {"type": "array", "items": OBJECT},
    },
    ["id", "state", "draining", "job", "lost", "memory", "models", "devices"],
)
_MESSAGE = members(
    {
        "jsonrpc": {"type": "string", "enum": ["2.0"]},
        "id": {"type": ["integer", "string"]},
        "method": TEXT,
        "params": OBJECT,
    },
    ["jsonrpc"],
)
"""A message of the Model Context Protocol, which is JSON-RPC 2.0."""
_SESSION: Mapping[str, Schema] = MappingProxyType(
    {
        "Accept": {"type": "string", "enum": ["application/json, text/event-stream"]},
        "Mcp-Session-Id": TEXT,
        "Mcp-Protocol-Version": TEXT,
    }
)
_ANY_ERROR = members({"error": members({"message": TEXT}, ["message"])}, ["error"])
"""A refusal of ours, or of JSON-RPC."""
_QUEUED = members({"prompt_id": TEXT, "number": NUMBER, "node_errors": OBJECT}, ["prompt_id", "number", "node_errors"])

OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        **OPERATIONS_V2,
        "POST /prompt": Operation(_QUEUED, body=_PROMPT),
        "POST /prompt/check": Operation(_FAULTS, body=_CHECKED),
        "POST /workflow/convert": Operation(
            OBJECT, {"to": {"type": "string", "enum": ["api", "editor"]}}, body=_ANY_WORKFLOW
        ),
        "POST /workflow/check": Operation(_NEEDS, body=_ANY_WORKFLOW),
        "POST /workflow/edit": Operation(_EDITED, body=_EDITS),
        "GET /prompt": Operation(_REMAINING),
        "GET /queue": Operation(_QUEUE),
        "POST /queue": Operation(body=_REMOVAL),
        "POST /interrupt": Operation(body=members({"prompt_id": optional(TEXT)})),
        "POST /free": Operation(body=members({"unload_models": optional(TRUTH), "free_memory": optional(TRUTH)})),
        "GET /history": Operation(OBJECT, {"max_items": DIGITS, "offset": DIGITS}),
        "GET /history/{prompt_id}": Operation(OBJECT),
        "POST /history": Operation(body=_REMOVAL),
        "GET /jobs": Operation(_JOBS, _PAGE),
        "GET /jobs/{id}": Operation(_JOB),
        "GET /workers": Operation(members({"workers": {"type": "array", "items": _WORKER}}, ["workers"])),
        "POST /jobs/cancel": Operation(_CANCELLED, body=members({"job_ids": NAMES}, ["job_ids"])),
        "POST /jobs/{id}/cancel": Operation(_CANCELLED),
        "GET /jobs/{id}/explain": Operation(_EXPLANATION),
        "POST /jobs/{id}/retry": Operation(_QUEUED),
        "POST /jobs/{id}/priority": Operation(
            body=members({"priority": BESIDES_PROMPT["properties"]["priority"]}, ["priority"])
        ),
        "POST /jobs/{id}/move": Operation(
            body=members({"place": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}}, ["place"])
        ),
        "GET /view": Operation(
            "*/*", {"filename": TEXT, "subfolder": TEXT, "type": KIND, "preview": TEXT, "channel": TEXT}
        ),
        "GET /view_metadata/{folder}": Operation(OBJECT, {"filename": TEXT}),
        "POST /upload/image": Operation(_STORED, form=members(_UPLOAD, ["image"])),
        "POST /upload/mask": Operation(
            _STORED, form=members({**_UPLOAD, "original_ref": _FIELD}, ["image", "original_ref"])
        ),
        "GET /object_info": Operation(OBJECT),
        "GET /object_info/{type}": Operation(OBJECT),
        "GET /system_stats": Operation(members({"system": OBJECT, "devices": _LISTS}, ["system", "devices"])),
        "GET /features": Operation(OBJECT),
        "GET /models": Operation(NAMES),
        "GET /models/{folder}": Operation(NAMES),
        "GET /experiment/models": Operation(_LISTS),
        "GET /experiment/models/{folder}": Operation(_LISTS),
        "GET /embeddings": Operation(NAMES),
        "GET /extensions": Operation(NAMES),
        "GET /packs": Operation(_LISTS),
        "POST /packs/{name}": Operation(
            OBJECT, body=members({"decision": {"type": "string", "enum": list(get_args(Decision))}}, ["decision"])
        ),
        "GET /workflow_templates": Operation(OBJECT),
        "GET /workflow_templates/{pack}/{file}": Operation("*/*"),
        "GET /i18n": Operation(OBJECT),
        "GET /examples": Operation(_EXAMPLES),
        "GET /examples/{file}": Operation("*/*"),
        "GET /internal/logs": Operation(TEXT),
        "GET /internal/logs/raw": Operation(OBJECT),
        "PATCH /internal/logs/subscribe": Operation(
            body=members({"clientId": TEXT, "enabled": optional(TRUTH)}, ["clientId"])
        ),
        "GET /docs/{type}/{file}": Operation("text/markdown"),
        "GET /docs/{file}": Operation("text/markdown"),
        "GET /internal/folder_paths": Operation(OBJECT),
        "GET /internal/files/{folder}": Operation(NAMES, places={"folder": KIND}),
        "GET /node_replacements": Operation(OBJECT),
        "GET /global_subgraphs": Operation(OBJECT),
        "GET /global_subgraphs/{id}": Operation(OBJECT),
        "GET /templates/index.json": Operation(_LISTS),
        "GET /templates/index_logo.json": Operation(OBJECT),
        "GET /templates/fuse_options.json": Operation(OBJECT),
        "GET /templates/{file}": Operation("*/*"),
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
        "POST /userdata/{file}": Operation(ANYTHING, {"overwrite": YES, "full_info": YES}, content=True),
        "DELETE /userdata/{file}": Operation(status=204),
        "POST /userdata/{file}/move/{target}": Operation(ANYTHING, {"overwrite": YES, "full_info": YES}),
        "GET /ws": Operation(query={"clientId": TEXT, "watch": TEXT}, status=101),
        "POST /mcp": Operation("*/*", body=_MESSAGE, header=_SESSION, also=202, error=_ANY_ERROR),
        "GET /mcp": Operation("text/event-stream", header=_SESSION, error=_ANY_ERROR),
        "DELETE /mcp": Operation(header=_SESSION, error=_ANY_ERROR),
        "GET /openapi.json": Operation(OBJECT),
        "GET /docs": Operation("text/html"),
    }
)
"""Routes that are not here take nothing and answer with an empty body."""


def operation_of(request: web.Request) -> Operation:
    """What the route of a request takes and gives."""
    resource = request.match_info.route.resource
    path = "" if resource is None else resource.canonical.removeprefix(PREFIX)
    return OPERATIONS.get(f"{'GET' if request.method == 'HEAD' else request.method} {path}", Operation())


def check_query(request: web.Request) -> None:
    """Raise Refused for a part of the path, or a value of the query, that the route does not take. What is not declared is
    passed over.
    """
    operation = operation_of(request)
    for name, schema in operation.places.items():
        if wrong := fault(schema, request.match_info[name], name):
            raise bad_request(wrong)
    for name, schema in operation.query.items():
        if (text := request.query.get(name)) is not None:
            if wrong := fault(schema, read_query(schema, text), name):
                raise bad_request(wrong)
        elif name in operation.needed:
            raise bad_request(f"{name}: is missing")


def check_body(request: web.Request, value: object) -> None:
    """Raise Refused for a JSON body that the route does not take."""
    schema = operation_of(request).body
    if schema is not None and (wrong := fault(schema, value)):
        raise bad_request(wrong)
