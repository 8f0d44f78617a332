"""The process of a pack, as the program has it: begun when it is needed, ended when it crashes, hangs or grows too large."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import PIL.Image
import psutil

from graph.document import Document, write
from graph.errors import InputError, Interrupted
from graph.files import Folders
from graph.result import Expand, Need, Outputs, Result
from nodes.packs.found import Pack
from nodes.packs.host import Send
from nodes.packs.isolated.environment import interpreter
from nodes.packs.isolated.settings import Settings, as_text
from nodes.packs.isolated.wire import Channel, Message, WireError, shared_memory
from nodes.packs.trust import Isolation
from nodes.services import Context

START_SECONDS = 120.0
"""How long the process may take to load its pack."""
ANSWER_SECONDS = 5.0
"""How long it may take over a question."""
GRACE_SECONDS = 2.0
"""How long it may take to end a node that is no longer wanted."""
LARGE = 0.75
"""The share of its memory with which the process is let go of between two nodes; the system keeps to the whole."""
SOURCE = Path(__file__).resolve().parents[3]
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "SSL_CERT_FILE")
"""What the process sees of the environment: no keys and tokens."""
_logger = logging.getLogger(__name__)


class PackProcessError(Exception):
    """The process of a pack ended, or does not answer; or what its node raised, in its words."""


class PackProcess:
    """The process of one pack, over all the times that it is begun anew. Asked and called from any thread."""

    def __init__(self, pack: Pack, code: str, terms: Isolation, folders: Folders, send: Send) -> None:
        self.pack = pack
        self.told: Mapping[str, Any] = {}
        self._code = code
        self._terms = replace(terms, memory=terms.memory or psutil.virtual_memory().total // 2)
        self._folders = folders
        self._send = send
        self._life: _Life | None = None
        self._starting = threading.Lock()
        self._turn = asyncio.Lock()
        self._numbers = count(1)

    def start(self) -> _Life:
        """The process, which has loaded its pack. Raises PackProcessError if it does not come so far."""
        with self._starting:
            if self._life is None or not self._life.is_alive:
                life = _Life(self._begin(), self._send, self.pack.name)
                self.told = life.ready(START_SECONDS)
                self._life = life
            return self._life

    def end(self) -> None:
        """End the process; it is begun anew if it is asked or called again."""
        if self._life is not None:
            self._life.end("it is no longer wanted")

    def unique(self) -> str:
        """A text that no other is equal to."""
        return uuid.uuid4().hex

    def ask(self, kind: str, body: Mapping[str, object]) -> Any:
        """The answer of the process; where there is none in time, `last` of the question."""
        try:
            return self.start().ask(kind, next(self._numbers), body).result(timeout=ANSWER_SECONDS)
        except (PackProcessError, WireError, OSError, TimeoutError) as error:
            _logger.warning("pack %s was asked for %s: %s", self.pack.name, kind, error or "it does not answer")
            return body["last"]

    def look(self, kind: str, body: Mapping[str, object]) -> Any:
        """The same of a process that is there; `last` if there is none."""
        return self.ask(kind, body) if self._life is not None and self._life.is_alive else body["last"]

    async def call(self, type_name: str, context: Context, inputs: Mapping[str, object]) -> Result:
        """Run a node in the process, one after the other. Raises InputError, Interrupted, or PackProcessError."""
        async with self._turn:
            life = self._life
            if life is None or not life.is_alive:
                life = await asyncio.to_thread(self.start)
            await life.idle()
            number = next(self._numbers)
            future = life.call(number, _body(type_name, context, inputs, life), context)
            try:
                answer = await self._watched(life, future, context)
            except asyncio.CancelledError:
                life.cancel(number, future)
                raise
            if life.size() > LARGE * self._terms.memory or _is_exhausted(answer):
                _logger.warning("pack %s has used up its memory; its process begins anew", self.pack.name)
                life.end("it has used up its memory")
        return self._outcome(answer, context)

    async def _watched(self, life: _Life, future: Future[Message], context: Context) -> Message:
        """What comes of a call. A process that gives no sign of life for too long is ended."""
        promise = asyncio.wrap_future(future)
        while not promise.done():
            await asyncio.wait([promise], timeout=0.25)
            if not promise.done() and time.monotonic() - life.heard > self._terms.patience:
                life.end(f"it has given no sign of life for {self._terms.patience:g} s")
        return await promise

    def _outcome(self, answer: Message, context: Context) -> Result:
        match answer.kind, answer.body:
            case "result", [Outputs() | Need() | Expand(then=None) as result, list() as warnings]:
                for warning in warnings:
                    context.warn(warning.message, warning.input_name)
                return result
            case "stopped", _:
                raise Interrupted
            case "failed", {"words": str(words), "input": str(blamed)}:
                if blamed:
                    raise InputError(blamed, words.partition(": ")[2])
                raise PackProcessError(f"pack {self.pack.name}: {words}{self._advice(answer.body)}")
            case _:
                raise PackProcessError(f"pack {self.pack.name}: its process answered what is no result of a node")

    def _advice(self, failure: Mapping[str, Any]) -> str:
        kept = not self._terms.network
        if failure.get("kind") in ("PermissionError", "gaierror", "URLError", "ConnectionError") and kept:
            return " (it runs in a process without the network and other folders; packs.toml can allow them)"
        return ""

    def _begin(self) -> tuple[subprocess.Popen[bytes], Channel]:
        """Begin the process, with a directory of its own for what passes."""
        folders, terms = self._folders, self._terms
        private = folders.base / "isolated" / self.pack.name
        (private / "tmp").mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        out, into = shared_memory(), shared_memory()
        python = interpreter(self.pack)
        settings = Settings(
            name=self.pack.name,
            path=str(self.pack.path),
            code=self._code,
            connection=theirs.fileno(),
            out=into,
            into=out,
            readable=tuple(map(str, [*_program(), *_models(folders)])),
            writable=tuple(
                map(
                    str,
                    [self.pack.path, private, *terms.folders, folders.input_dir, folders.output_dir, folders.temp_dir],
                )
            ),
            network=terms.network,
            memory=terms.memory,
            threads=max(1, (os.cpu_count() or 2) // 2),
            base=str(folders.base),
            input=str(folders.input_dir),
            output=str(folders.output_dir),
            temp=str(folders.temp_dir),
            roots=as_text(folders),
        )
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | {
            "PYTHONPATH": str(SOURCE),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(private),
            "TMPDIR": str(private / "tmp"),
            "CUDA_VISIBLE_DEVICES": "",
        }
        command = [str(python), "-P", "-m", "nodes.packs.isolated.child", settings.written()]
        with theirs:
            process = subprocess.Popen(
                command, env=environment, cwd=private, pass_fds=(theirs.fileno(), out, into), stdin=subprocess.DEVNULL
            )
        return process, Channel(ours, out, into)


class _Life:
    """One process, from its beginning to its end."""

    def __init__(self, begun: tuple[subprocess.Popen[bytes], Channel], send: Send, name: str) -> None:
        self._process, self._channel = begun
        self._measured = psutil.Process(self._process.pid)
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
        try:
            return int(self._measured.memory_info().rss)
        except psutil.Error:
            return 0

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
            await asyncio.wait([asyncio.wrap_future(self._latest)], timeout=2 * GRACE_SECONDS)

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


def _body(type_name: str, context: Context, inputs: Mapping[str, object], life: _Life) -> Mapping[str, object]:
    """A call as a message; the workflow goes along if it is another than the last time."""
    document = context.document
    text = None if document is life.document else write(document)
    life.document = document
    labels = context.services.labels.asked(context.run.extra)
    return {
        "type": type_name,
        "node": context.written_id,
        "run": context.run.id,
        "document": text,
        "extra": {"extra_pnginfo": dict(context.kept)},
        "inputs": dict(inputs),
        "labels": [labels.workflow, labels.provenance, labels.parameters],
    }


def _is_exhausted(answer: Message) -> bool:
    return answer.kind == "failed" and isinstance(answer.body, Mapping) and answer.body.get("exhausted") is True


def _program() -> list[Path]:
    """What Darkroom itself is made of: it runs there too."""
    packages = [SOURCE / name for name in ("graph", "models", "nodes")]
    return [*map(Path, {sys.prefix, sys.base_prefix, *filter(os.path.isdir, sys.path)} - {str(SOURCE), ""}), *packages]


def _models(folders: Folders) -> list[Path]:
    return [root for name, folder in folders.folders.items() if name != "custom_nodes" for root in folder.roots]
