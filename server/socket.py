"""One websocket: a bounded line of frames and the task that sends them."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Iterator, Mapping

from aiohttp import web

from graph.document import NodeId
from server.transcript import Transcript

STATE_SECONDS = 0.1
"""At most ten progress_state messages a second, and the last one."""
SLOW_BYTES = 2 * 2**20
"""What may wait for a slow client before progress and previews are left out."""
LOST_BYTES = 16 * 2**20
"""What may wait before the socket is given up."""
BATCH_BYTES = 2**16
"""What is handed to the system at once: each call costs more than a hundred messages do."""
_PAUSES = (0.005, 0.25)
"""Seconds between looks at a client that takes nothing: at first, and at last."""


class Socket:
    """What is sent here never waits: a client that does not read loses progress first, then its socket."""

    def __init__(self, ws: web.WebSocketResponse, client_id: str, transport: asyncio.WriteTransport) -> None:
        """transport: that of `ws`, which was opened without compression."""
        self.client_id = client_id
        self.knows_previews = False
        self.knows_metadata = False
        self.knows_deltas = False
        self._ws = ws
        self._transport = transport
        self._frames: deque[str | bytes] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._lost = False
        self._state_of: Transcript | None = None
        self._changed: set[NodeId] = set()
        self._state_due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting_bytes(self) -> int:
        """What has not been sent yet."""
        return self._bytes

    def learn(self, features: Mapping[str, object]) -> None:
        """Note what the client says it knows."""
        self.knows_previews = True  # whoever tells features knows what a binary frame is
        self.knows_metadata = features.get("supports_preview_metadata") is True
        self.knows_deltas = features.get("supports_progress_deltas") is True

    def send(self, frame: str | bytes, droppable: bool = False) -> None:
        """Put a frame in line."""
        if self._lost or (droppable and self._bytes > SLOW_BYTES):
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        if self._bytes > LOST_BYTES:
            self._lost = True
            self._frames.clear()
            self._bytes = 0
            self._transport.abort()
        self._wake.set()

    def touch(self, transcript: Transcript, node_id: NodeId) -> None:
        """A node of `transcript` has moved: send its progress_state now, or as soon as the last one is old enough."""
        if self._state_of is not transcript:
            self._state_of = transcript
            self._changed.clear()
        self._changed.add(node_id)
        if self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._state_due:
            self._send_state()
        else:
            self._timer = loop.call_at(self._state_due, self._send_state)

    def flush(self, transcript: Transcript) -> None:
        """Send the progress_state that is due, at once."""
        if self._state_of is transcript and self._changed:
            self._send_state()

    def _send_state(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._state_of is not None and self._changed:
            only = self._changed if self.knows_deltas else None
            self.send(self._state_of.progress_state(only), droppable=True)
            self._changed.clear()
            self._state_due = asyncio.get_running_loop().time() + STATE_SECONDS

    async def pump(self) -> None:
        """Send what is in line until the socket closes."""
        while not self._ws.closed:
            await self._wake.wait()
            self._wake.clear()
            while self._frames and not self._transport.is_closing():
                await self._until_taken()
                self._transport.write(b"".join(self._batch()))

    def _batch(self) -> Iterator[bytes]:
        """The next frames in line, as they go over the wire (RFC 6455, section 5.2)."""
        size = 0
        while self._frames and size < BATCH_BYTES:
            frame = self._frames.popleft()
            self._bytes -= len(frame)
            payload, kind = (frame.encode(), 0x81) if isinstance(frame, str) else (frame, 0x82)
            length = len(payload)
            if length < 126:
                yield struct.pack(">BB", kind, length)
            elif length < 2**16:
                yield struct.pack(">BBH", kind, 126, length)
            else:
                yield struct.pack(">BBQ", kind, 127, length)
            yield payload
            size += length

    async def _until_taken(self) -> None:
        """Wait while the client has not taken what it was sent before."""
        pause, longest = _PAUSES
        while self._transport.get_write_buffer_size() > BATCH_BYTES and not self._transport.is_closing():
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    async def close(self, code: int, reason: str) -> None:
        """Close with a reason; does not wait for a client that is gone."""
        if self._timer is not None:
            self._timer.cancel()
        try:
            async with asyncio.timeout(2):
                await self._ws.close(code=code, message=reason.encode())
        except (TimeoutError, ConnectionError):
            pass
