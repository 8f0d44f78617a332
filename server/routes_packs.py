"""What browsers and clients get of packs: `/extensions`, and the addresses that packs answer themselves."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from server.deps import DEPS, THREADS
from server.faults import Handler
from server.foreign import answered_by
from server.refused import Refused, not_found
from server.threads import in_thread


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [web.get("/extensions", get_extensions), web.get("/extensions/{pack}/{path:.+}", get_extension)]


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
    """What the server itself has no answer for may be a pack's."""
    try:
        return await handler(request)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed, Refused) as error:
        backend = request.app[DEPS].backend
        if error.status not in (404, 405) or not backend.is_ready:
            raise
        answer = await answered_by((await backend.engine()).foreign.routes(), request)
        if answer is None:
            raise
        return answer
