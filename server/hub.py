"""The live side: sockets, who gets which message, and what a client missed while it was away."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from graph.document import NodeId
from graph.events import Event, Progress
from server.messages import preview_frame, preview_frame_with_metadata, text_frame
from server.previews import encode_preview
from server.socket import Socket
from server.transcript import WARNING, Message, Transcript

REPLAY_FRAMES = 2000
"""Messages of one run that are kept for clients that come back."""
REPLAY_RUNS = 64
REPLAY_SECONDS = 60.0
"""How long a run that has ended is still told to a client that missed it."""
CLIENTS = 1000
"""Clients whose place is remembered after their last socket has closed."""


@dataclass(slots=True, eq=False)
class Live:
    """A run that is being told, or was a moment ago. `log` holds its lasting frames with their place in time,
    `audience` the sockets that follow it. `previews` says whether all of them get previews, or none; left at None, those do
    that have told their features: there are clients that take every binary frame for a finished picture.
    """

    transcript: Transcript
    client_id: str | None
    watchers: set[Socket] = field(default_factory=set)
    log: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=REPLAY_FRAMES))
    ended: float | None = None
    previews: bool | None = None
    preview: tuple[NodeId, bytes] | None = None
    audience: Sequence[Socket] = ()


class Hub:
    """All sockets of the server. Everything here happens on the event loop."""

    def __init__(self, encode_in: ThreadPoolExecutor, previews: bool | None = None) -> None:
        """previews: to all who follow a run, or to nobody; None: as `Live` says."""
        self._pool = encode_in
        self._previews = previews
        self._sockets: set[Socket] = set()
        self._clients: dict[str, set[Socket]] = {}
        self._lives: OrderedDict[str, Live] = OrderedDict()
        self._left: OrderedDict[str, int] = OrderedDict()
        self._previewing = Counter[str]()
        self._expecting: dict[str, set[Socket]] = {}
        self._place = 0
        self.remaining = 0

    @property
    def sockets(self) -> int:
        """How many are open."""
        return len(self._sockets)

    def join(self, socket: Socket, watch: str | None = None) -> None:
        """Welcome a socket: its status first, then what its client missed."""
        self._sockets.add(socket)
        self._clients.setdefault(socket.client_id, set()).add(socket)
        data = {"status": {"exec_info": {"queue_remaining": self.remaining}}, "sid": socket.client_id}
        socket.send(Message("status", data).text())
        alone = len(self._clients[socket.client_id]) == 1
        known = socket.client_id in self._left
        seen = self._left.pop(socket.client_id, 0 if alone else self._place)
        for live in self._recent():
            if live.client_id == socket.client_id and (known or live.ended is None):
                self._catch_up(socket, live, seen)
            self._listen(live)
        if watch is not None:
            self.watch(socket, watch)

    def leave(self, socket: Socket) -> None:
        """Forget a socket, but not where its client was."""
        self._sockets.discard(socket)
        siblings = self._clients.get(socket.client_id, set())
        siblings.discard(socket)
        if not siblings:
            self._clients.pop(socket.client_id, None)
            self._left[socket.client_id] = self._place
            while len(self._left) > CLIENTS:
                self._left.popitem(last=False)
        for live in self._lives.values():
            live.watchers.discard(socket)
            self._listen(live)
        for prompt_id, sockets in list(self._expecting.items()):
            sockets.discard(socket)
            if not sockets:
                del self._expecting[prompt_id]

    def watch(self, socket: Socket, prompt_id: str) -> None:
        """Show a run to a socket whose client did not submit it, from its beginning, even if that is yet to come."""
        live = self._lives.get(prompt_id)
        if live is None:
            if len(self._expecting) < REPLAY_FRAMES:
                self._expecting.setdefault(prompt_id, set()).add(socket)
            return
        if socket in live.watchers or live.client_id == socket.client_id:
            return
        live.watchers.add(socket)
        self._listen(live)
        self._catch_up(socket, live, 0)

    def status(self, remaining: int) -> None:
        """Tell every socket how many jobs wait or run."""
        self.remaining = remaining
        if not self._sockets:
            return
        text = Message("status", {"status": {"exec_info": {"queue_remaining": remaining}}}).text()
        for socket in self._sockets:
            socket.send(text)

    def announce(self, message: Message, client_id: str | None = None) -> None:
        """Tell every socket something that belongs to no run, or those of one client."""
        text = message.text()
        for socket in self._sockets if client_id is None else self._clients.get(client_id, ()):
            socket.send(text)

    def open(self, transcript: Transcript, client_id: str | None) -> Live:
        """Begin to tell a run; a Feed brings what there is to tell."""
        self._recent()
        self._lives.pop(transcript.id, None)  # a job that is run again
        live = Live(transcript, client_id, self._expecting.pop(transcript.id, set()))
        self._lives[transcript.id] = live
        self._listen(live)
        return live

    def choose_previews(self, prompt_id: str, method: object) -> None:
        """Obey a prompt's own `extra_data.preview_method`: `none` is for nobody, `default` as if nothing was said."""
        if (live := self._lives.get(prompt_id)) is not None and isinstance(method, str) and method != "default":
            live.previews = method != "none"

    @contextmanager
    def previewing(self, prompt_id: str) -> Iterator[None]:
        """Have previews made of a run for the length of a `with`, from its beginning, even if that is yet to come."""
        self._previewing[prompt_id] += 1
        try:
            yield
        finally:
            self._previewing[prompt_id] -= 1
            if not self._previewing[prompt_id]:
                del self._previewing[prompt_id]

    def last_preview(self, prompt_id: str) -> tuple[NodeId, bytes] | None:
        """Node and JPEG of the newest preview of a run that is live, if any was made."""
        live = self._lives.get(prompt_id)
        return None if live is None else live.preview

    def transcript(self, prompt_id: str) -> Transcript | None:
        """What a run that is live has told so far."""
        live = self._lives.get(prompt_id)
        return live.transcript if live is not None and live.ended is None else None

    def close(self, prompt_id: str, remaining: int) -> None:
        """Send the last messages of a run, whose outcome is stored by now."""
        live = self._lives[prompt_id]
        for socket in live.audience:
            socket.flush(live.transcript)
        if live.transcript.closing is not None:
            self.tell(live, live.transcript.closing)
        self.status(remaining)
        self.tell(live, Message("executing", {"node": None, "prompt_id": prompt_id}))
        live.ended = time.monotonic()
        live.watchers.clear()
        self._listen(live)

    def drop(self, prompt_id: str) -> None:
        """Forget a run that goes back to the queue."""
        self._lives.pop(prompt_id, None)

    async def shut_down(self) -> None:
        """Say goodbye to every socket."""
        await asyncio.gather(*(socket.close(1001, "the server shuts down") for socket in list(self._sockets)))

    def show(self, live: Live, event: Event, when: float, preview: bytes | None) -> None:
        """Send what `event` means."""
        for item in live.transcript.apply(event, when):
            if isinstance(item, Message):
                if preview is not None and item.type == "progress":
                    self._show_preview(live, event, item, preview)
                else:
                    self.tell(live, item)
                    self._tell_front_ends(live, item)
            else:
                for socket in live.audience:
                    socket.touch(live.transcript, item)

    def is_here(self, client_id: str) -> bool:
        """Whether a client has a socket open."""
        return client_id in self._clients

    def tell_client(self, client_id: str, message: Message) -> None:
        """Send a message that belongs to no run to all sockets of one client."""
        text = message.text()
        for socket in self._clients.get(client_id, ()):
            socket.send(text, droppable=True)

    def _tell_front_ends(self, live: Live, message: Message) -> None:
        """Say in words that ComfyUI's front ends know what they pass over otherwise: warnings, and second tries."""
        if message.type == "execution_retried":
            how = f"Node {message.data['node_id']} ran out of memory and is called again: {message.data['how']}"
            said = Message("notification", {"value": how, "id": live.transcript.id}, lasting=False)
            for socket in live.audience:
                socket.send(said.text(), droppable=True)
        elif message.type == WARNING:
            frame = text_frame(str(message.data["message"]), str(message.data["node_id"]))
            for socket in live.audience:
                if socket.knows_previews:
                    socket.send(frame, droppable=True)

    def tell(self, live: Live, message: Message) -> None:
        """Send one message to all who follow the run, and keep it for those who come back."""
        text = message.text()
        if message.lasting:
            self._place += 1
            live.log.append((self._place, text))
        for socket in live.audience:
            socket.send(text, droppable=not message.lasting)

    def encode(self, live: Live, event: Progress) -> Future[bytes | None] | None:
        """Have a preview made, if somebody looks. Called on the engine's thread."""
        streamed = live.transcript.id in self._previewing and self._previews is not False and live.previews is not False
        if event.preview is None or not (
            streamed or any(self._wants_preview(live, socket) for socket in live.audience)
        ):
            return None
        try:
            return self._pool.submit(encode_preview, event.preview)
        except RuntimeError:  # the server stops
            return None

    def _show_preview(self, live: Live, event: Event, progress: Message, preview: bytes) -> None:
        """The two kinds of preview stand on different sides of the progress message."""
        node_id = event.node_id if isinstance(event, Progress) else ""
        live.preview = (node_id, preview)
        text, plain = progress.text(), preview_frame(preview)
        named = preview_frame_with_metadata(preview, node_id, live.transcript.id)
        for socket in live.audience:
            if not self._wants_preview(live, socket):
                socket.send(text, droppable=True)
                continue
            first, second = (named, text) if socket.knows_metadata else (text, plain)
            socket.send(first, droppable=True)
            socket.send(second, droppable=True)

    def _wants_preview(self, live: Live, socket: Socket) -> bool:
        if self._previews is False or live.previews is False:
            return False
        return bool(self._previews or live.previews or socket.knows_previews)

    def _catch_up(self, socket: Socket, live: Live, seen: int) -> None:
        for place, text in live.log:
            if place > seen:
                socket.send(text)
        if live.ended is None and live.transcript.nodes:
            socket.send(live.transcript.progress_state())

    def _listen(self, live: Live) -> None:
        """Find out who follows a run."""
        own = self._clients.get(live.client_id, set()) if live.client_id is not None else set()
        live.audience = [*own, *(live.watchers - own)]

    def _recent(self) -> Iterator[Live]:
        """Live runs and those that ended a moment ago, oldest first; lets go of the others."""
        now = time.monotonic()
        for prompt_id, live in list(self._lives.items()):
            if live.ended is not None and (now - live.ended > REPLAY_SECONDS or len(self._lives) > REPLAY_RUNS):
                del self._lives[prompt_id]
        return iter(list(self._lives.values()))
