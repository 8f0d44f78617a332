"""Messages between Darkroom and the process of a pack: JSON, with tensors beside it in shared memory."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nodes.packs.isolated.codec import Reader, WireError, encoded
from nodes.packs.isolated.memory import MemoryFile, Tensors, end

LONGEST = 2**28
"""Bytes of a message without its tensors; a longer one is taken for a fault."""
KEPT = 2**26
"""Files of more bytes are let go of with the message they were made for."""
_HEAD = "<I?Q"
"""The bytes of the message, whether it has tensors, and how many messages with tensors the sender has let go of."""


@dataclass(frozen=True, slots=True)
class Message:
    """`number`: of the question that it is, or that it answers; 0 for what is only told."""

    kind: str
    number: int
    body: Any


@dataclass(frozen=True, slots=True)
class Written:
    """A message that can be sent, and the file that its tensors lie in."""

    whole: bytes
    file: MemoryFile | None


class Channel:
    """One end of a connection. `lend`: makes of a file that came how its tensors are read.

    Tensors are written into a memory file that goes along with the first message that needs it. It is written again once
    the other end has let go of all that it was sent, which every message says; until then there is another one.
    """

    def __init__(self, connection: socket.socket, lend: Callable[[int], Tensors]) -> None:
        self._connection = connection
        self._lend = lend
        self._sending = threading.Lock()
        self._out: MemoryFile | None = None  # to be written again
        self._last: MemoryFile | None = None  # what the other end reads
        self._sent = 0  # messages with tensors
        self._free = 0  # how many of these the other end has let go of
        self._tensors: Tensors | None = None
        self._received = 0
        self._let_go = 0

    def send(self, kind: str, number: int, body: object) -> None:
        """From any thread. Raises WireError for what cannot be sent, OSError if the other end is gone."""
        self.post(self.written(kind, number, body))

    def written(self, kind: str, number: int, body: object) -> Written:
        """A message with all that is in it, so that `body` can be let go of before it is sent. Raises WireError."""
        tensors: list[Tensor] = []
        whole = json.dumps([kind, number, encoded(body, tensors)]).encode()
        if len(whole) > LONGEST:
            raise WireError(f"a message of {len(whole)} bytes is too long")
        return Written(whole, self._lay(tensors) if tensors else None)

    def post(self, message: Written) -> None:
        """Send it. From any thread. Raises OSError if the other end is gone."""
        file, whole = message.file, message.whole
        with self._sending:
            files = [file.number] if file is not None and file is not self._last else []
            head = struct.pack(_HEAD, len(whole), file is not None, self._unused())
            done = socket.send_fds(self._connection, [head, whole], files)
            if done < len(head) + len(whole):
                self._connection.sendall((head + whole)[done:])
            if file is not None:
                self._sent += 1
                self._last = self._out = file if file.size <= KEPT else None

    def receive(self) -> Message | None:
        """The next message; None at the end. From one thread. Raises WireError for what is no message."""
        try:
            head, file = self._head()
            if file is not None:
                self._tensors = self._lend(file)
            if head is None:
                return None
            length, has_tensors, self._free = struct.unpack(_HEAD, head)
            whole = self._read(length) if length <= LONGEST else None
            if whole is None:
                raise WireError("a message that is too long, or has no end")
            reader = Reader(self._tensors)
            kind, number, body = reader.read(whole)
            message = Message(str(kind), int(number), body)
        except (
            *(ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, RuntimeError, OSError),
        ) as error:
            raise WireError(f"what came is no message: {error!r}") from error
        self._received += has_tensors  # only now: what was read is in use
        if reader.place > KEPT:  # as the other end does
            self._tensors = None
        return message

    def close(self) -> None:
        """Let go of the connection and the memory."""
        self._connection.close()
        self._out = self._last = self._tensors = None

    def _lay(self, tensors: Sequence[Tensor]) -> MemoryFile:
        """The tensors in a file that nobody reads any more, or in a new one."""
        size = end(tensors)
        with self._sending:
            file, self._out = self._out, None
            is_free = self._free == self._sent
        if file is None or not is_free or size > file.size:
            try:
                file = MemoryFile(size)
            except OSError as error:
                raise WireError(f"there is no memory for tensors of {size} bytes: {error.strerror}") from error
        file.write(tensors)
        return file

    def _unused(self) -> int:
        """How many of the messages with tensors are of no use here any more."""
        if self._tensors is None or not self._tensors.are_used:
            self._let_go = self._received
        return self._let_go

    def _head(self) -> tuple[bytes | None, int | None]:
        """How long the next message is, and the file that came with it."""
        size = struct.calcsize(_HEAD)
        ours_alone = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # not of programs that are begun here
        try:
            head, files, _, _ = socket.recv_fds(self._connection, size, 1, ours_alone)
        except OSError:
            return None, None
        rest = self._read(size - len(head)) if head else None
        return (None if rest is None else head + rest), files[0] if files else None

    def _read(self, length: int) -> bytes | None:
        pieces = bytearray()
        while len(pieces) < length:
            try:
                piece = self._connection.recv(length - len(pieces))
            except OSError:
                return None
            if not piece:
                return None
            pieces += piece
        return bytes(pieces)
