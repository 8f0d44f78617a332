"""The words of the Comfy API v2: jobs, outputs, assets, progress and errors as its clients read them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from mimetypes import guess_type
from types import MappingProxyType
from typing import Any

from aiohttp import web

from graph.patient_json import dumps, loads
from server.assets import TEXTS, Asset
from server.job import State
from server.outputs import files_of, kind_of
from server.refused import Refused
from server.transcript import WARNING, Transcript

ROOT = "/api/v2"
FOR_EVER = "9999-12-31T23:59:59Z"
"""A time limit that does not come: links and jobs are kept until somebody removes them."""
EXTENSION = "x_darkroom"
"""The member of a job with what the API has no word for: warnings, seconds by node, and what each node did and why. In a
submission it may name a `webhook`."""

STATUS: Mapping[State, str] = MappingProxyType(
    {
        State.PENDING: "queued",
        State.RUNNING: "running",
        State.COMPLETED: "succeeded",
        State.FAILED: "failed",
        State.CANCELLED: "canceled",
    }
)
_CODES: Mapping[int, str] = MappingProxyType(
    {
        400: "invalid_request",
        401: "unauthorized",
        403: "forbidden",
        404: "not_found",
        429: "rate_limited",
        500: "upstream_error",
    }
)
_OWN_CODES = frozenset({"queue_full", "too_many_streams", "blob_not_found", "invalid_cursor"})
_IDS = "a4bb7f3c-3f0a-5a3e-9d53-6c1f0a1a7c55"
"""The namespace of ids that are made of what they stand for."""


def is_v2(path: str) -> bool:
    """Whether a path is of the Comfy API v2."""
    return path.removeprefix("/api").startswith(("/v2/jobs", "/v2/assets"))


def error_text(refused: Refused) -> str:
    """A refusal in the envelope that this API has for it."""
    code = refused.type if refused.type in _OWN_CODES else _CODES.get(refused.status, refused.type)
    error: dict[str, object] = {"code": code, "message": refused.message or refused.type}
    if refused.details:
        error["details"] = refused.details
    return dumps({"error": error})


def made_id(*parts: str) -> str:
    """The same UUID for the same parts."""
    return str(uuid.uuid5(uuid.UUID(_IDS), "\0".join(parts)))


def moment(when: float | None) -> str | None:
    """A time as RFC 3339 writes it."""
    return None if when is None else datetime.fromtimestamp(when, UTC).isoformat().replace("+00:00", "Z")


def outputs_of(job: str, outputs: Mapping[str, Any], when: float) -> list[Asset]:
    """What a job has made so far, files first and then texts, each with the id that it will always have."""
    found = [
        Asset(
            id=made_id(job, file.get("type", "output"), file.get("subfolder", ""), file["filename"]),
            kind=file.get("type", "output"),
            name=f"{file['subfolder']}/{file['filename']}" if file.get("subfolder") else file["filename"],
            content_type=guess_type(file["filename"])[0] or "application/octet-stream",
            size=0,
            created=when,
            job=job,
            node=file["nodeId"],
        )
        for file in files_of(outputs)
    ]
    texts = ((node, text) for node, ui in outputs.items() for text in ui.get("text", ()) if isinstance(text, str))
    for number, (node, text) in enumerate(texts, 1):
        name, size = f"text_{number}.txt", len(text.encode())
        id_ = made_id(job, TEXTS, node, str(number))
        found.append(Asset(id_, TEXTS, name, "text/plain; charset=utf-8", size, when, job=job, node=node, content=text))
    return list({asset.id: asset for asset in found}.values())


def output_json(asset: Asset, origin: str) -> dict[str, object]:
    """An asset as an output of its job."""
    name = asset.name.rpartition("/")[2]
    kind = "latent" if name.endswith(".latent") else kind_of(name)
    return {
        "node_id": asset.node or "",
        "name": name,
        "type": kind if kind in ("image", "video", "audio", "text", "latent") else "file",
        "content_type": asset.content_type,
        "size_bytes": asset.size,
        "id": asset.id,
        "hash": asset.hash,
        "url": f"{origin}{ROOT}/assets/{asset.id}/content",
        "url_expires_at": FOR_EVER,
        "job_id": asset.job,
    }


def asset_json(asset: Asset, origin: str, created_new: bool | None = None) -> dict[str, object]:
    """An asset; `created_new` only where it was just made."""
    shown: dict[str, object] = {
        "id": asset.id,
        "hash": asset.hash,
        "size_bytes": asset.size,
        "content_type": asset.content_type,
        "file_path": asset.name
        if asset.kind in ("input", "output", "temp", TEXTS)
        else f"models/{asset.kind}/{asset.name}",
        "created_at": moment(asset.created),
        "url": f"{origin}{ROOT}/assets/{asset.id}/content",
        "url_expires_at": FOR_EVER,
        "expires_at": moment(asset.expires),
        "job_id": asset.job,
        "tags": list(asset.tags),
    }
    return shown if created_new is None else shown | {"created_new": created_new}


def progress_json(transcript: Transcript) -> dict[str, object]:
    """How far a run is: nodes that are done, and the steps of the one at work."""
    total, done = max(1, len(transcript.types)), set(transcript.cached)
    done |= {node_id for node_id, progress in transcript.nodes.items() if progress.state == "finished"}
    at_work = [(node_id, it) for node_id, it in transcript.nodes.items() if it.state == "running"]
    node_id, progress = at_work[-1] if at_work else (None, None)
    share = sum(min(1.0, it.value / it.max) for _, it in at_work if it.max)
    kind = transcript.types.get(node_id) if node_id else None
    steps = int(progress.max) if progress is not None and progress.max > 1 else None
    step = int(progress.value) if progress is not None and steps else None
    return {
        "value": min(1.0, (len(done) + share) / total),
        "nodes_done": len(done),
        "nodes_total": total,
        "current_node": node_id,
        "current_node_class": kind,
        "step": step,
        "steps": steps,
        "message": f"{kind} {step}/{steps}" if steps else kind,
    }


def job_json(
    row: Mapping[str, Any],
    live: Transcript | None,
    position: int | None,
    outputs: Iterable[Asset],
    origin: str,
    keep_days: float,
    stopping: bool,
    explanation: str | None,
) -> dict[str, object]:
    """A job. `position` is its place in the queue, `live` what a running one has told.

    explanation: what each node of one that has ended did, as JSON.
    """
    id_, created, started, finished = row["id"], row["created"], row["started"], row["finished"]
    self = f"{ROOT}/jobs/{id_}"
    return {
        "id": id_,
        "status": "canceling" if stopping and row["state"] == State.RUNNING else STATUS[row["state"]],
        "created_at": moment(created),
        "started_at": moment(started),
        "completed_at": moment(finished),
        "expires_at": moment((finished or created) + keep_days * 86400) if keep_days else FOR_EVER,
        "queue_position": position,
        "progress": None if live is None else progress_json(live),
        "outputs": [output_json(asset, origin) for asset in outputs],
        "error": _error(row["error"]),
        "metrics": {"queue_ms": _between(created, started), "execution_ms": _between(started, finished)},
        "metadata": extra.get("metadata") or {} if isinstance(extra := loads(row["extra"]), dict) else {},
        "urls": {"self": self, "events": f"{self}/events", "cancel": f"{self}/cancel"},
        EXTENSION: {
            "warnings": _warnings(row["messages"]),
            "nodes": json.loads(row["nodes"] or "{}"),
            "explain": json.loads(explanation or "[]"),
        },
    }


def origin_of(request: web.Request) -> str:
    """Where a client finds this server, as it asked for it."""
    return f"{request.scheme}://{request.host}"


def _error(text: str | None) -> dict[str, object] | None:
    if text is None:
        return None
    error = json.loads(text)
    return {
        "code": "node_execution_error" if error.get("node_id") else "execution_error",
        "message": error.get("exception_message", ""),
        "node_id": error.get("node_id") or None,
        "class_type": error.get("node_type") or None,
        "traceback": None,
    }


def _warnings(messages: str | None) -> list[object]:
    if not messages or f'"{WARNING}"' not in messages:
        return []
    return [data for type_, data in json.loads(messages) if type_ == WARNING]


def _between(begin: float | None, end: float | None) -> int | None:
    return None if begin is None or end is None else int(max(0.0, end - begin) * 1000)
