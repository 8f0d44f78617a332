"""The process of a worker: it runs what the server sends, tells what happens, and ends with the server."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from graph.context import Cancel, Run
from graph.document import NodeId, read
from graph.errors import GraphErrors, Interrupted, NodeError
from graph.events import Event, NodeFinished, Progress, RunStarted
from graph.files import Folders
from graph.fingerprint import Fingerprint
from graph.live import Results
from graph.result import Outputs
from graph.share import Share, Slice
from server.backend import Engine, EngineUnavailable, LocalBackend
from server.kept_results import MOST_BYTES
from server.previews import encode_preview
from server.transcript import as_number, plain
from server.wire import LONGEST, Channel, Json, Message, WireError, decoded, encoded

ALIVE_SECONDS = 1.0
"""How often the process gives a sign of life, which renews its lease of the job that it runs."""
GRACE_SECONDS = 3.0
"""How long a node may go on when the server is gone."""
_EXPLAINED = 16
"""Runs that can still be explained after they have ended: the server does so when there is nothing else to do."""

_logger = logging.getLogger(__name__)


def own_streams() -> tuple[BinaryIO, BinaryIO]:
    """What the process was begun with to hear and to speak; whatever nodes print goes to standard error instead."""
    into, out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return into, out


def work(factory: Callable[[], Engine], folders: Folders, into: BinaryIO, out: BinaryIO) -> int:
    """Run what is sent until the server closes the connection or goes away. Returns the exit status."""
    return _Process(LocalBackend(factory, folders), Channel(into, out)).serve()


@dataclass(slots=True)
class _Telling:
    """What one run tells. `preview` is the newest, which is made only if the server asks for it. `explains`: what named its
    results is told at its end, since the server will ask.
    """

    handed: frozenset[NodeId] = frozenset()
    explains: bool = False
    cancel: Cancel = field(default_factory=Cancel)
    started: RunStarted | None = None
    preview: Callable[[], object] | None = None


class _Process:
    """Receives on the main thread; the engine has its own."""

    def __init__(self, backend: LocalBackend, channel: Channel) -> None:
        self._backend = backend
        self._channel = channel
        self._runs: OrderedDict[str, _Telling] = OrderedDict()
        self._given: dict[str, dict[NodeId, list[Outputs]]] = {}
        self._ended = threading.Event()

    def serve(self) -> int:
        self._backend.when_dead(self._die)
        self._backend.start()
        try:
            engine = asyncio.run(self._backend.engine())
        except EngineUnavailable as error:
            self._send("unavailable", str(error))
            return 1
        engine.foreign.relay.hear = lambda event, data, client: self._send("relayed", [event, plain(data), client])
        self._send("ready", self._held())
        threading.Thread(target=self._live, name="alive", daemon=True).start()
        try:
            while (message := self._channel.receive()) is not None:
                self._obey(message, engine)
        except WireError as error:
            _logger.error("the server cannot be understood: %s", error)
        self._ended.set()
        leaving = threading.Timer(
            GRACE_SECONDS, os._exit, [0]
        )  # a node that never looks would keep the device for ever
        leaving.daemon = True
        leaving.start()
        for told in self._runs.values():
            told.cancel.set()
        self._backend.close()
        return 0

    def _obey(self, message: Message, engine: Engine) -> None:
        match message.kind, message.body:
            case "run", dict() as asked:
                self._run(asked, engine)
            case "given", [id_, node_id]:
                if (
                    outputs := self._attempt("what others have made", lambda: engine.unpack(message.content))
                ) is not None:
                    self._given.setdefault(id_, {}).setdefault(node_id, []).append(outputs)
            case "known", str() as name:
                if (made := self._attempt("what is kept", lambda: engine.unpack(message.content))) is not None:
                    engine.executor.remember(Fingerprint(name), made)
            case "cancel", str() as id_ if id_ in self._runs:
                self._runs[id_].cancel.set()
            case "ask", str() as id_ if id_ in self._runs:
                self._runs[id_].cancel.ask()
            case "preview", [number, id_]:
                self._answer(number, self._preview(id_))
            case "recipes", [number, id_, parts]:
                self._answer(number, self._recipes(id_, parts))
            case "refresh", number:
                self._answer(number, self._attempt("packs", self._backend.refresh))
            case "free", [number, unload_models, free_memory]:
                self._answer(number, self._attempt("memory", lambda: self._backend.free(unload_models, free_memory)))
            case _:
                pass

    def _run(self, asked: dict[str, Json], engine: Engine) -> None:
        id_, parts, share = asked["id"], self._given.pop(asked["id"], {}), None
        if (shared := asked.get("share")) is not None:
            part = Slice(*shared["slice"]) if shared["slice"] else None
            share = Share(tuple(shared["targets"]), frozenset(shared["handed"]), self._together(parts, engine), part)
        told = _Telling() if share is None else _Telling(share.handed, explains=share.slice is None)
        self._runs[id_] = told
        while len(self._runs) > _EXPLAINED:
            self._runs.popitem(last=False)
        document = replace(read(asked["document"]), problems=decoded(asked["problems"]))
        keep = partial(self._keep, id_, engine)
        run = Run(id_, document, lambda event: self._tell(told, event), told.cancel, asked["extra"], None, share, keep)
        try:
            results = self._backend.submit(run, asked["targets"])
        except GraphErrors as errors:
            self._send("refused", {"id": id_, "problems": [encoded(it) for it in errors.problems]})
        except Exception as error:
            _logger.exception("run %s could not be begun", id_)
            self._send("broken", {"id": id_, "reason": f"{type(error).__name__}: {error}"})
        else:
            self._send("accepted", {"id": id_})
            results.add_done_callback(lambda ended: self._end(id_, told, ended, engine))

    def _together(self, parts: Mapping[NodeId, list[Outputs]], engine: Engine) -> dict[NodeId, Outputs]:
        """The results that others have made: parts of a batch as one. What cannot be joined is made again."""
        found: dict[NodeId, Outputs] = {}
        for node_id, made in parts.items():
            if (
                whole := made[0] if len(made) == 1 else self._attempt("a batch", partial(engine.join, made))
            ) is not None:
                found[node_id] = whole
        return found

    def _keep(self, id_: str, engine: Engine, name: str, outputs: Outputs) -> None:
        """Hand a result over that took a while, so that the run goes on after it if this process is lost."""
        content = self._attempt("a result", lambda: engine.pack(outputs))
        if content is not None and len(content) <= MOST_BYTES:
            self._send("kept", [id_, name], content)

    def _end(self, id_: str, told: _Telling, results: Future[Results], engine: Engine) -> None:
        told.preview = None
        match results.exception():
            case None:
                for node_id in told.handed & results.result().keys():
                    content = self._attempt("a result", partial(engine.pack, results.result()[node_id]))
                    if content is not None and len(content) > LONGEST:
                        _logger.warning("what node %s has made is too large to travel: it is made again", node_id)
                    elif content is not None:
                        self._send("made", [id_, node_id], content)
                if told.explains and (named := self._recipes(id_, parts=True)) is not None:
                    self._send("recipes", [id_, named])
                self._send("ended", {"id": id_, "how": "done"})
            case Interrupted():
                self._send("ended", {"id": id_, "how": "interrupted"})
            case NodeError() as error:
                self._send("ended", {"id": id_, "how": "failed", "error": encoded(error)})
            case error:
                _logger.error("run %s ended with a fault of the engine", id_, exc_info=error)
                self._send("broken", {"id": id_, "reason": f"{type(error).__name__}: {error}"})

    def _tell(self, told: _Telling, event: Event) -> None:
        """Send an event. What has functions in it keeps them here, for when the server asks."""
        match event:
            case RunStarted():
                told.started = event
            case Progress(done=done, total=total, preview=preview):
                told.preview = preview
                event = replace(event, done=as_number(done), total=as_number(total))
                self._send("event", [encoded(event), preview is not None])
                return
            case NodeFinished(ui=ui) if ui:
                event = replace(event, ui=plain(ui))  # type: ignore[arg-type]  # a mapping stays one
            case _:
                pass
        self._send("event", [encoded(event), False])

    def _preview(self, id_: str) -> Json:
        told = self._runs.get(id_)
        if told is None or told.preview is None or (picture := encode_preview(told.preview)) is None:
            return None
        return picture.hex()

    def _recipes(self, id_: str, parts: bool) -> Json:
        """What named a run's results, as far as it can be told."""
        started = told.started if (told := self._runs.get(id_)) is not None else None
        if started is None:
            return []
        return self._attempt("explaining", lambda: encoded(list(started.recipes(parts))))

    def _attempt(self, what: str, do: Callable[[], object]) -> Json:
        """What `do` returns, or null if it fails, which the log has."""
        try:
            return do()
        except Exception:
            _logger.exception("%s: it could not be done", what)
            return None

    def _answer(self, number: int, value: Json) -> None:
        self._send("answer", [number, value])

    def _held(self) -> Json:
        held = self._backend.holdings()
        return {"devices": encoded(held.devices), "gauges": dict(held.gauges), "files": dict(held.files)}

    def _live(self) -> None:
        while not self._ended.wait(ALIVE_SECONDS):
            self._send("alive", self._attempt("memory", self._held))

    def _die(self, reason: str) -> None:
        """The engine is gone. A thread that is stuck in a node cannot be ended, so the process is."""
        self._send("dying", reason)
        os._exit(1)

    def _send(self, kind: str, body: Json, content: bytes = b"") -> None:
        with suppress(OSError, ValueError):  # the server is gone, which the other direction tells as well
            self._channel.send(kind, body, content)
