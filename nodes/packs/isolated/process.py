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
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from graph.document import write
from graph.errors import InputError, Interrupted
from graph.files import Folders
from graph.result import Expand, Need, Outputs, Result
from nodes.packs.found import Pack
from nodes.packs.host import Send
from nodes.packs.isolated.codec import WireError
from nodes.packs.isolated.environment import interpreter
from nodes.packs.isolated.life import Life, PackProcessError, awaitable
from nodes.packs.isolated.memory import Copied
from nodes.packs.isolated.settings import Settings, as_text
from nodes.packs.isolated.wire import Channel, Message
from nodes.packs.trust import Isolation
from nodes.services import Context

START_SECONDS = 120.0
"""How long the process may take to load its pack."""
ANSWER_SECONDS = 5.0
"""How long it may take over a question."""
LOOK_SECONDS = 0.25
"""How often it is looked whether the process is still alive while it is waited for."""
LARGE = 0.75
"""The share of its memory with which the process is let go of between two nodes; the system keeps to the whole."""
SOURCE = Path(__file__).resolve().parents[3]
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "SSL_CERT_FILE")
"""What the process sees of the environment: no keys and tokens."""
_logger = logging.getLogger(__name__)


class PackProcess:
    """The process of one pack, over all the times that it is begun anew. Asked and called from any thread."""

    def __init__(self, pack: Pack, code: str, terms: Isolation, folders: Folders, send: Send) -> None:
        self.pack = pack
        self.told: Mapping[str, Any] = {}
        self._code = code
        self._terms = replace(terms, memory=terms.memory or psutil.virtual_memory().total // 2)
        self._folders = folders
        self._send = send
        self._life: Life | None = None
        self._starting = threading.Lock()
        self._turn = asyncio.Lock()
        self._numbers = count(1)

    def start(self) -> Life:
        """The process, which has loaded its pack. Raises PackProcessError if it does not come so far."""
        with self._starting:
            if self._life is None or not self._life.is_alive:
                life = Life(self._begin(), self._send, self.pack.name)
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
            life = await self._idle()
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

    async def _idle(self) -> Life:
        """A process that is at no work: one that would not stop when it was asked to may be ended while it is waited for."""
        while True:
            life = self._life
            if life is None or not life.is_alive:
                life = await asyncio.to_thread(self.start)
            await life.idle()
            if life.is_alive:
                return life

    async def _watched(self, life: Life, future: Future[Message], context: Context) -> Message:
        """What comes of a call. A process that gives no sign of life for too long is ended."""
        with _Looks(life, self._terms.patience):
            return await awaitable(future)

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
                frames = tuple(map(str, answer.body.get("frames", ())))
                raise PackProcessError(f"pack {self.pack.name}: {words}{self._advice(answer.body)}", frames)
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
        python = interpreter(self.pack)
        settings = Settings(
            name=self.pack.name,
            path=str(self.pack.path),
            code=self._code,
            connection=theirs.fileno(),
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
                command, env=environment, cwd=private, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL
            )
        return process, Channel(ours, Copied)


class _Looks:
    """Looks now and then whether a process that is waited for is alive, and ends it if it gives no sign of life.

    Cheaper than to wait with a time limit: a call takes a fifth of a millisecond.
    """

    def __init__(self, life: Life, patience: float) -> None:
        self._life = life
        self._patience = patience
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> None:
        self._next = self._loop.call_later(LOOK_SECONDS, self._look)

    def __exit__(self, *_: object) -> None:
        self._next.cancel()

    def _look(self) -> None:
        if time.monotonic() - self._life.heard > self._patience:
            self._life.end(f"it has given no sign of life for {self._patience:g} s")
        else:
            self._next = self._loop.call_later(LOOK_SECONDS, self._look)


def _body(type_name: str, context: Context, inputs: Mapping[str, object], life: Life) -> Mapping[str, object]:
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
