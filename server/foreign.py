"""What packs bring to the server: addresses they answer, files for browsers, and messages to clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from aiohttp import web
from aiohttp.web_urldispatcher import UrlDispatcher, UrlMappingMatchInfo

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
Hear: TypeAlias = Callable[[str, object, str | None], None]
"""(event, data, client id or None for all): from any thread."""


class ForeignRoute(Protocol):
    """An address that a pack answers."""

    @property
    def method(self) -> str:
        """GET, POST, …"""

    @property
    def path(self) -> str:
        """As aiohttp has it."""

    @property
    def handler(self) -> Callable[..., object]:
        """An aiohttp handler."""


@dataclass(slots=True)
class Relay:
    """Hands what packs tell on to whoever hears, once somebody does."""

    hear: Hear | None = None

    def __call__(self, event: str, data: object, client_id: str | None) -> None:
        """Tell it."""
        if self.hear is not None:
            self.hear(event, data, client_id)


def _never() -> bool:
    return False


def _no_routes() -> Sequence[ForeignRoute]:
    return ()


def _no_web() -> Mapping[str, Path]:
    return {}


@dataclass(frozen=True, slots=True)
class Foreign:
    """What the packs of an engine bring. `refresh` loads what has changed, while no run is live, and says whether there
    are other node types now. `web`: a pack's name -> its folder of files for browsers.
    """

    refresh: Callable[[], bool] = _never
    routes: Callable[[], Sequence[ForeignRoute]] = _no_routes
    web: Callable[[], Mapping[str, Path]] = _no_web
    relay: Relay = field(default_factory=Relay)


async def answered_by(routes: Sequence[ForeignRoute], request: web.Request) -> web.StreamResponse | None:
    """What a pack answers; None if no pack has this address, with or without `/api` before it."""
    dispatcher = UrlDispatcher()
    for route in routes:
        handler: Handler = route.handler  # type: ignore[assignment]  # a pack's word for it
        for path in (route.path, f"/api{route.path}"):
            dispatcher.add_route(route.method, path, handler)
    match = await dispatcher.resolve(request)
    if not isinstance(match, UrlMappingMatchInfo) or match.http_exception is not None:
        return None
    request.match_info.update(match)
    return await match.handler(request)
