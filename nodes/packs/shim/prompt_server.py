"""`server`: messages to clients, and routes that packs add while they are imported."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property, partial
from typing import Any

from nodes.packs.host import Host
from nodes.packs.submitted import OnPrompt

METHODS = frozenset({"get", "post", "put", "patch", "delete", "head", "options"})


class BinaryEventTypes(IntEnum):
    """The first number of a binary message."""

    PREVIEW_IMAGE = 1
    UNENCODED_PREVIEW_IMAGE = 2
    TEXT = 3
    PREVIEW_IMAGE_WITH_METADATA = 4


@dataclass(frozen=True)
class Route:
    """An address that a pack answers. handler: an aiohttp handler."""

    method: str
    path: str
    handler: Callable[[Any], Any]


@dataclass
class Routes:
    """What packs add to the server: routes, in the order they were added, and what they do with submitted workflows."""

    added: list[Route] = field(default_factory=list)
    on_prompt: list[OnPrompt] = field(default_factory=list)

    def of(self, module: str) -> Routes:
        """What the modules of a pack answer, and what they do with workflows."""
        return Routes(
            [it for it in self.added if _is_of(it.handler, module)], [it for it in self.on_prompt if _is_of(it, module)]
        )

    def drop(self, others: Routes) -> None:
        """Let go of these, and not of what is equal to them and came later."""
        self.added[:] = [it for it in self.added if not any(it is other for other in others.added)]
        self.on_prompt[:] = [it for it in self.on_prompt if not any(it is other for other in others.on_prompt)]

    def _adding(self, method: str) -> Callable[..., Callable[[Callable[[Any], Any]], Callable[[Any], Any]]]:
        def add(path: str, **_: object) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
            def decorated(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
                self.added.append(Route(method, path, handler))
                return handler

            return decorated

        return add

    def route(self, method: str, path: str, **_: object) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
        """Answer at an address."""
        return self._adding(method.upper())(path)

    def __getattr__(self, name: str) -> Any:
        if name in METHODS:
            return self._adding(name.upper())
        raise AttributeError(name)


def _is_of(function: Any, module: str) -> bool:
    """Whether a module of the pack has made it, or its class, or what a partial one calls."""
    while isinstance(function, partial):
        function = function.func
    name = getattr(function, "__module__", None) or type(function).__module__
    return f"{name}.".startswith(f"{module}.")


class App:
    """What packs know as the application: another way to add addresses, at `add_routes` and at its `router`."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    @property
    def router(self) -> App:
        """The object itself."""
        return self

    def add_routes(self, routes: Iterable[Any]) -> None:
        """Answer at the addresses that `aiohttp.web.get` and its kin describe. Raises TypeError for static folders."""
        for it in routes:
            if not hasattr(it, "method"):
                raise TypeError("folders are served below /extensions (WEB_DIRECTORY), not as static routes")
            self.add_route(it.method, it.path, it.handler)

    def add_route(self, method: str, path: str, handler: Callable[[Any], Any], **_: object) -> None:
        """Answer at an address."""
        self._routes.route(method, path)(handler)

    def __getattr__(self, name: str) -> Any:
        method = name.removeprefix("add_")
        if method in METHODS and name != method:
            return partial(self.add_route, method.upper())
        raise AttributeError(f"Darkroom's stand-in for the application of aiohttp has no {name!r}")


class _Woken(asyncio.SelectorEventLoop):
    """A loop whose tasks may be made in any thread, as packs do."""

    def create_task(self, coro: Any, **given: Any) -> Any:
        """A task, begun at once."""
        task = super().create_task(coro, **given)
        self.call_soon_threadsafe(_nothing)
        return task


def _nothing() -> None:
    pass


class PromptServer:
    """What packs know as the server. There is one instance for a program, which `PromptServer.instance` names."""

    instance: PromptServer

    def __init__(self, host: Host, routes: Routes) -> None:
        self._host = host
        self.routes = routes
        self.app = App(routes)
        self.number = 0
        self.supports: list[str] = []

    @cached_property
    def loop(self) -> asyncio.AbstractEventLoop:
        """An event loop for what packs do beside nodes, in a thread of its own."""
        loop = _Woken()
        threading.Thread(target=loop.run_forever, name="packs", daemon=True).start()
        return loop

    @property
    def last_prompt_id(self) -> str | None:
        """The run whose node runs now."""
        context = self._host.running.get()
        return None if context is None else context.run.id

    @property
    def last_node_id(self) -> str | None:
        """The node that runs now."""
        context = self._host.running.get()
        return None if context is None else context.written_id

    @property
    def client_id(self) -> str | None:
        """Whose run it is, where it has said so."""
        context = self._host.running.get()
        client = None if context is None else context.run.extra.get("client_id")
        return client if isinstance(client, str) else None

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            self._host.miss(f"server.PromptServer.{name}")
        raise AttributeError(f"Darkroom's stand-in for server.PromptServer has no {name!r}")

    async def send(self, event: str, data: object, sid: str | None = None) -> None:
        """Tell clients something, or one of them."""
        self._host.send(event, data, sid)

    def send_sync(self, event: str, data: object, sid: str | None = None) -> None:
        """Tell clients something, or one of them."""
        self._host.send(event, data, sid)

    def send_progress_text(self, text: object, node_id: object, sid: str | None = None) -> None:
        """Show a text at a node while it runs."""
        self._host.send("progress_text", {"text": str(text), "node": str(node_id)}, sid)

    def add_on_prompt_handler(self, handler: OnPrompt) -> None:
        """Have a function change what is submitted, before it is read."""
        self.routes.on_prompt.append(handler)


def names(host: Host, routes: Routes) -> Mapping[str, object]:
    """What the module holds."""
    cls: Any = type("PromptServer", (PromptServer,), {})
    cls.instance = cls(host, routes)
    return {"PromptServer": cls, "BinaryEventTypes": BinaryEventTypes}
