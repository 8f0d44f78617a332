"""What travels between a server and the processes of its workers: JSON and bytes, never a pickle."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from types import MappingProxyType
from typing import Any, BinaryIO, TypeAlias

from graph.errors import GraphError, NodeError, Severity, brief
from graph.events import (
    NodeFinished,
    NodeRetried,
    NodesCached,
    NodeStarted,
    NodeWarned,
    Progress,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
)
from graph.patient_json import dumps
from graph.recipe import Recipe
from graph.result import NodeWarning
from graph.sweep import Axis, Cell
from graph.thrift import Thrift
from server.backend import Device

LONGEST = 2**30
"""Bytes of a message; a longer one is taken for a fault."""
_LENGTHS = "<II"
_CLASS = "!"
"""The key that says of an object which class it is; one with other keys that begin so is written as pairs."""
_CLASSES: Mapping[str, type[Any]] = MappingProxyType(
    {
        cls.__name__: cls
        for cls in (
            *(RunStarted, NodesCached, NodeStarted, Progress, NodeRetried, NodeWarned, NodeFinished),
            *(RunFailed, RunInterrupted, RunFinished),
            *(Axis, Cell, NodeWarning, NodeError, GraphError, Recipe, Device, Thrift, Severity),
        )
    }
)

Json: TypeAlias = Any


class WireError(Exception):
    """What came is no message, or ends in the middle of one."""


@dataclass(frozen=True, slots=True)
class Message:
    """`body` is JSON; values of the program's own classes are `encoded` in it. `content`: bytes that go with it."""

    kind: str
    body: Json = None
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A result of another process, as bytes that only an engine opens."""

    content: bytes


class Channel:
    """One end of a connection of two pipes. Any thread may send, one receives."""

    def __init__(self, into: BinaryIO, out: BinaryIO) -> None:
        self._into = into
        self._out = out
        self._sending = threading.Lock()

    def send(self, kind: str, body: Json = None, content: bytes = b"") -> None:
        """Wait until the message is on its way. Raises OSError or ValueError if the other end, or this one, is closed."""
        head = _head(kind, body, content)
        with self._sending:
            self._out.write(head)
            self._out.write(content)
            self._out.flush()

    def receive(self) -> Message | None:
        """The next message; None at the end. Raises WireError."""
        frame = self.frame()
        return None if frame is None else unpacked(frame)

    def frame(self) -> bytes | None:
        """The next message as `packed` makes it; None at the end. Raises WireError."""
        size = struct.calcsize(_LENGTHS)
        head = self._into.read(size)
        if not head:
            return None
        if len(head) < size or max(lengths := struct.unpack(_LENGTHS, head)) > LONGEST:
            raise WireError("a message that is too long, or has no end")
        rest = self._into.read(sum(lengths))
        if len(rest) < sum(lengths):
            raise WireError("a message that has no end")
        return head + rest

    def pass_on(self, frame: bytes) -> None:
        """Send what is packed already. Raises as `send` does."""
        with self._sending:
            self._out.write(frame)
            self._out.flush()

    def close(self) -> None:
        """Let go of what this end writes to: the other end hears it."""
        with self._sending:
            self._out.close()


def packed(message: Message) -> bytes:
    """A message as it travels."""
    return _head(message.kind, message.body, message.content) + message.content


def unpacked(frame: bytes) -> Message:
    """What was packed. Raises WireError for what is no message."""
    start = struct.calcsize(_LENGTHS)
    try:
        length, _ = struct.unpack_from(_LENGTHS, frame)
        kind, body = json.loads(frame[start : start + length])
    except (ValueError, TypeError, RecursionError, struct.error) as error:
        raise WireError(f"what came is no message: {error}") from error
    return Message(str(kind), body, frame[start + length :])


def _head(kind: str, body: Json, content: bytes) -> bytes:
    """All of a message but its content."""
    try:
        whole = dumps([kind, body]).encode()
    except ValueError:  # a number that JSON does not know, as a faulty workflow may have
        whole = json.dumps([kind, body]).encode()
    return struct.pack(_LENGTHS, len(whole), len(content)) + whole


def encoded(value: object) -> Json:
    """`value` as JSON that `decoded` reads. Functions, such as an event's `recipes` and `preview`, stay at home, and of
    what is none of the known classes only words travel.
    """
    match value:
        case Enum() if type(value).__name__ in _CLASSES:
            return {_CLASS: type(value).__name__, "value": value.value}
        case None | bool() | int() | str():
            return value
        case float():
            return value if abs(value) < float("inf") else {_CLASS: "float", "value": repr(value)}
        case list() | tuple():
            return [encoded(item) for item in value]
        case Mapping():
            if all(type(key) is str and not key.startswith(_CLASS) for key in value):
                return {key: encoded(item) for key, item in value.items()}
            return {_CLASS: "dict", "value": [[encoded(key), encoded(item)] for key, item in value.items()]}
        case _ if type(value).__name__ in _CLASSES:
            held = ((it.name, getattr(value, it.name)) for it in fields(value))  # type: ignore[arg-type]
            return {_CLASS: type(value).__name__} | {name: encoded(it) for name, it in held if not callable(it)}
        case _:
            return brief(value)


def decoded(value: Json) -> Any:
    """What was `encoded`; every list is a tuple. Raises WireError for what is no such value."""
    match value:
        case list():
            return tuple(map(decoded, value))
        case dict():
            return _read(value) if _CLASS in value else {key: decoded(item) for key, item in value.items()}
        case _:
            return value


def _read(value: dict[str, Json]) -> Any:
    name = value[_CLASS]
    try:
        if name == "float":
            return float(value["value"])
        if name == "dict":
            return {decoded(key): decoded(item) for key, item in value["value"]}
        cls = _CLASSES[name]
        if issubclass(cls, Enum):
            return cls(value["value"])
        return cls(**{key: decoded(item) for key, item in value.items() if key != _CLASS})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WireError(f"what came is no {brief(name)}: {error}") from error
