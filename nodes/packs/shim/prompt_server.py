"""`server`: messages to clients, and routes that packs add while they are imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from nodes.packs.host import Host
from nodes.packs.submitted import OnPrompt


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

    def forget(self, module: str) -> None:
        """Let go of what the modules of a pack do with workflows."""
        whose = (f"{getattr(handler, '__module__', '')}." for handler in self.on_prompt)
        self.on_prompt[:] = [
            it for it, name in zip(self.on_prompt, list(whose), strict=True) if not name.startswith(f"{module}.")
        ]

    def _adding(self, method: str) -> Callable[..., Callable[[Callable[[Any], Any]], Callable[[Any], Any]]]:
        def add(path: str, **_: object) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
            def decorated(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
                self.added.append(Route(method, path, handler))
                return handler

            return decorated

        return add

    def __getattr__(self, name: str) -> Any:
        if name in ("get", "post", "put", "patch", "delete", "head", "options"):
            return self._adding(name.upper())
        raise AttributeError(name)


class PromptServer:
    """What packs know as the server. There is one instance for a program, which `PromptServer.instance` names."""

    instance: PromptServer

    def __init__(self, host: Host, routes: Routes) -> None:
        self._host = host
        self.routes = routes
        self.number = 0
        self.supports: list[str] = []

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
