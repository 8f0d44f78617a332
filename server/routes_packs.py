"""What browsers and clients get of packs: `/extensions`, and the addresses that packs answer themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from aiohttp import web
from aiohttp.web_urldispatcher import UrlDispatcher, UrlMappingMatchInfo

from server.backend import EngineUnavailable
from server.body import read_object
from server.deps import CREW, DEPS, REDACT, THREADS
from server.faults import Handler
from server.foreign import Decision, ForeignRoute
from server.refused import Refused, bad_request, not_found
from server.threads import in_thread


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [
        web.get("/extensions", get_extensions),
        web.get("/extensions/{pack}/{path:.+}", get_extension),
        web.get("/packs", get_packs),
        web.post("/packs/{name}", post_pack),
    ]


async def get_packs(request: web.Request) -> web.Response:
    """The packs of nodes: what their owner has said of each, and what is wrong with it."""
    foreign = (await request.app[DEPS].backend.engine()).foreign
    found = await in_thread(request.app[THREADS], foreign.packs)
    redact = request.app[REDACT]
    return web.json_response(
        [asdict(pack) | {"problem": redact(pack.problem), "needs": redact.each(pack.needs)} for pack in found]
    )


async def post_pack(request: web.Request) -> web.Response:
    """What the owner says of a pack: `{"decision": "allow"}`, `"isolate"` or `"disable"`. It counts between two jobs."""
    name, body = request.match_info["name"], await read_object(request)
    decision = next(it for it in get_args(Decision) if it == body["decision"])
    foreign = (await request.app[DEPS].backend.engine()).foreign
    try:
        await in_thread(request.app[THREADS], foreign.decide, name, decision)
    except KeyError as error:
        raise not_found("there is no pack of that name") from error
    except ValueError as error:
        raise bad_request(request.app[REDACT](str(error))) from error
    request.app[CREW].wake()
    return web.json_response({})


async def get_extensions(request: web.Request) -> web.Response:
    """The scripts that the served front end loads: its own, and those of packs."""
    root = request.app[DEPS].front_end
    places = {} if root is None else {"": root / "extensions"}
    places |= (await request.app[DEPS].backend.engine()).foreign.web()

    def scripts() -> list[str]:
        return sorted(
            f"/extensions/{f'{name}/' if name else ''}{path.relative_to(place).as_posix()}"
            for name, place in places.items()
            for path in place.rglob("*.js")
        )

    return web.json_response(await in_thread(request.app[THREADS], scripts))


async def get_extension(request: web.Request) -> web.StreamResponse:
    """A file of a pack for browsers, or one of the front end's own."""
    name, path = request.match_info["pack"], request.match_info["path"]
    root = request.app[DEPS].front_end
    place = (await request.app[DEPS].backend.engine()).foreign.web().get(name)
    if place is None and root is not None:
        place, path = root / "extensions", f"{name}/{path}"
    found = None if place is None else await in_thread(request.app[THREADS], _below, place, path)
    if found is None:
        raise not_found("there is no such file")
    return web.FileResponse(found, headers={"Cache-Control": "no-cache"})


def _below(place: Path, path: str) -> Path | None:
    """The file, if it is one and lies where it says."""
    file = (place / path).resolve()
    return file if file.is_relative_to(place.resolve()) and file.is_file() else None


@web.middleware
async def answer_for_packs(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What the server itself has no answer for may be a pack's. For an address that it does not know it waits until packs
    are there; where one of its own handlers finds nothing, such as a style sheet that a page waits for, it does not."""
    matched, backend = request.match_info, request.app[DEPS].backend
    is_static = isinstance(matched.route.resource, web.StaticResource)
    try:
        if is_static and not await _is_there(request):
            raise web.HTTPNotFound
        return await handler(request)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed, Refused) as error:
        is_known = not is_static and matched.http_exception is None
        if error.status not in (404, 405) or (is_known and not backend.is_ready):
            raise
        try:
            foreign = (await backend.engine()).foreign
        except EngineUnavailable:
            raise error from None
        answer = await _answered_by(foreign.routes(), request)
        if answer is None:
            raise
        return answer


async def _is_there(request: web.Request) -> bool:
    """Whether the editor has the file that is asked for: of one that it has not, aiohttp says so while it answers."""
    root = request.app[DEPS].front_end
    return root is not None and await in_thread(
        request.app[THREADS], lambda: _below(root, request.match_info["filename"]) is not None
    )


async def _answered_by(routes: Sequence[ForeignRoute], request: web.Request) -> web.StreamResponse | None:
    """What a pack answers; None if no pack has this address, with or without `/api` before it. The first that has it counts."""
    dispatcher = UrlDispatcher()
    first: dict[tuple[str, str], ForeignRoute] = {}
    for route in routes:
        first.setdefault((route.method, route.path), route)
    for route in first.values():
        handler: Handler = route.handler  # type: ignore[assignment]  # a pack's word for it
        for path in (route.path, f"/api{route.path}"):
            dispatcher.add_route(route.method, path, handler)
    match = await dispatcher.resolve(request)
    if not isinstance(match, UrlMappingMatchInfo) or match.http_exception is not None:
        return None
    request.match_info.update(match)
    return await match.handler(request)
