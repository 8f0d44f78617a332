"""Comfy API v2: `/api/v2/jobs/{id}/events`, a job's progress as a stream of server-sent events."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiohttp import web

from server.api_v2 import origin_of
from server.deps import HUB, STREAMS
from server.desk import StoreUnavailable
from server.refused import Refused, not_found
from server.routes_v2_jobs import look

LOOK_SECONDS = 0.25
"""How often a stream looks what is new; progress is told at most every second time."""
ALIVE_SECONDS = 15.0
MOST = 100
"""Streams that are open at once."""
_ENDED = frozenset({"succeeded", "failed", "canceled", "expired"})


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [web.get("/v2/jobs/{id}/events", get_events)]


async def get_events(request: web.Request) -> web.StreamResponse:
    """The status, progress, previews and outputs of a job from now on, until it has ended."""
    app, id_ = request.app, request.match_info["id"]
    first = await look(app, id_, origin_of(request))
    if first is None:
        raise not_found("there is no such job")
    if len(app[STREAMS]) >= MOST:
        raise Refused(429, "too_many_streams", f"{MOST} streams are open", headers={"Retry-After": "5"})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    if request.method == "HEAD":
        return response
    stream = object()
    app[STREAMS].add(stream)
    try:
        with app[HUB].previewing(id_):
            await response.prepare(request)
            try:
                async for frame in _frames(request, first):
                    await response.write(frame)
            except (Refused, StoreUnavailable) as error:  # too late for a status: the client asks again
                raise ConnectionError("a stream broke off") from error
            await response.write_eof()
    finally:
        app[STREAMS].discard(stream)
    return response


async def _frames(request: web.Request, job: Mapping[str, Any]) -> AsyncIterator[bytes]:
    """Whatever has changed since the last look. Of outputs, those that there were before are in the job itself."""
    app, id_, origin = request.app, request.match_info["id"], origin_of(request)
    status: object = None
    progress: object = None
    preview: object = None
    known = {output["id"] for output in job["outputs"]}
    silent = turn = 0
    while True:
        frames = []
        for output in job["outputs"]:
            if output["id"] not in known:
                known.add(output["id"])
                frames.append(_frame("output", output))
        if job["progress"] is not None and job["progress"] != progress and (turn % 2 == 0 or job["status"] in _ENDED):
            progress = job["progress"]
            frames.append(_frame("progress", job["progress"]))
        shown = app[HUB].last_preview(id_)
        if shown is not None and shown is not preview and job["status"] not in _ENDED:
            preview = shown
            node_id, content = shown
            picture = {
                "node_id": node_id,
                "content_type": "image/jpeg",
                "data_base64": base64.b64encode(content).decode(),
            }
            frames.append(_frame("preview", picture))
        now = (job["status"], job["queue_position"])
        if now != status:
            status = now
            told = _frame("status", {"status": job["status"], "queue_position": job["queue_position"]})
            frames = [*frames, told] if job["status"] in _ENDED else [told, *frames]
        silent = 0 if frames else silent + 1
        if silent * LOOK_SECONDS >= ALIVE_SECONDS:
            frames, silent = [b": alive\n\n"], 0
        for frame in frames:
            yield frame
        if job["status"] in _ENDED:
            return
        await asyncio.sleep(LOOK_SECONDS)
        turn += 1
        found = await look(app, id_, origin)
        if found is None:  # removed from the history
            yield _frame("status", {"status": "expired", "queue_position": None})
            return
        job = found


def _frame(event: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {event}\ndata: {json.dumps(data)}\n\n".encode()
