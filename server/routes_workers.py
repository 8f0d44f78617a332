"""`/api/workers`: what each worker holds and runs, and who of them takes no more jobs."""

from __future__ import annotations

from aiohttp import web

from server.backend import Holdings
from server.deps import CREW, THREADS
from server.refused import not_found
from server.threads import in_thread
from server.worker import Worker


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [
        web.get("/workers", get_workers),
        web.post("/workers/{id}/drain", post_drain),
        web.post("/workers/{id}/resume", post_resume),
    ]


async def get_workers(request: web.Request) -> web.Response:
    """Each worker: its state, the job that it runs, and what is in its memory. One where the server runs jobs itself."""
    workers = request.app[CREW].workers
    held = await in_thread(request.app[THREADS], request.app[CREW].holdings)
    return web.json_response({"workers": [_told(*pair) for pair in zip(workers, held, strict=True)]})


async def post_drain(request: web.Request) -> web.Response:
    """Have a worker take no more jobs; the one that it runs goes on to its end. Forgotten when the server ends."""
    return _drain(request, True)


async def post_resume(request: web.Request) -> web.Response:
    """Have a worker take jobs again."""
    return _drain(request, False)


def _drain(request: web.Request, draining: bool) -> web.Response:
    worker = request.app[CREW].find(request.match_info["id"])
    if worker is None:
        raise not_found("there is no such worker; GET /api/workers lists them")
    worker.drain(draining)
    return web.Response()


def _told(worker: Worker, held: Holdings) -> dict[str, object]:
    return {
        "id": worker.backend.name,
        "state": _state(worker),
        "draining": worker.draining,
        "job": None if worker.running is None else worker.running.id,
        "lost": worker.lost,
        "memory": dict(held.gauges),
        "models": dict(held.files),
        "devices": [
            {"name": it.name, "type": it.type, "index": it.index, "total": it.total, "free": it.free}
            for it in held.devices
        ],
    }


def _state(worker: Worker) -> str:
    """`starting` also while the process of a worker that was lost is begun anew."""
    if not worker.backend.is_ready:
        return "starting"
    if worker.running is not None:
        return "running"
    return "drained" if worker.draining else "paused" if worker.paused else "idle"
