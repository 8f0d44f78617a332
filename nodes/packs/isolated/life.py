"""One process of a pack, from its beginning to its end: what it is asked, what it answers, and why it is gone."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from io import BytesIO
from typing import Any

import PIL.Image

from graph.document import Document
from graph.errors import ElsewhereError, Interrupted
from nodes.packs.host import Send
from nodes.packs.isolated.codec import WireError
from nodes.packs.isolated.memory import Resident
from nodes.packs.isolated.wire import Channel, Message
from nodes.services import Context

GRACE_SECONDS = 2.0
"""How long it may take to end a node that is no longer wanted."""
_logger = logging.getLogger(__name__)


class PackProcessError(ElsewhereError):
    """The process of a pack ended, or does not answer; or what its node raised, in its words."""


class Life:
    """One process, from its beginning to its end."""

    def __init__(self, begun: tuple[subprocess.Popen[bytes], Channel], send: Send, name: str) -> None:
        self._process, self._channel = begun
        self._memory = Resident(self._process.pid)
        self._send = send
        self._name = name
        self._answers: dict[int, Future[Message]] = {}
        self._contexts: dict[int, Context] = {}
        self._ready: Future[Message] = Future()
        self._gate = threading.Lock()
        self._why = ""
        self._latest: Future[Message] | None = None
        self.document: Document | None = None
        self.heard = time.monotonic()
        threading.Thread(target=self._listen, name=f"pack-{name}", daemon=True).start()

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return not self._why

    def ready(self, seconds: float) -> Mapping[str, Any]:
        """What it tells of its pack. Raises PackProcessError."""
        try:
            told: Mapping[str, Any] = self._ready.result(timeout=seconds).body
        except TimeoutError:
            self.end(f"it has not begun within {seconds:g} s")
            raise PackProcessError(self._words()) from None
        return told

    def size(self) -> int:
        """Bytes of memory that it has."""
        return self._memory.size()

    def ask(self, kind: str, number: int, body: object) -> Future[Any]:
        """A question; the future has what was answered."""
        answer: Future[Any] = Future()

        def pass_on(came: Future[Message]) -> None:
            if (error := came.exception()) is not None:
                answer.set_exception(error)
            elif came.result().kind == "answer":
                answer.set_result(came.result().body)
            else:
                answer.set_exception(PackProcessError(str(came.result().body)))

        self._sent(kind, number, body).add_done_callback(pass_on)
        return answer

    def call(self, number: int, body: object, context: Context) -> Future[Message]:
        """A node to run; the future has what came of it. Raises WireError for inputs that cannot be sent."""
        self._contexts[number] = context
        self.heard = time.monotonic()
        self._latest = self._sent("call", number, body)
        return self._latest

    async def idle(self) -> None:
        """Wait until the node that is no longer wanted has ended."""
        if self._latest is not None and not self._latest.done():
            await asyncio.wait([awaitable(self._latest)], timeout=2 * GRACE_SECONDS)

    def cancel(self, number: int, future: Future[Message]) -> None:
        """Ask it to end that node; if it does not soon, it is ended itself."""
        try:
            self._channel.send("cancel", number, None)
        except OSError:
            return  # it is ending

        def give_up() -> None:
            if not future.done():
                self.end("it did not stop when it was asked to")

        timer = threading.Timer(GRACE_SECONDS, give_up)
        timer.daemon = True
        timer.start()

    def end(self, why: str) -> None:
        """End it; whoever waits for it is told `why`."""
        with self._gate:
            self._why = self._why or why
        self._process.kill()

    def _sent(self, kind: str, number: int, body: object) -> Future[Message]:
        future: Future[Message] = Future()
        future.set_running_or_notify_cancel()
        with self._gate:
            if self._why:
                raise PackProcessError(self._words())
            self._answers[number] = future
        try:
            self._channel.send(kind, number, body)
        except OSError:
            pass  # it is ending, and so will the future
        except BaseException:
            self._answers.pop(number, None)
            raise
        return future

    def _listen(self) -> None:
        """Read until the end, whatever that is."""
        why = ""
        try:
            while (message := self._channel.receive()) is not None:
                self.heard = time.monotonic()
                self._take(message)
        except WireError as error:
            why = str(error)
        except Exception as error:
            _logger.exception("what pack %s tells cannot be followed", self._name)
            why = repr(error)
        self._process.kill()
        status = self._process.wait()
        with self._gate:
            self._why = self._why or why or f"it ended with status {status}"
            waiting = [self._ready, *self._answers.values()]
        self._channel.close()
        for future in waiting:
            if not future.done():
                future.set_exception(PackProcessError(self._words()))

    def _take(self, message: Message) -> None:
        match message:
            case Message("ready"):
                self._ready.set_result(message)
            case Message("send", body=[str(event), data, str() | None as client]):
                self._send(event, data, client)
            case Message("progress", number, [int() | float() as done, int() | float() as total, preview]):
                if (context := self._contexts.get(number)) is not None:
                    self._progress(context, done, total, preview)
            case Message(number=number) if (future := self._answers.pop(number, None)) is not None:
                self._contexts.pop(number, None)
                future.set_result(message)

    def _progress(self, context: Context, done: float, total: float, preview: object) -> None:
        def picture() -> PIL.Image.Image:
            assert isinstance(preview, bytes)
            return PIL.Image.open(BytesIO(preview), formats=["JPEG"])

        try:
            context.progress(done, total, picture if isinstance(preview, bytes) else None)
        except Interrupted:
            return  # the call itself is cancelled

    def _words(self) -> str:
        return f"the process of pack {self._name} is gone: {self._why}"


def awaitable(answer: Future[Message]) -> asyncio.Future[Message]:
    """The answer for an event loop, which does not complain if nobody waits for it in the end."""
    promise = asyncio.wrap_future(answer)
    promise.add_done_callback(lambda done: done.cancelled() or done.exception())
    return promise
