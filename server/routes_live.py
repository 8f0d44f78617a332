"""`/ws`: one socket for each open client."""

from __future__ import annotations

import asyncio
import json
import uuid

from aiohttp import WSMsgType, web

from server.deps import HUB
from server.job import ID_LENGTH
from server.refused import Refused
from server.routes_info import features
from server.socket import Socket
from server.transcript import Message

HEARTBEAT_SECONDS = 30.0
_RECEIVED_BYTES = 64 * 2**10


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [web.get("/ws", get_ws)]


async def get_ws(request: web.Request) -> web.WebSocketResponse:
    """The messages of the runs of `clientId`, and of the run that `watch` names."""
    client_id = request.query.get("clientId", "")[:ID_LENGTH] or uuid.uuid4().hex
    ws = web.WebSocketResponse(heartbeat=HEARTBEAT_SECONDS, max_msg_size=_RECEIVED_BYTES, compress=False)
    if not ws.can_prepare(request).ok:
        raise Refused(426, "websocket_expected", "this is a websocket")
    await ws.prepare(request)
    if request.transport is None:  # gone already
        return ws
    socket, hub = Socket(ws, client_id, request.transport), request.app[HUB]
    pump = asyncio.create_task(socket.pump())
    hub.join(socket, request.query.get("watch"))
    try:
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                _hear(request.app, socket, message.data)
    finally:
        hub.leave(socket)
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)
        await socket.close(1000, "")
    return ws


def _hear(app: web.Application, socket: Socket, text: str) -> None:
    """What a client says; what is not understood is not answered."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return
    match said:
        case {"type": "feature_flags", "data": dict(data)}:
            socket.learn(data)
            socket.send(Message("feature_flags", features(app)).text())
        case {"type": "watch", "data": {"prompt_id": str(prompt_id)}}:
            app[HUB].watch(socket, prompt_id)
        case _:
            pass
