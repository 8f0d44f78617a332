"""The web application: everything it holds, in the order in which it comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aiohttp import web

from server import (
    routes_docs,
    routes_examples,
    routes_files,
    routes_info,
    routes_jobs,
    routes_live,
    routes_run,
    routes_userdata,
)
from server.backend import Backend
from server.deps import (
    ALONE,
    DEPS,
    GUESSES,
    HUB,
    LARGE_BODIES,
    METRICS,
    NUMBERS,
    PATIENCE,
    READER,
    RECENT,
    REDACT,
    SEARCHES,
    STORE,
    THREADS,
    WEBHOOKS,
    WORKER,
    Deps,
)
from server.desk import Desk
from server.digests import StoredDigests
from server.faults import Handler, answer_faults
from server.guesses import Guesses
from server.hub import Hub
from server.job import Numbers
from server.lock import Lock
from server.metrics import Metrics
from server.openapi import describe_routes
from server.patience import Patience
from server.reader import Reader
from server.recent import Recent
from server.redact import Redactor
from server.refused import Refused
from server.routes_docs import DOCUMENT
from server.security import COOKIE, OTHERS_PAGES, PAGES
from server.store import Store
from server.webhooks import Webhooks
from server.worker import PAUSED, Worker

CLOSING_SECONDS = 5.0
SOURCE = Path(__file__).resolve().parent.parent

_logger = logging.getLogger(__name__)


def create_app(deps: Deps) -> web.Application:
    """The server over `deps`; it opens nothing before it starts. Start `deps.backend` once the port is open.

    Starting raises Held where another server has the database, Newer for a database of a later version.
    """
    app = web.Application(middlewares=[answer_faults, _guard], client_max_size=deps.limits.upload)
    app[DEPS] = deps
    app[METRICS] = Metrics()
    app[LARGE_BODIES] = asyncio.Lock()
    app[RECENT] = Recent()
    app[GUESSES] = Guesses()
    app[PATIENCE] = Patience(deps.limits.patience)
    app[REDACT] = _redactor(deps)
    app.cleanup_ctx.extend([_with_threads, _with_store, _with_hub, _with_webhooks, _with_worker])
    app.on_response_prepare.append(_add_headers)
    app.on_shutdown.append(_say_goodbye)
    app[DOCUMENT] = describe_routes(_routes(), deps.version)
    for route in _routes():
        for path in (route.path, f"/api{route.path}"):
            app.router.add_route(route.method, path, route.handler)
            if route.method == "GET" and route.path != "/ws":
                app.router.add_route("HEAD", path, route.handler)
    _refuse_reading(app, _routes())
    _serve_front_end(app, deps.front_end)
    return app


def _routes() -> Iterable[web.RouteDef]:
    for module in (
        routes_run,
        routes_jobs,
        routes_files,
        routes_info,
        routes_examples,
        routes_userdata,
        routes_live,
        routes_docs,
    ):
        yield from module.routes()


def _refuse_reading(app: web.Application, routes: Iterable[web.RouteDef]) -> None:
    """GET on a path that only takes something is 405; the editor's files, which lie below `/`, would make it 404."""
    methods: dict[str, set[str]] = {}
    for route in routes:
        methods.setdefault(route.path, set()).add(route.method)
    for path, allowed in methods.items():
        if "GET" not in allowed:
            for place in (path, f"/api{path}"):
                for method in ("GET", "HEAD"):
                    app.router.add_route(method, place, _only(frozenset(allowed)))


def _only(allowed: frozenset[str]) -> Handler:
    async def refuse(request: web.Request) -> web.StreamResponse:
        raise web.HTTPMethodNotAllowed(request.method, allowed)

    return refuse


def _redactor(deps: Deps) -> Redactor:
    folders = deps.folders
    places = {root: name for name, folder in folders.folders.items() for root in folder.roots}
    places |= {folders.input_dir: "input", folders.output_dir: "output", folders.temp_dir: "temp"}
    return Redactor(places | {folders.base: "", SOURCE: "", Path.home(): "~"})


async def _with_threads(app: web.Application) -> AsyncIterator[None]:
    app[THREADS] = ThreadPoolExecutor(4, thread_name_prefix="server")
    app[ALONE] = ThreadPoolExecutor(1, thread_name_prefix="large")
    yield
    app[ALONE].shutdown(cancel_futures=True)
    app[THREADS].shutdown(cancel_futures=True)


async def _with_store(app: web.Application) -> AsyncIterator[None]:
    for name in ("workflows", "subgraphs"):  # the front end lists them before it ever writes there
        (app[DEPS].folders.base / "user" / "default" / name).mkdir(parents=True, exist_ok=True)
    with Lock(app[DEPS].database):
        app[STORE] = Desk(Store, app[DEPS].database)
        app[READER] = Desk(Reader, app[DEPS].database)
        app[SEARCHES] = Desk(Reader, app[DEPS].database)
        again, failed = await app[STORE](Store.recover)
        if again or failed:
            _logger.warning("after a crash: %d jobs run again, %d have failed", again, failed)
        app[NUMBERS] = Numbers(await app[STORE](Store.next_number))
        digests = StoredDigests(app[DEPS].database)
        app[DEPS].folders.identity.keep_in(digests)
        yield
        digests.close()
        app[SEARCHES].close()
        app[READER].close()
        app[STORE].close()


async def _with_hub(app: web.Application) -> AsyncIterator[None]:
    with ThreadPoolExecutor(1, thread_name_prefix="previews") as pool:
        app[HUB] = Hub(pool, app[DEPS].previews)
        app[HUB].status(await app[READER](Reader.remaining))
        yield


async def _with_webhooks(app: web.Application) -> AsyncIterator[None]:
    app[WEBHOOKS] = Webhooks(app[DEPS].webhook_hosts, app[STORE])
    reporting = asyncio.create_task(app[WEBHOOKS].serve())
    yield
    reporting.cancel()
    await asyncio.gather(reporting, return_exceptions=True)


async def _with_worker(app: web.Application) -> AsyncIterator[None]:
    deps = app[DEPS]
    limits = deps.limits
    pruning: set[asyncio.Task[int]] = set()

    def ended() -> None:
        app[WEBHOOKS].wake()
        task = asyncio.create_task(app[STORE](Store.prune, limits.history, limits.history_days))
        pruning.add(task)
        task.add_done_callback(pruning.discard)

    worker = app[WORKER] = Worker(
        app[STORE], app[RECENT], app[HUB], deps.backend, app[THREADS], app[METRICS], app[REDACT], ended, deps.sink
    )
    worker.paused = await app[STORE](Store.setting, PAUSED, "") == "true"
    serving = asyncio.create_task(worker.serve())
    yield
    await worker.stop(serving)
    await asyncio.gather(*pruning, return_exceptions=True)
    await _close(deps.backend)


async def _say_goodbye(app: web.Application) -> None:
    await app[HUB].shut_down()


async def _close(backend: Backend) -> None:
    """Wait for the engine, but not for a node that never looks whether it should stop."""
    closed, loop = asyncio.Event(), asyncio.get_running_loop()

    def close() -> None:
        backend.close()
        with contextlib.suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(closed.set)

    threading.Thread(target=close, name="closing", daemon=True).start()
    try:
        async with asyncio.timeout(CLOSING_SECONDS):
            await closed.wait()
    except TimeoutError:
        _logger.warning("a node does not stop; it is left behind")


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    app, guard = request.app, request.app[DEPS].guard
    app[PATIENCE].heard(request.protocol)
    guard.check(request)
    app[GUESSES].look(request.remote)
    match guard.admits(request):
        case None:
            raise Refused(401, "token_required", "this server wants a token, as `Authorization: Bearer …` or cookie")
        case False:
            app[GUESSES].wrong(request.remote)
            raise Refused(401, "token_required", "that is not the token")
        case True if guard.token is not None:
            app[GUESSES].right(request.remote)
    if request.method == "OPTIONS":
        return web.Response()
    return await handler(request)


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in request.app[DEPS].guard.headers(request).items():
        response.headers.setdefault(name, value)
    deps = request.app[DEPS]
    if response.content_type == "text/html":
        response.headers.setdefault("Content-Security-Policy", OTHERS_PAGES if deps.foreign else PAGES)
    is_file_of_the_editor = isinstance(request.match_info.route.resource, web.StaticResource)
    if deps.guard.token is not None and not is_file_of_the_editor:
        response.headers["Cache-Control"] = "no-store"
    if request.path.startswith("/assets/"):  # the editor's files keep their names from one version to the next
        response.headers.setdefault("Cache-Control", "no-cache")


async def _home(request: web.Request) -> web.StreamResponse:
    guard, root = request.app[DEPS].guard, request.app[DEPS].front_end
    if guard.token is not None and "token" in request.query:  # checked by now; not to stay in the address bar
        welcome = web.HTTPSeeOther("/")
        welcome.set_cookie(COOKIE, guard.token, httponly=True, samesite="Strict", secure=request.secure)
        raise welcome
    if root is None:
        text = "<!doctype html><title>Darkroom</title><h1>Darkroom</h1><p>The server runs. It has no editor yet.</p>"
        return web.Response(text=text, content_type="text/html")
    return web.FileResponse(root / "index.html", headers={"Cache-Control": "no-cache"})


async def _no_templates(request: web.Request) -> web.Response:
    return web.json_response([])


async def _no_icon(request: web.Request) -> web.Response:
    return web.Response(status=204)


def _serve_front_end(app: web.Application, root: Path | None) -> None:
    app.router.add_get("/", _home)
    if root is None or not (root / "templates").is_dir():
        app.router.add_get("/templates/index.json", _no_templates)
    if root is None or not (root / "favicon.ico").is_file():
        app.router.add_get("/favicon.ico", _no_icon)
    if root is not None:
        app.router.add_static("/", root)
