"""`/mcp`: programs as users, by the Model Context Protocol over streamable HTTP, where the package for it is installed."""

from __future__ import annotations

from importlib.util import find_spec

from aiohttp import web

from server.asgi import answer
from server.body import read_body
from server.deps import PROGRAMS
from server.programs import LARGEST_MESSAGE
from server.refused import Refused


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [web.post("/mcp", post_mcp), web.get("/mcp", get_mcp), web.delete("/mcp", delete_mcp)]


async def post_mcp(request: web.Request) -> web.StreamResponse:
    """A message of the protocol. What its tools do goes through this server's own API, as any client's requests."""
    if find_spec("mcp") is None:
        raise Refused(501, "mcp_missing", "the package mcp is not installed here: pip install -r requirements-mcp.txt")
    application = await request.app[PROGRAMS].application(_own_address(request))
    return await answer(application, request, await read_body(request, LARGEST_MESSAGE))


async def get_mcp(request: web.Request) -> web.StreamResponse:
    """The stream of what the server says by itself in a session."""
    return await post_mcp(request)


async def delete_mcp(request: web.Request) -> web.StreamResponse:
    """End a session."""
    return await post_mcp(request)


def _own_address(request: web.Request) -> str:
    """Where this server was reached, by the connection itself and not by what the request says."""
    assert request.transport is not None
    host, port = request.transport.get_extra_info("sockname")[:2]
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if request.transport.get_extra_info('ssl_object') else 'http'}://{name}:{port}"
