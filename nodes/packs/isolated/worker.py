"""What the process of a pack does, once it is restrained: it loads the pack, tells of its nodes, and runs them."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import threading
import traceback
from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch

from graph.context import Cancel, Context, Run
from graph.document import parse
from graph.errors import InputError, Interrupted, frames_within
from graph.events import Event, Progress
from graph.files import Folders
from graph.labels import Labels
from graph.result import NodeWarning
from graph.spec import NodeSpec
from models.precision import Precision
from models.residency import Residency, is_out_of_memory
from nodes.packs.checks import self_checked
from nodes.packs.collection import open_one
from nodes.packs.found import Pack
from nodes.packs.isolated.codec import WireError, can_travel
from nodes.packs.isolated.facts import facts
from nodes.packs.isolated.memory import Mapped
from nodes.packs.isolated.sandbox import Restraint
from nodes.packs.isolated.settings import Settings
from nodes.packs.isolated.wire import Channel, Message, Written
from nodes.packs.loading import Loaded
from nodes.packs.shim.prompt_server import Routes
from nodes.registry import builtin
from nodes.services import Services


def work(settings: Settings, restraint: Restraint) -> None:
    """Never returns while Darkroom is there."""
    channel = Channel(socket.socket(fileno=settings.connection), Mapped)
    _Worker(channel, settings).serve(restraint)


class _Worker:
    """One thread reads, one answers what takes a moment, and the first one runs nodes."""

    def __init__(self, channel: Channel, settings: Settings) -> None:
        self._channel = channel
        self._settings = settings
        self._pack = Pack(settings.name, Path(settings.path))
        self._calls: SimpleQueue[Message] = SimpleQueue()
        self._questions: SimpleQueue[Message] = SimpleQueue()
        self._cancels: dict[int, Any] = {}
        self._document: Any = None

    def serve(self, restraint: Restraint) -> None:
        """Load the pack, tell what it has, and do what is asked until the connection ends."""
        torch.set_num_threads(self._settings.threads)
        folders = self._settings.folders
        with open_one(self._pack, self._settings.code, folders, builtin(), self._tell_clients) as (
            loaded,
            host,
            routes,
        ):
            self._channel.send("ready", 0, _told(loaded, restraint, dict(host.missed), routes))
            services = _services(folders, self._settings)
            for work in (self._read, lambda: self._answer(loaded, folders)):
                threading.Thread(target=work, daemon=True).start()
            specs = {spec.type: spec for spec in loaded.specs}
            with torch.inference_mode():
                while True:
                    self._run(self._calls.get(), specs, services)

    def _tell_clients(self, event: str, data: object, client_id: str | None) -> None:
        self._channel.send("send", 0, [event, data, client_id])

    def _read(self) -> None:
        """Hand on what comes. Without Darkroom there is nothing to live for."""
        try:
            while (message := self._channel.receive()) is not None:
                match message.kind:
                    case "call":
                        self._calls.put(message)
                    case "cancel":
                        if (cancel := self._cancels.get(message.number)) is not None:
                            cancel.set()
                    case _:
                        self._questions.put(message)
                del message  # it is whose it was given to
        finally:
            os._exit(0)

    def _answer(self, loaded: Loaded, folders: Folders) -> None:
        specs = {spec.type: spec for spec in loaded.specs}
        while True:
            message = self._questions.get()
            body = message.body
            try:
                match message.kind:
                    case "choices":
                        [declared] = [it for it in specs[body["type"]].inputs if it.name == body["input"]]
                        answer: Any = tuple(declared.widget.options())  # type: ignore[union-attr]
                    case "freshness":
                        freshness = specs[body["type"]].freshness
                        answer = freshness(body["node"], body["inputs"], folders) if freshness else None
                    case "check":
                        answer = _checked(loaded.checks[body["type"]], body["given"])
                self._channel.send("answer", message.number, answer)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a pack's code: whatever it raises is its answer
                self._channel.post(self._failure(message.number, error))
            del message, body  # what came with it can be written again

    def _run(self, message: Message, specs: Mapping[str, Any], services: Services) -> None:
        """Answer once nothing here holds what came with the message, unless the pack does."""
        number = message.number
        try:
            written = self._outcome(message, specs, services)
        finally:
            self._cancels.pop(number)
        del message
        self._channel.post(written)

    def _outcome(self, message: Message, specs: Mapping[str, Any], services: Services) -> Written:
        body, number = message.body, message.number
        if body["document"] is not None:
            self._document = parse(body["document"])
        cancel = self._cancels[number] = Cancel()
        run = Run(body["run"], self._document, self._telling(number), cancel, body["extra"])
        context = Context(body["node"], run, replace(services, labels=Labels(*body["labels"])))
        try:
            result = specs[body["type"]].run(context, body["inputs"])
            if inspect.isawaitable(result):
                result = asyncio.run(_awaited(result))
            if cancel.is_set:
                return self._channel.written("stopped", number, None)
            return self._answer_of(number, specs[body["type"]], result, context.warnings)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a pack's code: whatever it raises is told
            return self._failure(number, error)

    def _answer_of(self, number: int, spec: NodeSpec, result: Any, warnings: list[NodeWarning]) -> Written:
        """The result as a message. Raises WireError for an object of the pack's own, with the output that it is of."""
        try:
            return self._channel.written("result", number, [result, warnings])
        except WireError as error:
            values = getattr(result, "values", ())
            held = [it.name for it, value in zip(spec.outputs, values, strict=False) if not can_travel(value)]
            where = f"output {', '.join(map(repr, held))}: " if held else ""
            raise WireError(
                f"{where}{error}; packs whose nodes hand each other objects run within the program"
            ) from error

    def _telling(self, number: int) -> Any:
        def tell(event: Event) -> None:
            if isinstance(event, Progress):
                self._channel.send("progress", number, [event.done, event.total, _jpeg(event.preview)])

        return tell

    def _failure(self, number: int, error: BaseException) -> Written:
        if isinstance(error, Interrupted):
            return self._channel.written("stopped", number, None)
        words = traceback.format_exception_only(error)[-1].strip()
        blamed = error.input_name if isinstance(error, InputError) else ""
        frames = list(frames_within(error, self._pack.module))
        body = {
            "frames": frames,
            "words": words,
            "input": blamed,
            "kind": type(error).__name__,
            "exhausted": is_out_of_memory(error),
        }
        return self._channel.written("failed", number, body)


async def _awaited(promise: Any) -> Any:
    return await promise


def _checked(check: Any, given: Mapping[str, object]) -> Any:
    answer = check(**given)
    return asyncio.run(_awaited(answer)) if inspect.isawaitable(answer) else answer


def _jpeg(preview: Any) -> bytes | None:
    if preview is None or (picture := preview()) is None or not hasattr(picture, "convert"):
        return None
    file = BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=85)
    return file.getvalue()


def _services(folders: Folders, settings: Settings) -> Services:
    return Services(Residency(torch.device("cpu"), Precision(), settings.memory), folders)


def _told(loaded: Loaded, restraint: Restraint, missed: Mapping[str, int], routes: Routes) -> dict[str, object]:
    """What Darkroom learns of the pack."""
    nodes, problems = [], [loaded.problem] if loaded.problem else []
    for spec in loaded.specs:
        try:
            described = facts(spec)
        except (ValueError, TypeError) as error:
            problems.append(f"node {spec.type} {error}")
            continue
        if can_travel(described):
            nodes.append(described)
        else:
            problems.append(f"node {spec.type} declares inputs that do not go to a process of its own")
    if routes.added:
        paths = ", ".join(it.path for it in routes.added)
        problems.append(f"nobody answers at {paths}: addresses need a pack that runs within the program")
    if routes.on_prompt:
        problems.append("submitted workflows stay as they are: what changes them runs within the program")
    checks = {name: self_checked(check) for name, check in loaded.checks.items()}
    return {
        "nodes": nodes,
        "problem": "; ".join(problems),
        "checks": checks,
        "web": dict(loaded.web),
        "replacements": dict(loaded.replacements),
        "missed": missed,
        "restraint": [restraint.network, restraint.files, restraint.missing],
    }
