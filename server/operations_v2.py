"""What the routes of the Comfy API v2 take and give: its part of the table in `operations.py`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from server.operation import Operation
from server.schema import NAMES, OBJECT, TEXT, TRUTH, WHOLE, Schema, members, optional

_KEY: Mapping[str, Schema] = MappingProxyType({"Idempotency-Key": {"type": "string", "minLength": 1, "maxLength": 255}})
_HASH: Schema = MappingProxyType({"type": "string", "pattern": "^blake3:[0-9a-f]{64}$"})
_SECONDS: Schema = MappingProxyType({"type": ["integer", "null"], "minimum": 60, "maximum": 604_800})
_LABELS: Schema = MappingProxyType({"type": "object", "additionalProperties": {"type": "string"}})
_STATUS: Schema = MappingProxyType(
    {"type": "string", "enum": ["queued", "running", "succeeded", "canceling", "canceled", "failed", "expired"]}
)
_OUTPUT = members(
    {
        **dict.fromkeys(("node_id", "name", "content_type", "id", "url", "url_expires_at"), TEXT),
        "type": {"type": "string", "enum": ["image", "video", "audio", "text", "file", "latent"]},
        "size_bytes": WHOLE,
        "hash": optional(TEXT),
        "job_id": optional(TEXT),
    },
    ["node_id", "name", "type", "content_type", "size_bytes", "id", "hash", "url", "url_expires_at"],
)
_PROGRESS = members(
    {
        "value": {"type": "number", "minimum": 0, "maximum": 1},
        "nodes_done": WHOLE,
        "nodes_total": WHOLE,
        "current_node": optional(TEXT),
        "current_node_class": optional(TEXT),
        "step": optional(WHOLE),
        "steps": optional(WHOLE),
        "message": optional(TEXT),
    },
    ["value", "nodes_done", "nodes_total"],
)
_FAILURE = members(
    {"code": TEXT, "message": TEXT, **{name: optional(TEXT) for name in ("node_id", "class_type", "traceback")}},
    ["code", "message"],
)
_JOB = members(
    {
        "id": TEXT,
        "status": _STATUS,
        "created_at": TEXT,
        "started_at": optional(TEXT),
        "completed_at": optional(TEXT),
        "expires_at": TEXT,
        "queue_position": optional(WHOLE),
        "progress": optional(_PROGRESS),
        "outputs": {"type": "array", "items": _OUTPUT},
        "error": optional(_FAILURE),
        "metrics": members({"queue_ms": optional(WHOLE), "execution_ms": optional(WHOLE)}),
        "metadata": _LABELS,
        "urls": members({"self": TEXT, "events": TEXT, "cancel": TEXT}, ["self", "events", "cancel"]),
        "x_darkroom": members({"warnings": {"type": "array"}, "nodes": OBJECT, "explain": {"type": "array"}}),
    },
    [
        *("id", "status", "created_at", "started_at", "completed_at", "expires_at", "queue_position", "progress"),
        *("outputs", "error", "urls"),
    ],
)
_ASSET = members(
    {
        **dict.fromkeys(("id", "content_type", "created_at", "url", "url_expires_at"), TEXT),
        "hash": optional(TEXT),
        "size_bytes": WHOLE,
        "file_path": optional(TEXT),
        "created_new": TRUTH,
        "expires_at": optional(TEXT),
        "job_id": optional(TEXT),
        "tags": NAMES,
    },
    ["id", "hash", "size_bytes", "content_type", "created_at", "url", "url_expires_at"],
)
_LISTED = members(
    {"id": TEXT, "status": _STATUS, "create_time": TEXT, "update_time": TEXT, "metadata": _LABELS}, ["id", "status"]
)
_ERROR = members({"error": members({"code": TEXT, "message": TEXT, "details": OBJECT}, ["code", "message"])}, ["error"])
_SENT = members(
    {
        "workflow": {
            "type": "object",
            "description": "A graph in API format. Where a file is named, a core/ASSET object may stand.",
        },
        "extra_data": members({"api_key_comfy_org": TEXT}, closed=True),
        "metadata": _LABELS,
        "x_darkroom": members({"webhook": TEXT}, closed=True),
    },
    ["workflow"],
    closed=True,
)
_FROM_HASH = members(
    {"hash": _HASH, "file_path": optional(TEXT), "tags": optional(NAMES), "expires_in": _SECONDS}, ["hash"], closed=True
)
_FORM = members(
    {
        "file": {"type": "string", "format": "binary"},
        **{name: {} for name in ("content_type", "file_path", "expected_hash", "expires_in", "tags")},
    },
    ["file"],
)
_PAGE: Mapping[str, Schema] = MappingProxyType(
    {"limit": {"type": "integer", "minimum": 1, "maximum": 100}, "cursor": TEXT}
)
_WORKFLOW = members({"workflow": OBJECT, "format": {"type": "string", "enum": ["save", "api"]}}, ["workflow", "format"])

OPERATIONS_V2: Mapping[str, Operation] = MappingProxyType(
    {
        "POST /v2/jobs": Operation(_JOB, body=_SENT, header=_KEY, status=201, error=_ERROR),
        "GET /v2/jobs": Operation(
            members({"jobs": {"type": "array", "items": _LISTED}}, ["jobs"]), _PAGE, error=_ERROR
        ),
        "GET /v2/jobs/{id}": Operation(_JOB, error=_ERROR),
        "GET /v2/jobs/{id}/workflow": Operation(_WORKFLOW, error=_ERROR),
        "GET /v2/jobs/{id}/events": Operation("text/event-stream", error=_ERROR),
        "POST /v2/jobs/{id}/cancel": Operation(_JOB, error=_ERROR),
        "POST /v2/assets": Operation(_ASSET, form=_FORM, header=_KEY, status=201, also=200, error=_ERROR),
        "POST /v2/assets/from-hash": Operation(_ASSET, body=_FROM_HASH, error=_ERROR),
        "GET /v2/assets/by-hash/{hash}": Operation(OBJECT, places={"hash": _HASH}, error=_ERROR),
        "GET /v2/assets/{id}": Operation(_ASSET, error=_ERROR),
        "GET /v2/assets/{id}/content": Operation("*/*", error=_ERROR),
        "DELETE /v2/assets/{id}": Operation(status=204, error=_ERROR),
    }
)
