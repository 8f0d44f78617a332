"""What packs bring to the server: addresses they answer, files for browsers, and messages to clients.

Commands that serve nothing use it too, so it does not import aiohttp, which takes a twentieth of their start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from graph.replacements import Replacement

Hear: TypeAlias = Callable[[str, object, str | None], None]
"""(event, data, client id or None for all): from any thread."""


class ForeignRoute(Protocol):
    """An address that a pack answers."""

    @property
    def method(self) -> str:
        """GET, POST, …"""

    @property
    def path(self) -> str:
        """As aiohttp has it."""

    @property
    def handler(self) -> Callable[..., object]:
        """An aiohttp handler."""


@dataclass(slots=True)
class Relay:
    """Hands what packs tell on to whoever hears, once somebody does."""

    hear: Hear | None = None

    def __call__(self, event: str, data: object, client_id: str | None) -> None:
        """Tell it."""
        if self.hear is not None:
            self.hear(event, data, client_id)


@dataclass(frozen=True, slots=True)
class PackState:
    """What became of a pack. standing: what its owner has said of it, "allowed", "disabled", "unknown" or "changed"; problem: why it, or some of its nodes, are not here;
    needs: what would have to be installed; nodes: how many node types it brings."""

    name: str
    standing: str
    isolated: bool
    problem: str
    needs: tuple[str, ...]
    nodes: int


Decision: TypeAlias = Literal["allow", "isolate", "disable"]
"""What an owner says of a pack: load it, in the program or in a process of its own, or do not."""


def _no_packs() -> Sequence[PackState]:
    return ()


def _nobody(name: str, decision: Decision) -> None:
    raise KeyError(name)


def _never() -> bool:
    return False


def _no_routes() -> Sequence[ForeignRoute]:
    return ()


def _as_it_is(body: bytes) -> bytes:
    return body


def _none_replaced() -> Mapping[str, Replacement]:
    return {}


def _no_web() -> Mapping[str, Path]:
    return {}


@dataclass(frozen=True, slots=True)
class Foreign:
    """What the packs of an engine bring. `refresh` loads what has changed, while no run is live, and says whether there
    are other node types now. `web`: a pack's name -> its folder of files for browsers. `packs`: what there is; `decide`: what the owner
    says of one, which the next `refresh` heeds; raises KeyError for a name that no pack has, ValueError or OSError if the
    owner's list cannot be changed. `amended`: a body of `POST /prompt` -> what packs make of it, the same one if they make nothing.
    `replacements`: what packs say of node types that are gone, by these.
    """

    refresh: Callable[[], bool] = _never
    routes: Callable[[], Sequence[ForeignRoute]] = _no_routes
    web: Callable[[], Mapping[str, Path]] = _no_web
    packs: Callable[[], Sequence[PackState]] = _no_packs
    decide: Callable[[str, Decision], None] = _nobody
    relay: Relay = field(default_factory=Relay)
    amended: Callable[[bytes], bytes] = _as_it_is
    replacements: Callable[[], Mapping[str, Replacement]] = _none_replaced
