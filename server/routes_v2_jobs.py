"""Comfy API v2: `/api/v2/jobs`, on the same queue as all other jobs."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from aiohttp import web

from graph.document import json_object
from graph.patient_json import dumps, loads
from server.answers import one, send_json
from server.api_v2 import EXTENSION, STATUS, job_json, made_id, moment, origin_of, outputs_of
from server.asset_references import asset_ids, missing, with_names
from server.assets import Asset, Assets
from server.body import decoder, read_body, refusing_bad_json
from server.deps import ASSETS, BLOBS, CREW, DEPS, EXPLAINING, HUB, LEDGER, NUMBERS, READER, REDACT, THREADS, WEBHOOKS
from server.job import ENDED, State
from server.operations import check_body
from server.reader import Reader, Search
from server.refused import Refused, bad_request, not_found
from server.routes_jobs import cancel
from server.routes_run import enqueue
from server.routes_v2_assets import reused
from server.store import IdTaken
from server.submission import Checked, Request, amended, check
from server.threads import in_thread

KEY_SECONDS = 86_400.0
"""How long an Idempotency-Key is remembered."""
_PAGE = 50


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [
        web.post("/v2/jobs", post_job),
        web.get("/v2/jobs", get_jobs),
        web.get("/v2/jobs/{id}", get_job),
        web.get("/v2/jobs/{id}/workflow", get_workflow),
        web.post("/v2/jobs/{id}/cancel", post_cancel),
    ]


class Sent(NamedTuple):
    """The body of a submission."""

    workflow: object
    metadata: Mapping[str, str]
    webhook: str | None


async def post_job(request: web.Request) -> web.StreamResponse:
    """Check a workflow and put it into the queue; 201 once it is on disk."""
    app = request.app
    body = await read_body(request, app[DEPS].limits.prompt)
    sent = await in_thread(app[THREADS], _sent, body, app[DEPS].limits.values, request)
    ids = asset_ids(sent.workflow)
    extra: dict[str, object] = {"metadata": dict(sent.metadata), "assets": ids}
    if sent.webhook is not None:
        extra["webhook"] = sent.webhook
    app[WEBHOOKS].check(extra)
    engine = await app[DEPS].backend.engine()
    workflow = with_names(sent.workflow, await _names(app, ids))
    id_, number = await _id(request), app[NUMBERS].take()
    asked = Request(dumps(workflow), workflow, id_, None, extra, None, False, 0, None)
    limits, folders = app[DEPS].limits, app[DEPS].folders

    def checked() -> Checked:
        try:
            wanted = replace(amended(asked, asked.body, engine, limits.values), id=id_)
            return check(wanted, number, engine, folders, limits.nodes, app[REDACT])
        except Refused as refused:
            raise _invalid(refused) from None

    try:
        _, accepted = await enqueue(app, checked)
    except IdTaken:
        raise reused() from None
    if accepted.repeated:
        raise reused()
    return await answer(request, id_, 201)


async def get_jobs(request: web.Request) -> web.Response:
    """A page of jobs, newest first: `limit`, `cursor`, and `metadata[KEY]=VALUE` for those that have this label."""
    labels = {
        key[9:-1]: value for key, value in request.query.items() if key.startswith("metadata[") and key[-1] == "]"
    }
    limit, cursor = int(request.query.get("limit", _PAGE)), request.query.get("cursor", "0")
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 12:
        raise Refused(400, "invalid_cursor", "that cursor was not given out here")
    search = Search(labels=tuple(labels.items()), limit=limit, offset=int(cursor))
    rows, total = await request.app[READER](Reader.search, search)
    page: dict[str, object] = {"jobs": [_listed(row) for row in rows]}
    if search.offset + len(rows) < total:
        page["next_cursor"] = str(search.offset + len(rows))
    return web.json_response(page)


async def get_job(request: web.Request) -> web.StreamResponse:
    """A job; of a running one what it has made so far."""
    return await answer(request, request.match_info["id"])


async def get_workflow(request: web.Request) -> web.StreamResponse:
    """The graph as it runs, or the editor's file where the job came with one."""
    row = await request.app[READER](Reader.record, request.match_info["id"])
    if row is None:
        raise not_found("there is no such job")
    match loads(row["extra"]):
        case {"extra_pnginfo": {"workflow": dict(drawn)}}:
            return await send_json(request, one(f'{{"workflow": {dumps(drawn)}, "format": "save"}}'))
        case _:
            return await send_json(request, one(f'{{"workflow": {row["prompt"]}, "format": "api"}}'))


async def post_cancel(request: web.Request) -> web.StreamResponse:
    """Stop a job, if it has not ended; answers what it is now."""
    id_ = request.match_info["id"]
    await cancel(request.app, [id_])
    return await answer(request, id_)


async def answer(request: web.Request, id_: str, status: int = 200) -> web.StreamResponse:
    """A job as this API shows it. Raises Refused."""
    shown = await look(request.app, id_, origin_of(request))
    if shown is None:
        raise not_found("there is no such job")
    return await send_json(request, one(dumps(shown)), status)


async def look(app: web.Application, id_: str, origin: str) -> Mapping[str, Any] | None:
    """A job as it is now; None if there is none."""
    row = await app[READER](Reader.record, id_)
    if row is None:
        return None
    live = app[HUB].transcript(id_) if row["state"] == State.RUNNING else None
    position = await app[READER](Reader.position, id_) if row["state"] == State.PENDING else None
    outputs = await committed(app, id_, live.outputs if live else json.loads(row["outputs"] or "{}"))
    stopped = live is not None and live.state is State.CANCELLED  # and its end is being written down
    stopping, days = stopped or app[CREW].is_stopping(id_), app[DEPS].limits.history_days
    explanation = None
    if row["state"] in ENDED:
        await app[EXPLAINING].explained(id_)
        explanation = await in_thread(app[THREADS], app[LEDGER].explanation, id_)
    told = None if live is None else live.snapshot()
    return job_json(row, told, position, outputs, origin, days, stopping, explanation)


async def committed(app: web.Application, job: str, outputs: Mapping[str, Any]) -> list[Asset]:
    """What a job has made, each as an asset."""
    found = outputs_of(job, outputs, time.time())
    if not found:
        return []
    sized = await in_thread(app[THREADS], lambda: [app[BLOBS].sized(asset) for asset in found])
    return await app[ASSETS](Assets.made_by, job, sized)


def _sent(body: bytes, most_values: int, request: web.Request) -> Sent:
    if sum(map(body.count, (b",", b"[", b"{"))) > most_values:
        raise Refused(413, "too_many_values", f"the request holds more than {most_values} values")
    with refusing_bad_json():
        value = loads(body.decode("utf-8-sig"), decoder(json_object))
    try:
        check_body(request, value)
    except Refused as refused:  # what stands beside the workflow is the request's fault, all else the workflow's
        if refused.message.startswith(("extra_data", "metadata", EXTENSION)):
            raise
        raise Refused(422, "invalid_workflow", refused.message) from None
    assert isinstance(value, dict)
    workflow = value["workflow"]
    if isinstance(workflow.get("nodes"), list):
        message = "that is a file of the editor; use its Export (API)"
        raise Refused(422, "workflow_format_ui", message)
    return Sent(workflow, value.get("metadata") or {}, (value.get(EXTENSION) or {}).get("webhook"))


async def _names(app: web.Application, ids: list[str]) -> dict[str, str]:
    """What a workflow writes for each asset. Raises Refused."""
    found: dict[str, Asset] = await app[ASSETS](Assets.several, ids) if ids else {}
    for id_ in ids:
        asset = found.get(id_)
        if asset is None or (asset.expires is not None and asset.expires < time.time()):
            raise missing(id_)
    return {id_: found[id_].content if found[id_].content is not None else found[id_].as_input for id_ in ids}  # type: ignore[misc]


async def _id(request: web.Request) -> str:
    """A new id, or the one that the Idempotency-Key gives: two jobs of one key would have the same. Raises Refused."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return str(uuid.uuid4())
    if not 0 < len(key) <= 255 or not key.isascii() or not key.isprintable():
        raise bad_request("Idempotency-Key: expected 1 to 255 printable ASCII characters")
    generation = 0
    while True:
        id_ = made_id("job", key, str(generation))
        row = await request.app[READER](Reader.record, id_)
        if row is None:
            return id_
        if time.time() - row["created"] < KEY_SECONDS:
            raise reused()
        generation += 1


def _invalid(refused: Refused) -> Refused:
    """What is wrong with a workflow, by node and field."""
    if refused.status != 400:
        return refused
    nodes = refused.body.get("node_errors") or {}
    assert isinstance(nodes, Mapping)
    faults = {
        node_id: [
            {"field": error["extra_info"].get("input_name", ""), "reason": error["type"], "message": error["details"]}
            for error in entry["errors"]
        ]
        for node_id, entry in nodes.items()
    }
    first = next((f"node {node_id}: {found[0]['message']}" for node_id, found in faults.items() if found), "")
    return Refused(422, "invalid_workflow", first or refused.message, details={"node_errors": faults})


def _listed(row: Mapping[str, Any]) -> dict[str, object]:
    return {
        "id": row["id"],
        "status": STATUS[row["state"]],
        "create_time": moment(row["created"]),
        "update_time": moment(row["finished"] or row["started"] or row["created"]),
        "metadata": json.loads(row["about"]).get("labels", {}),
    }
