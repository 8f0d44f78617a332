"""Routes that put workflows into the queue, stop them, and show what became of them."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from server.backend import Engine
from server.body import ids_of, read_body, read_object, whole
from server.deps import DEPS, HUB, NUMBERS, READER, REDACT, STORE, THREADS, WEBHOOKS, WORKER
from server.refused import Refused
from server.store import IdTaken, QueueFull, Store
from server.submission import Checked, check, read
from server.threads import in_thread


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [
        web.post("/prompt", post_prompt),
        web.get("/prompt", get_prompt),
        web.get("/queue", get_queue),
        web.post("/queue", post_queue),
        web.post("/interrupt", post_interrupt),
        web.post("/free", post_free),
        web.get("/history", get_history),
        web.get("/history/{prompt_id}", get_history_entry),
        web.post("/history", post_history),
    ]


async def post_prompt(request: web.Request) -> web.Response:
    """Check a workflow and put it into the queue; answers once it is on disk."""
    deps = request.app[DEPS]
    body = await read_body(request, deps.limits.prompt)
    engine = await deps.backend.engine()
    number = request.app[NUMBERS].take()
    checked = await in_thread(request.app[THREADS], _checked, body, number, engine, request.app)
    job = checked.submission
    if abs(job.number) != number:
        request.app[NUMBERS].give_back(number)
    try:
        accepted = await request.app[STORE](Store.accept, job, deps.limits.waiting)
    except QueueFull:
        text = f"{deps.limits.waiting} jobs wait already; try again when some have run"
        raise Refused(429, "queue_full", text) from None
    except IdTaken:
        raise Refused(409, "prompt_id_taken", "that prompt_id belongs to another workflow") from None
    if not accepted.repeated:
        await announce(request.app)
        request.app[WORKER].wake()
    answer = {"prompt_id": job.id, "number": accepted.number, "node_errors": checked.node_errors}
    return web.json_response(answer)


async def get_prompt(request: web.Request) -> web.Response:
    """How many jobs wait or run."""
    remaining = await request.app[READER](Store.remaining)
    return web.json_response({"exec_info": {"queue_remaining": remaining}})


async def get_queue(request: web.Request) -> web.Response:
    """The running and the waiting jobs, in the order in which they will run."""
    running, waiting = await request.app[READER](Store.queue)
    return _json_text(f'{{"queue_running": [{", ".join(running)}], "queue_pending": [{", ".join(waiting)}]}}')


async def post_queue(request: web.Request) -> web.Response:
    """Take jobs out of the queue: `{"clear": true}` or `{"delete": [id, …]}`."""
    wanted = await read_object(request)
    removed = 0
    if wanted.get("clear") is True:
        removed = await request.app[STORE](Store.cancel_pending, None)
    if "delete" in wanted:
        removed += await request.app[STORE](Store.cancel_pending, ids_of(wanted["delete"]))
    if removed:
        await announce(request.app)
    return web.Response()


async def post_interrupt(request: web.Request) -> web.Response:
    """Stop the running job; with `prompt_id` only if it is that one."""
    wanted = await read_object(request)
    prompt_id = wanted.get("prompt_id")
    request.app[WORKER].interrupt(prompt_id if isinstance(prompt_id, str) and prompt_id else None)
    return web.Response()


async def post_free(request: web.Request) -> web.Response:
    """Let go of weights (`unload_models`), and of results as well (`free_memory`), when no job runs."""
    wanted = await read_object(request)
    request.app[WORKER].free(wanted.get("unload_models") is True, wanted.get("free_memory") is True)
    return web.Response()


async def get_history(request: web.Request) -> web.Response:
    """Jobs that have ended, oldest first: the newest `max_items`, or that many from `offset`."""
    limit, offset = whole(request, "max_items", None, low=0), whole(request, "offset", None, low=0)
    return _entries(await request.app[READER](Store.history, limit, offset))


async def get_history_entry(request: web.Request) -> web.Response:
    """One job that has ended; an empty object if there is none."""
    entry = await request.app[READER](Store.entry, request.match_info["prompt_id"])
    return _entries([] if entry is None else [entry])


async def post_history(request: web.Request) -> web.Response:
    """Forget jobs that have ended: `{"clear": true}` or `{"delete": [id, …]}`."""
    wanted = await read_object(request)
    if wanted.get("clear") is True:
        await request.app[STORE](Store.forget, None)
    if "delete" in wanted:
        await request.app[STORE](Store.forget, ids_of(wanted["delete"]))
    return web.Response()


async def announce(app: web.Application) -> None:
    """Tell all sockets how long the queue is."""
    app[HUB].status(await app[STORE](Store.remaining))


def _checked(body: bytes, number: int, engine: Engine, app: web.Application) -> Checked:
    deps, asked = app[DEPS], read(body)
    app[WEBHOOKS].check(asked.extra)
    return check(asked, number, engine, deps.folders, deps.limits.nodes, app[REDACT])


def _entries(entries: Iterable[str]) -> web.Response:
    return _json_text("{" + ", ".join(entries) + "}")


def _json_text(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/json")
