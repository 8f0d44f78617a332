"""`/api/jobs`: every job as a record, and the queue's order in the user's hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from aiohttp import web

from graph.patient_json import dumps
from server.answers import one, send_json
from server.body import ids_of, read_object, seconds, whole
from server.crew import PAUSED
from server.deps import CREW, DEPS, EXPLAINING, HUB, LEDGER, NUMBERS, READER, SEARCHES, STORE, THREADS
from server.job import ENDED, State
from server.outputs import files_of, previews_of
from server.reader import Reader, Search
from server.refused import Refused, not_found
from server.routes_run import announce, queue_full
from server.store import NotEnded, QueueFull, Store
from server.threads import in_thread
from server.transcript import WARNING, Transcript

_MOST = 1000
_LONGEST = 400  # characters that are searched for


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [
        web.get("/jobs", get_jobs),
        web.get("/jobs/{id}", get_job),
        web.post("/jobs/cancel", post_cancel_several),
        web.get("/jobs/{id}/explain", get_explanation),
        web.post("/jobs/{id}/cancel", post_cancel),
        web.post("/jobs/{id}/retry", post_retry),
        web.post("/jobs/{id}/priority", post_priority),
        web.post("/jobs/{id}/move", post_move),
        web.post("/queue/pause", post_pause),
        web.post("/queue/resume", post_resume),
    ]


async def get_jobs(request: web.Request) -> web.StreamResponse:
    """A page of jobs, newest first: `status`, `type`, `text`, `after`, `before`, `sort_order`, `limit`, `offset`.

    `type` is of a node; `text` are words that stand in the prompt, in names of files or in the error.
    """
    search = Search(
        states=_states(request.query.get("status", "")),
        type=request.query.get("type"),
        words=tuple(request.query.get("text", "")[:_LONGEST].split()),
        after=seconds(request, "after"),
        before=seconds(request, "before"),
        newest_first=request.query.get("sort_order", "desc") != "asc",
        limit=min(whole(request, "limit", 100, low=1) or 1, _MOST),
        offset=whole(request, "offset", 0) or 0,
    )
    rows, total = await request.app[SEARCHES if search.words else READER](Reader.search, search)
    page = {
        "offset": search.offset,
        "limit": search.limit,
        "total": total,
        "has_more": search.offset + len(rows) < total,
    }
    lives = [_live(request, row) for row in rows]
    jobs = await in_thread(
        request.app[THREADS], lambda: [dumps(_summary(*pair)) for pair in zip(rows, lives, strict=True)]
    )
    rest = f'"pagination": {dumps(page)}, "paused": {dumps(request.app[CREW].paused)}'
    return await send_json(request, one(f'{{"jobs": [{", ".join(jobs)}], {rest}}}'))


async def get_job(request: web.Request) -> web.StreamResponse:
    """Everything about one job; of a running one what it has made so far."""
    row = await request.app[READER](Reader.record, request.match_info["id"])
    if row is None:
        raise not_found("there is no such job")
    return await send_json(request, one(await in_thread(request.app[THREADS], _record, row, _live(request, row))))


async def get_explanation(request: web.Request) -> web.StreamResponse:
    """What each node of a job that has ended did: whether it ran, why, how long it took and how much memory it needed."""
    id_ = request.match_info["id"]
    row = await request.app[READER](Reader.record, id_)
    if row is None:
        raise not_found("there is no such job")
    if row["state"] not in ENDED:
        raise Refused(409, "not_ended", "the job has not ended yet")
    await request.app[EXPLAINING].explained(id_)
    nodes = await in_thread(request.app[THREADS], request.app[LEDGER].explanation, id_)
    head = f'"id": {dumps(id_)}, "status": {dumps(row["state"])}'
    return await send_json(request, one(f'{{{head}, "nodes": {nodes or "[]"}}}'))


async def post_cancel(request: web.Request) -> web.Response:
    """Take a waiting job out of the queue, or stop a running one; `cancelled` says whether it did either."""
    return web.json_response({"cancelled": await cancel(request.app, [request.match_info["id"]])})


async def post_cancel_several(request: web.Request) -> web.Response:
    """The same for all of `job_ids`; `cancelled` says whether any of them waited or ran."""
    ids = ids_of((await read_object(request))["job_ids"])
    return web.json_response({"cancelled": await cancel(request.app, ids)})


async def cancel(app: web.Application, ids: list[str]) -> bool:
    """Whether any of the jobs waited or ran; those do neither any more."""
    waited = await app[STORE](Store.cancel_pending, ids)
    if waited:
        await announce(app)
    return any([app[CREW].interrupt(id_) for id_ in ids]) or waited > 0  # noqa: C419  all of them are stopped


async def post_retry(request: web.Request) -> web.Response:
    """Run a job again that failed or was cancelled: it keeps its id, and goes to the end of the queue."""
    app, id_ = request.app, request.match_info["id"]
    number, bound = app[NUMBERS].take(), app[DEPS].limits.waiting
    try:
        known = await app[STORE](Store.retry, id_, number, bound)
    except NotEnded:
        raise Refused(409, "not_ended", "only a job that failed or was cancelled can be run again") from None
    except QueueFull:
        raise queue_full(bound) from None
    if not known:
        raise not_found("there is no such job")
    await announce(app)
    app[CREW].wake()
    return web.json_response({"prompt_id": id_, "number": number, "node_errors": {}})


async def post_priority(request: web.Request) -> web.Response:
    """Have a waiting job run before all of lower `priority`."""
    priority = (await read_object(request))["priority"]
    assert isinstance(priority, int | float)
    if not await request.app[STORE](Store.set_priority, request.match_info["id"], int(priority)):
        raise not_found("that job does not wait")
    return web.Response()


async def post_move(request: web.Request) -> web.Response:
    """Have a waiting job be the one at `place`, counted from 0."""
    place = (await read_object(request))["place"]
    assert isinstance(place, int | float)
    if not await request.app[STORE](Store.move, request.match_info["id"], int(place)):
        raise not_found("that job does not wait")
    return web.Response()


async def post_pause(request: web.Request) -> web.Response:
    """Start no more jobs, not even after a restart; the running one goes on."""
    return await _pause(request, True)


async def post_resume(request: web.Request) -> web.Response:
    """Go on with the queue."""
    return await _pause(request, False)


async def _pause(request: web.Request, paused: bool) -> web.Response:
    await request.app[STORE](Store.set, PAUSED, "true" if paused else "false")
    request.app[CREW].pause(paused)
    return web.Response()


def _states(text: str) -> tuple[State, ...]:
    try:
        return tuple(State(name) for name in text.split(",") if name)
    except ValueError:
        raise Refused(400, "bad_request", f"status: expected some of {', '.join(State)}") from None


def _live(request: web.Request, row: Mapping[str, Any]) -> Transcript | None:
    """What a running job has told so far."""
    live = request.app[HUB].transcript(row["id"]) if row["state"] == State.RUNNING else None
    return None if live is None else live.snapshot()


def _record(row: Mapping[str, Any], live: Transcript | None) -> str:
    """What the database keeps as JSON goes out as it is: it may be long."""
    told = row if live is None else asdict(live.outcome())
    summary = dumps(_summary(row, live) | {"client_id": row["client_id"]})
    parts = {
        "outputs": told["outputs"] or "{}",
        "nodes": told["nodes"] or "{}",
        "execution_status": f'{{"messages": {told["messages"] or "[]"}}}',
        "execution_meta": told["meta"] or "{}",
        "warnings": dumps(_warnings(told["messages"] or "[]")),
        "sweep": dumps(_sweep(told["messages"] or "[]")),
        "targets": row["targets"],
        "workflow": f'{{"prompt": {row["prompt"]}, "extra_data": {row["extra"]}}}',
    }
    return summary[:-1] + "".join(f', "{name}": {text}' for name, text in parts.items()) + "}"


def _warnings(messages: str) -> list[object]:
    """What nodes left out, from all that was told."""
    if f'"{WARNING}"' not in messages:
        return []
    return [data for type_, data in json.loads(messages) if type_ == WARNING]


def _sweep(messages: str) -> object:
    """The axes of a swept job, from what was told when it began; null for others."""
    if '"sweep"' not in messages:
        return None
    return next((data.get("sweep") for type_, data in json.loads(messages) if type_ == "execution_start"), None)


def _summary(row: Mapping[str, Any], live: Transcript | None) -> dict[str, object]:
    outputs: Mapping[str, Any] = live.outputs if live else _json(row["outputs"], {})
    shown, previewable = files_of(outputs), previews_of(outputs)
    return {
        "id": row["id"],
        "status": row["state"],
        "number": row["number"],
        "priority": row["priority"],
        "attempts": row["attempts"],
        "create_time": _milliseconds(row["created"]),
        "execution_start_time": _milliseconds(row["started"]),
        "execution_end_time": _milliseconds(row["finished"]),
        "execution_error": _json(row["error"], None),
        "outputs_count": len(shown),
        "previewable_outputs_count": len(previewable),
        "preview_output": previewable[0] if previewable else None,
        "workflow_id": _json(row["about"], {}).get("workflow_id"),
        "about": _json(row["about"], {}),
    }


def _milliseconds(when: float | None) -> int | None:
    return None if when is None else int(when * 1000)


def _json(text: str | None, otherwise: Any) -> Any:
    return otherwise if text is None else json.loads(text)
