"""Multipart bodies (RFC 7578) taken apart piece by piece: each piece costs a moment, however its parts are cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from typing import TypeAlias

MOST_PARTS = 64
_HEAD_BYTES = 8 * 2**10
"""What the headers of one part may take, and what may stand before the first part."""


class Damaged(Exception):
    """The body is not what its headers say; the message says why."""


@dataclass(frozen=True, slots=True)
class Part:
    """What the headers of a part say. `filename` is None for a plain field."""

    name: str
    filename: str | None
    content_type: str


Event: TypeAlias = Part | bytes
"""A part begins, or a piece of its content."""


class Splitter:
    """Takes the pieces of one body, in order. Raises Damaged."""

    def __init__(self, content_type: str) -> None:
        """content_type: of the whole body; it names the boundary."""
        boundary = _message(f"Content-Type: {content_type}").get_boundary()
        if not boundary or len(boundary) > 70 or not boundary.isascii():
            raise Damaged("the content type names no boundary")
        self._delimiter = b"\r\n--" + boundary.encode()
        self._held = b"\r\n"  # so that a boundary at the very beginning is found as well
        self._in_part = False
        self._at_boundary = False
        self._skipped = 0
        self._parts = 0
        self.ended = False

    def feed(self, piece: bytes) -> Iterator[Event]:
        """What begins or goes on with `piece`."""
        self._held += piece
        while not self.ended:
            if self._at_boundary:
                part = self._head()
                if part is None:
                    return
                yield part
                continue
            found = self._held.find(self._delimiter)
            end = found if found >= 0 else max(0, len(self._held) - len(self._delimiter) + 1)
            content, self._held = self._held[:end], self._held[end:]
            if self._in_part and content:
                yield content
            elif not self._in_part and (skipped := self._skipped + len(content)) > _HEAD_BYTES:
                raise Damaged("no part begins within the first bytes")
            else:
                self._skipped = 0 if self._in_part else skipped
            if found < 0:
                return
            self._held = self._held[len(self._delimiter) :]
            self._at_boundary = True

    def finish(self) -> None:
        """There is no more. Raises Damaged if the last boundary has not come."""
        if not self.ended:
            raise Damaged("the body ends before its last boundary")

    def _head(self) -> Part | None:
        """The part that begins behind a boundary; None if it is not all there yet, or the body ends here."""
        if self._held.startswith(b"--"):
            self.ended, self._held = True, b""
            return None
        end = self._held.find(b"\r\n\r\n")
        if end < 0 and len(self._held) <= _HEAD_BYTES:
            return None
        if not 0 <= end <= _HEAD_BYTES:
            raise Damaged("the headers of a part are too long")
        head, self._held = self._held[:end], self._held[end + 4 :]
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise Damaged(f"more than {MOST_PARTS} parts")
        self._at_boundary, self._in_part = False, True
        return _part(head)


def _part(head: bytes) -> Part:
    try:
        message = _message(head.decode().lstrip())
    except UnicodeDecodeError:
        raise Damaged("the headers of a part are not valid UTF-8") from None
    name = message.get_param("name", header="Content-Disposition")
    if message.get_content_disposition() != "form-data" or not isinstance(name, str) or not name:
        raise Damaged("a part has no name")
    return Part(name, message.get_filename(), message.get_content_type())


def _message(headers: str) -> Message:
    message = Message()
    for line in headers.split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon:
            raise Damaged("a header without a colon")
        message[name.strip()] = value.strip()
    return message
