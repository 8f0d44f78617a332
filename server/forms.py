"""Forms with a file: the fields in memory, the file on disk while it comes in."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from aiohttp import web

from server.body import pieces, too_long
from server.deps import THREADS
from server.multipart import Damaged, Part, Splitter
from server.refused import Refused, bad_request
from server.threads import in_thread

FIELDS = 16
_FIELD_BYTES = 64 * 2**10
_WRITTEN_AT_ONCE = 2**20


@dataclass(frozen=True, slots=True)
class Form:
    """A form that came in whole. `path` holds the file until the `with` of `receive` ends."""

    several: Mapping[str, Sequence[str]]
    filename: str
    content_type: str
    path: Path
    size: int

    @property
    def fields(self) -> Mapping[str, str]:
        """The last text of each name."""
        return {name: texts[-1] for name, texts in self.several.items()}

    def all(self, name: str) -> list[str]:
        """Every text of a name that may be there several times."""
        return list(self.several.get(name, ()))


@asynccontextmanager
async def receive(request: web.Request, field: str, limit: int, folder: Path) -> AsyncIterator[Form]:
    """The form whose file is in `field`, kept in `folder` meanwhile. Raises Refused.

    limit: bytes of the file. Other fields are texts; those after the first 16 are passed over.
    """
    if not request.content_type.startswith("multipart/"):
        raise Refused(415, "multipart_expected", f"expected multipart/form-data with a field `{field}`")
    if (request.content_length or 0) > limit + FIELDS * _FIELD_BYTES:
        raise too_long(limit)
    path = folder / f".{uuid.uuid4().hex}.part"
    try:
        with await in_thread(request.app[THREADS], path.open, "xb") as file:
            sink = _Sink(file, field, limit)
            try:
                await _fill(request, sink)
            except Damaged as error:
                raise bad_request(f"the multipart body is damaged: {error}") from None
        if sink.file_part is None:
            raise bad_request(f"expected a file, with a name, in the field `{field}`")
        texts = {name: [_text(name, each) for each in contents] for name, contents in sink.fields.items()}
        yield Form(texts, sink.file_part.filename or "", sink.file_part.content_type, path, sink.size)
    finally:
        await in_thread(request.app[THREADS], path.unlink, missing_ok=True)


async def _fill(request: web.Request, sink: _Sink) -> None:
    splitter = Splitter(request.headers.get("Content-Type", ""))
    async for piece in pieces(request):
        for event in splitter.feed(piece):
            sink.take(event)
        if sink.waiting > _WRITTEN_AT_ONCE:
            await in_thread(request.app[THREADS], sink.write)
    splitter.finish()
    await in_thread(request.app[THREADS], sink.write)


class _Sink:
    """Where the parts go."""

    def __init__(self, file: BinaryIO, field: str, limit: int) -> None:
        self.fields: dict[str, list[bytearray]] = {}
        self.file_part: Part | None = None
        self.size = 0
        self.waiting = 0
        self._file = file
        self._field = field
        self._limit = limit
        self._pending: list[bytes] = []
        self._into: bytearray | None = None
        self._in_file = False

    def take(self, event: Part | bytes) -> None:
        """Raises Refused for what is too long, or a second file."""
        if isinstance(event, Part):
            self._in_file = event.name == self._field and event.filename is not None
            self._into = None
            if self._in_file:
                if self.file_part is not None:
                    raise bad_request(f"more than one file in the field `{self._field}`")
                self.file_part = event
            elif len(self.fields) < FIELDS or event.name in self.fields:
                self._into = bytearray()
                self.fields.setdefault(event.name, []).append(self._into)
        elif self._in_file:
            self.size += len(event)
            if self.size > self._limit:
                raise too_long(self._limit)
            self._pending.append(event)
            self.waiting += len(event)
        elif self._into is not None:
            self._into += event
            if len(self._into) > _FIELD_BYTES:
                raise too_long(_FIELD_BYTES)

    def write(self) -> None:
        """Put what waits on disk. Called in a thread, while nothing is taken."""
        self._file.writelines(self._pending)
        self._pending.clear()
        self.waiting = 0


def _text(name: str, content: bytearray) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise bad_request(f"{name[:50]}: not valid UTF-8") from None
