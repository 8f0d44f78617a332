"""What packs hold where a handle travels on links: an object with methods around a value that never changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Never, Protocol, Self, TypeVar

from graph.inputs import REQUIRED
from graph.result import Outputs
from nodes.packs.host import Host

H = TypeVar("H", bound="Linked")


class Linked(Protocol):
    """A value that travels on links of one type."""

    @property
    def socket(self) -> str:
        """The type."""


class Handle(Generic[H]):
    """What all of them have. A pack that asks for what is not here is told so by name."""

    def __init__(self, handle: H, host: Host) -> None:
        self._own: H = handle
        self._host = host

    @property
    def handle(self) -> H:
        """The value that travels on links."""
        return self._own

    @property
    def socket(self) -> str:
        """The type of links that it travels on."""
        return self._own.socket

    def clone(self) -> Self:
        """Another object for the same weights."""
        return type(self)(self._own, self._host)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._missed(name)

    def _missed(self, name: str) -> Never:
        """Raises AttributeError for what packs ask for in vain, and counts it."""
        self._host.miss(f"{self.socket}.{name}")
        raise AttributeError(f"a {self.socket} of Darkroom has no {name!r} for packs")

    def _ran(self, type_name: str, **inputs: object) -> object:
        """The first output of one of our nodes, run as part of the node that runs now."""
        return ran(self._host, type_name, inputs)[0]


def ran(host: Host, type_name: str, inputs: Mapping[str, object]) -> Sequence[object]:
    """The outputs of one of our nodes, run as part of the node that runs now; what is not given has its default."""
    spec = host.specs[type_name]
    defaults = {it.name: it.default for it in spec.inputs if it.default is not REQUIRED}
    result = spec.run(host.context, {**defaults, **inputs})
    assert isinstance(result, Outputs)
    return result.values
