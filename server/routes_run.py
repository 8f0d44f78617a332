"""Routes that put workflows into the queue, stop them, and show what became of them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from functools import partial

from aiohttp import web

from server.answers import joined, json_answer, one, send_json
from server.backend import Engine
from server.body import ids_of, read_body, read_object, whole
from server.deps import (
    CREW,
    DEPS,
    HUB,
    LARGE_BODIES,
    NUMBERS,
    READER,
    RECENT,
    REDACT,
    SETTINGS,
    STORE,
    THREADS,
    WEBHOOKS,
)
from server.reader import Reader
from server.refused import Refused
from server.store import Accepted, IdTaken, QueueFull, Store
from server.submission import Checked, Request, amended, check, read
from server.threads import in_thread

NEWEST = 200
"""Jobs of the history for who does not say how many: there are clients that ask for it before every command, as a sign of
life, however long it is."""
LARGE_BYTES = 2**20
"""Longer workflows are read one at a time: each may take hundreds of times its length in memory meanwhile."""


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [
        web.post("/prompt", post_prompt),
        web.post("/prompt/check", post_check),
        web.get("/prompt", get_prompt),
        web.get("/queue", get_queue),
        web.post("/queue", post_queue),
        web.post("/interrupt", post_interrupt),
        web.post("/free", post_free),
        web.get("/history", get_history),
        web.get("/history/{prompt_id}", get_history_entry),
        web.post("/history", post_history),
    ]


async def post_prompt(request: web.Request) -> web.StreamResponse:
    """Check a workflow and put it into the queue; answers once it is on disk."""
    app, deps = request.app, request.app[DEPS]
    body = await read_body(request, deps.limits.prompt)
    engine = await deps.backend.engine()
    number = app[NUMBERS].take()

    turn = app[LARGE_BODIES] if len(body) > LARGE_BYTES else contextlib.nullcontext()
    async with turn:
        try:
            found, accepted = await enqueue(app, partial(_checked, body, number, engine, app))
        except IdTaken:
            raise Refused(409, "prompt_id_taken", "that prompt_id belongs to another workflow") from None
    if abs(found.submission.number) != number:
        app[NUMBERS].give_back(number)
    named = f'"prompt_id": {json.dumps(found.submission.id)}, "number": {json.dumps(accepted.number)}'
    lost = "" if found.warnings == "[]" else f', "warnings": {found.warnings}'
    return json_answer(f'{{{named}, "node_errors": {found.node_errors}{lost}}}')


async def enqueue(app: web.Application, checked: Callable[[], Checked]) -> tuple[Checked, Accepted]:
    """Put a job on disk and let it be run. checked: gives the job, and is called in a thread.

    Raises what that raises, IdTaken, and Refused if too many wait.
    """
    bound = app[DEPS].limits.waiting
    try:
        found, accepted = await app[STORE].after(
            app[THREADS], checked, lambda store, found: store.accept(found.submission, bound)
        )
    except QueueFull:
        raise queue_full(bound) from None
    if not accepted.repeated:
        app[RECENT].keep(found.submission, found.given)
        app[HUB].status(accepted.remaining)
        if app[DEPS].workers:  # the only worker is given the job by the commit that accepts it
            app[CREW].wake()
    return found, accepted


async def post_check(request: web.Request) -> web.StreamResponse:
    """Say what is wrong with a workflow, in the words of `POST /prompt`, and leave the queue as it is.

    `suggestions` are values that would suit its model better than those it has.
    """
    deps = request.app[DEPS]
    body = await read_body(request, deps.limits.prompt)
    engine = await deps.backend.engine()
    return await send_json(request, one(await in_thread(request.app[THREADS], _faults, body, engine, request.app)))


async def get_prompt(request: web.Request) -> web.Response:
    """How many jobs wait or run."""
    remaining = await request.app[READER](Reader.remaining)
    return web.json_response({"exec_info": {"queue_remaining": remaining}})


async def get_queue(request: web.Request) -> web.StreamResponse:
    """The running and the waiting jobs, in the order in which they will run."""
    reader = request.app[READER]
    running, waiting = await reader(Reader.queue)

    async def texts() -> AsyncIterator[str]:
        for head, jobs in (('{"queue_running": [', running), ('], "queue_pending": [', waiting)):
            yield head
            async for text in joined(lambda rest: reader(Reader.items, rest), jobs):
                yield text
        yield "]}"

    return await send_json(request, texts())


async def post_queue(request: web.Request) -> web.Response:
    """Take jobs out of the queue: `{"clear": true}` or `{"delete": [id, …]}`."""
    wanted = await read_object(request)
    removed = 0
    if wanted.get("clear") is True:
        removed = await request.app[STORE](Store.cancel_pending, None)
    if wanted.get("delete") is not None:
        removed += await request.app[STORE](Store.cancel_pending, ids_of(wanted["delete"]))
    if removed:
        await announce(request.app)
    return web.Response()


async def post_interrupt(request: web.Request) -> web.Response:
    """Stop the running job; with `prompt_id` only if it is that one."""
    wanted = await read_object(request)
    prompt_id = wanted.get("prompt_id")
    request.app[CREW].interrupt(prompt_id if isinstance(prompt_id, str) and prompt_id else None)
    return web.Response()


async def post_free(request: web.Request) -> web.Response:
    """Let go of weights (`unload_models`), and of results as well (`free_memory`), when no job runs."""
    wanted = await read_object(request)
    request.app[CREW].free(wanted.get("unload_models") is True, wanted.get("free_memory") is True)
    return web.Response()


async def get_history(request: web.Request) -> web.StreamResponse:
    """Jobs that have ended, oldest first: the newest `max_items` (200, or -1 for all), or that many from `offset`."""
    offset = whole(request, "offset", None, low=0)
    limit = whole(request, "max_items", NEWEST if offset is None else None, low=0)
    reader = request.app[READER]
    ended = await reader(Reader.history, limit, offset)

    async def texts() -> AsyncIterator[str]:
        yield "{"
        async for text in joined(lambda rest: reader(Reader.entries, rest), ended):
            yield text
        yield "}"

    return await send_json(request, texts())


async def get_history_entry(request: web.Request) -> web.StreamResponse:
    """One job that has ended; an empty object if there is none."""
    entry = await request.app[READER](Reader.entry, request.match_info["prompt_id"])
    return await send_json(request, one(f"{{{entry or ''}}}"))


async def post_history(request: web.Request) -> web.Response:
    """Forget jobs that have ended: `{"clear": true}` or `{"delete": [id, …]}`."""
    wanted = await read_object(request)
    if wanted.get("clear") is True:
        await request.app[STORE](Store.forget, None)
    if wanted.get("delete") is not None:
        await request.app[STORE](Store.forget, ids_of(wanted["delete"]))
    return web.Response()


def queue_full(bound: int) -> Refused:
    """The answer when `bound` jobs wait."""
    return Refused(
        429, "queue_full", f"{bound} jobs wait already; try again when some have run", headers={"Retry-After": "5"}
    )


async def announce(app: web.Application) -> None:
    """Tell all sockets how long the queue is."""
    app[HUB].status(await app[READER](Reader.remaining))


def _checked(body: bytes, number: int, engine: Engine, app: web.Application) -> Checked:
    deps = app[DEPS]
    asked = _read(body, engine, deps.limits.values).labelled(app[SETTINGS].all())
    app[WEBHOOKS].check(asked.extra)
    return check(asked, number, engine, deps.folders, deps.limits.nodes, app[REDACT])


def _read(body: bytes, engine: Engine, most_values: int) -> Request:
    """The request, as packs want it. Raises Refused."""
    return amended(read(body, most_values), body, engine, most_values)


def _faults(body: bytes, engine: Engine, app: web.Application) -> str:
    deps = app[DEPS]
    asked = _read(body, engine, deps.limits.values)
    try:
        checked = check(asked, 0, engine, deps.folders, deps.limits.nodes, app[REDACT])
    except Refused as refused:
        return refused.text
    suggestions = json.dumps([suggestion.as_json() for suggestion in engine.suggests(checked.graph)])
    return f'{{"error": null, "node_errors": {checked.node_errors}, "suggestions": {suggestions}}}'
