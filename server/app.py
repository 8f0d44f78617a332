"""The web application: everything it holds, in the order in which it comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from aiohttp import web

from graph.object_info import object_info
from server import (
    routes_docs,
    routes_examples,
    routes_files,
    routes_front_end,
    routes_info,
    routes_jobs,
    routes_live,
    routes_mcp,
    routes_packs,
    routes_run,
    routes_userdata,
    routes_v2_assets,
    routes_v2_events,
    routes_v2_jobs,
    routes_workers,
    routes_workflow,
)
from server.assets import Assets
from server.assumed import with_assumed
from server.at_hand import ResultsAtHand
from server.backend import Backend, EngineUnavailable
from server.blobs import Blobs
from server.cell_files import forget, jobs_kept
from server.crew import PAUSED, Crew
from server.database import make_sound
from server.deps import (
    ALONE,
    ASSETS,
    BLOBS,
    CREW,
    DEPS,
    EXPLAINING,
    GUESSES,
    HUB,
    LARGE_BODIES,
    LEDGER,
    LOG_STREAM,
    LOOKING,
    METRICS,
    NUMBERS,
    OBJECT_INFO,
    PATIENCE,
    PROGRAMS,
    READER,
    RECENT,
    REDACT,
    RUNNING,
    SEARCHES,
    SETTINGS,
    STORE,
    STREAMS,
    THREADS,
    WATCH,
    WEBHOOKS,
    Deps,
)
from server.desk import Desk, StoreUnavailable, reached
from server.digests import StoredDigests
from server.explaining import Explaining
from server.faults import Handler, answer_faults
from server.guesses import Guesses
from server.hub import Hub
from server.job import Numbers
from server.kept import Kept
from server.ledger import StoredLedger
from server.lock import Lock, Places, resolved
from server.log_stream import LogStream
from server.metrics import Metrics
from server.next_job import NextJob
from server.openapi import describe_routes
from server.operations import check_query
from server.patience import Patience
from server.placement import Placement
from server.programs import Programs
from server.reader import Reader
from server.recent import Recent
from server.redact import Redactor
from server.refused import Refused
from server.resting import unload_when_idle
from server.routes_docs import DOCUMENT
from server.routes_packs import answer_for_packs
from server.running import Running
from server.security import COOKIE, OTHERS_PAGES, PAGES
from server.settings import Settings
from server.spread import Spread
from server.store import Store
from server.temp_files import sweep
from server.threads import in_thread
from server.transcript import Message, plain
from server.watch import Watch
from server.webhooks import Webhooks
from server.worker import NODE_TYPES_CHANGED, Source, Worker

CLOSING_SECONDS = 5.0
LOOK_SECONDS = 2.0
EXPIRY_SECONDS = 30.0
"""How often it is looked whether the base directory is still there."""
SWEEPS = 4
"""Sweeps, each of another client, whose cells workers take in turn; more wait until one of these has ended."""
PRUNE_SECONDS = 0.5
"""Between shortenings of the history: in a row of quick jobs one serves several."""
CLOCK_SECONDS = 3600.0
"""How long a clock may have been wrong at the start."""
SOURCE = Path(__file__).resolve().parent.parent

_logger = logging.getLogger(__name__)


def create_app(deps: Deps) -> web.Application:
    """The server over `deps`; it opens nothing before it starts. Start `deps.backend` once the port is open.

    Starting raises Held where another server has the database, Newer for a database of a later version, and Damaged.
    """
    app = web.Application(middlewares=[answer_faults, _guard, answer_for_packs], client_max_size=deps.limits.upload)
    app[DEPS] = deps
    app[METRICS] = Metrics()
    app[WATCH] = Watch(app[METRICS])
    app[OBJECT_INFO] = Kept(with_assumed if deps.foreign else object_info)
    app[LARGE_BODIES] = asyncio.Lock()
    app[RECENT] = Recent()
    app[GUESSES] = Guesses()
    app[PATIENCE] = Patience(deps.limits.patience)
    app[REDACT] = _redactor(deps)
    app.cleanup_ctx.extend(
        [
            _with_threads,
            _with_user,
            _with_store,
            _with_assets,
            _with_temp,
            _with_hub,
            _with_webhooks,
            _with_worker,
            _with_programs,
        ]
    )
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
        routes_workflow,
        routes_jobs,
        routes_workers,
        routes_files,
        routes_front_end,
        routes_info,
        routes_examples,
        routes_userdata,
        routes_live,
        routes_mcp,
        routes_v2_jobs,
        routes_v2_events,
        routes_v2_assets,
        routes_packs,
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
    more = len(app[DEPS].workers)  # each may have one of them wait for its process
    app[THREADS] = ThreadPoolExecutor(4 + more, thread_name_prefix="server")
    app[ALONE] = ThreadPoolExecutor(1, thread_name_prefix="large")
    yield
    app[ALONE].shutdown(cancel_futures=True)
    app[THREADS].shutdown(cancel_futures=True)


async def _with_user(app: web.Application) -> AsyncIterator[None]:
    home = app[DEPS].folders.base / "user" / "default"
    for name in ("workflows", "subgraphs"):  # the front end lists them before it ever writes there
        (home / name).mkdir(parents=True, exist_ok=True)
    app[SETTINGS] = Settings(home)
    yield


async def _with_store(app: web.Application) -> AsyncIterator[None]:
    deps = app[DEPS]
    database = resolved(deps.database)
    with Lock(database) as lock:
        with reached():
            await in_thread(app[THREADS], make_sound, database, deps.set_database_aside)
        app[STORE] = Desk(Store, database)
        app[READER], app[SEARCHES] = Desk(Reader, database), Desk(Reader, database)
        running = app[RUNNING] = Running(database.with_name(f"{database.name}.running"))
        again, failed = await app[STORE](Store.recover, running.left, deps.limits.tries)
        if again or failed:
            _logger.warning("the server was stopped at work: %d jobs run again, %d have failed", again, failed)
        running.end()
        app[NUMBERS] = Numbers(await app[STORE](Store.next_number))
        with reached():
            digests = StoredDigests(database)
            app[LEDGER] = StoredLedger(database)
        deps.folders.identity.keep_in(digests)
        places = Places((deps.folders.base, lock.path, database))
        looking = app[WATCH].begin("places", lambda: _look_after(places, app))
        yield
        await _ended(looking)
        app[LEDGER].close()
        digests.close()
        app[SEARCHES].close()
        running.close()
        app[READER].close()
        app[STORE].close()


async def _look_after(places: Places, app: web.Application) -> None:
    """Stop the server when what it works on is moved away: it would go on in files that nobody finds."""
    before = None
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        moved = await in_thread(app[THREADS], places.moved)
        if moved is not None and moved == before:  # not just a moment's trouble of a network's file system
            app[WATCH].give_up(f"{moved} was moved or replaced while the server worked on it")
            return
        before = moved


async def _with_temp(app: web.Application) -> AsyncIterator[None]:
    """What earlier servers left in the directory for passing files is removed, unless one is at work there."""
    with ExitStack() as held:
        try:
            await in_thread(app[THREADS], sweep, app[DEPS].folders, held)
        except OSError as error:
            _logger.warning("old files stay in the directory for passing files: %s", error.strerror)
        yield


async def _with_hub(app: web.Application) -> AsyncIterator[None]:
    with ThreadPoolExecutor(1, thread_name_prefix="previews") as pool:
        app[HUB] = Hub(pool, app[DEPS].previews)
        app[HUB].status(await app[READER](Reader.remaining))
        app[LOG_STREAM] = LogStream(app[HUB], app[REDACT])
        app[DEPS].logs.listener = app[LOG_STREAM].hear
        yield
        app[DEPS].logs.listener = None


async def _with_assets(app: web.Application) -> AsyncIterator[None]:
    app[ASSETS] = Desk(Assets, resolved(app[DEPS].database))
    app[BLOBS] = Blobs(app[DEPS].folders, app[ASSETS], app[THREADS])
    app[LOOKING] = set()
    app[STREAMS] = set()
    expiring = app[WATCH].begin("assets", partial(_expire_assets, app))
    yield
    await _ended(expiring)
    looking: set[asyncio.Task[None]] = app[LOOKING]
    for task in list(looking):
        await _ended(task)
    app[ASSETS].close()


async def _expire_assets(app: web.Application) -> None:
    """Remove assets whose time is over."""
    while True:
        for id_ in await app[ASSETS](Assets.expired, time.time()):
            if (asset := await app[ASSETS](Assets.get, id_)) and not await app[ASSETS](Assets.is_in_use, id_):
                await routes_v2_assets.remove(app, asset)
        await asyncio.sleep(EXPIRY_SECONDS)


async def _with_webhooks(app: web.Application) -> AsyncIterator[None]:
    app[WEBHOOKS] = Webhooks(app[DEPS].webhook_hosts, app[STORE], app[WATCH])
    reporting = app[WATCH].begin("webhooks", app[WEBHOOKS].serve)
    yield
    await _ended(reporting)


async def _with_programs(app: web.Application) -> AsyncIterator[None]:
    app[PROGRAMS] = Programs(app[DEPS].guard.token, app[DEPS].version)
    yield
    await app[PROGRAMS].close()


async def _with_worker(app: web.Application) -> AsyncIterator[None]:
    deps, prune = app[DEPS], asyncio.Event()
    database = resolved(deps.database)
    cells = database.with_name(f"{database.name}.cells")

    def ended() -> None:
        app[WEBHOOKS].wake()
        prune.set()
        if deps.workers:
            crew.wake()

    app[EXPLAINING] = Explaining(app[LEDGER], app[REDACT], app[THREADS], app[WATCH])

    def worker(backend: Backend, source: Source, running: Running | None) -> Worker:
        return Worker(
            source,
            app[STORE],
            app[RECENT],
            app[HUB],
            backend,
            app[THREADS],
            app[THREADS] if deps.workers else deps.backend.thread,
            app[METRICS],
            app[REDACT],
            running,
            app[EXPLAINING],
            app[WATCH],
            ended,
            deps.limits.tries,
            deps.sink if not deps.workers else None,
        )

    loop, watch = asyncio.get_running_loop(), app[WATCH]
    sharing: list[Worker] = []

    if deps.workers:
        tries = deps.limits.tries
        spread = Spread(deps.backend, deps.workers, deps.folders, cells, tries, lambda: _tell(loop, crew.wake))
        placement = Placement(app[STORE], (), spread.running, ResultsAtHand(app[RECENT]))
        workers = [worker(backend, placement, None) for backend in deps.workers]
        sharing = [worker(spread, placement.sweeps, None) for _ in range(SWEEPS)]
        placement.workers, placement.sharing = workers, sharing
    else:
        workers = [worker(deps.backend, NextJob(app[STORE]), app[RUNNING])]
    crew = app[CREW] = Crew(workers, sharing)
    crew.pause(await app[STORE](Store.setting, PAUSED, "") == "true")
    deps.backend.when_dead(lambda reason: _tell(loop, watch.give_up, reason))
    serving = [app[WATCH].begin("worker", it.serve, needed=True) for it in crew.all]
    others = [
        asyncio.create_task(_hear_packs(app)),
        app[WATCH].begin("history", lambda: _prune(app, prune, cells)),
        *([app[WATCH].begin("idle", partial(unload_when_idle, crew, idle))] if (idle := deps.limits.idle) else ()),
        *([app[WATCH].begin("packs", lambda: _refresh_packs(app))] if deps.workers else ()),
    ]
    yield
    await crew.stop(serving)
    for task in others:
        await _ended(task)
    await asyncio.gather(*(_close(backend) for backend in (*deps.workers, deps.backend)))


async def _refresh_packs(app: web.Application) -> None:
    """Where no jobs run in this process: load packs that have changed, and tell editors that there are other node types."""
    try:
        await app[DEPS].backend.ready()
    except EngineUnavailable as error:
        app[WATCH].give_up(str(error))
        return
    while True:
        if await in_thread(app[THREADS], app[DEPS].backend.refresh):
            app[HUB].announce(Message(NODE_TYPES_CHANGED, {}))
        await asyncio.sleep(LOOK_SECONDS)


async def _hear_packs(app: web.Application) -> None:
    """Have what packs tell go to clients, once there is an engine."""
    loop, hub = asyncio.get_running_loop(), app[HUB]

    def hear(event: str, data: object, client_id: str | None) -> None:
        with contextlib.suppress(RuntimeError):  # nobody waits any more
            told = plain(data)
            message = Message(event, told if isinstance(told, dict) else {"value": told})
            loop.call_soon_threadsafe(hub.announce, message, client_id)

    with contextlib.suppress(EngineUnavailable):  # which the worker tells of
        (await app[DEPS].backend.engine()).foreign.relay.hear = hear


async def _prune(app: web.Application, wanted: asyncio.Event, cells: Path) -> None:
    """Keep the history as short as it should be, and cells that are done no longer than their jobs need them. Age counts once the server has been up for a while: a clock that is
    wrong at the start, as after a flat battery, has been put right by then.
    """
    begun, limits = time.monotonic(), app[DEPS].limits
    while True:
        await wanted.wait()
        wanted.clear()
        days = limits.history_days if time.monotonic() - begun > CLOCK_SECONDS else 0.0
        try:
            await app[STORE](Store.prune, limits.history, days)
            if kept := await in_thread(app[THREADS], jobs_kept, cells):
                await in_thread(app[THREADS], forget, kept, await app[STORE](Store.unfinished))
            app[WATCH].went_well("history")
        except StoreUnavailable as error:
            _logger.error("%s; the history is shortened later", error)
        await asyncio.sleep(PRUNE_SECONDS)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _say_goodbye(app: web.Application) -> None:
    await app[HUB].shut_down()


def _tell(loop: asyncio.AbstractEventLoop, hear: Callable[..., None], *words: str) -> None:
    with contextlib.suppress(RuntimeError):  # nobody waits any more
        loop.call_soon_threadsafe(hear, *words)


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
    check_query(request)
    return await handler(request)


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    deps = request.app[DEPS]
    for name, value in deps.guard.headers().items():
        if name == "Vary":  # the answer itself may have a reason to vary
            response.headers.add(name, value)
        else:
            response.headers.setdefault(name, value)
    if response.content_type == "text/html":
        response.headers.setdefault("Content-Security-Policy", OTHERS_PAGES if deps.foreign else PAGES)
    if deps.guard.token is not None and not _is_file_of_the_editor(request):
        response.headers["Cache-Control"] = "no-store"
    if request.path.startswith("/assets/"):  # the editor's files keep their names from one version to the next
        response.headers.setdefault("Cache-Control", "no-cache")


def _is_file_of_the_editor(request: web.Request) -> bool:
    return isinstance(request.match_info.route.resource, web.StaticResource)


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


async def _no_icon(request: web.Request) -> web.Response:
    return web.Response(status=204)


def _serve_front_end(app: web.Application, root: Path | None) -> None:
    app.router.add_get("/", _home)
    if root is None or not (root / "favicon.ico").is_file():
        app.router.add_get("/favicon.ico", _no_icon)
    if root is not None:
        app.router.add_static("/", root)
