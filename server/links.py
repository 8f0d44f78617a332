"""What connects the server with the process of a worker, and how such a process is begun on this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeAlias

from server.wire import Channel, Message


class Far(Protocol):
    """The files of a machine that does not share the server's folders. What is asked of it raises OSError if it is gone."""

    @property
    def machine(self) -> str:
        """Stands for the machine; its workers share their files."""

    def lacks(self, digest: str) -> bool:
        """Whether no file of this content is there."""

    def store(self, digest: str, file: Path) -> None:
        """Bring a file's content there."""

    def place(self, digest: str, folder: str, name: str) -> None:
        """Have a file of this content stand where workflows find it by that name."""

    def take(self, kind: str, subfolder: str, name: str) -> bytes:
        """What a file holds that a node has written; it is gone then."""


class Link(Protocol):
    """One process, from its beginning to its end. Any thread may send, one receives."""

    @property
    def far(self) -> Far | None:
        """The files of its machine, if they are others than the server's."""

    @property
    def resumes(self) -> str:
        """The run that it was given by a server which is gone, and of which it tells from the beginning; empty for none."""

    @property
    def process_id(self) -> int | None:
        """Of the process, where it is on this machine."""

    def send(self, messages: Sequence[Message]) -> None:
        """Wait until the messages are on their way. Raises OSError or ValueError if the other end, or this one, is closed."""

    def receive(self) -> Message | None:
        """The next message; None at the end. Raises WireError or OSError."""

    def close(self) -> None:
        """Send nothing more: the process hears it, and ends."""

    @property
    def is_over(self) -> bool:
        """Whether the process has ended."""

    def kill(self) -> None:
        """End the process at once."""

    def wait(self, seconds: float | None = None) -> str:
        """Wait for its end; how that came, in words. Raises TimeoutError."""

    def release(self) -> None:
        """Let go of what it was reached by, once it has ended and no thread sends or receives."""


Begin: TypeAlias = Callable[[], Link]
"""Begins a process that runs `worker_process.work`. Raises OSError."""


class Pipes:
    """A process of this machine, which hears and speaks through its standard streams."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None, cwd: Path | None = None):
        """Begin it. Raises OSError."""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=cwd,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._channel = Channel(self._process.stdout, self._process.stdin)  # type: ignore[arg-type]

    @property
    def far(self) -> Far | None:
        return None

    @property
    def resumes(self) -> str:
        return ""

    @property
    def process_id(self) -> int:
        return self._process.pid

    def send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._channel.send(message.kind, message.body, message.content)

    def receive(self) -> Message | None:
        return self._channel.receive()

    def close(self) -> None:
        with suppress(OSError):
            self._channel.close()

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        self._process.kill()

    def wait(self, seconds: float | None = None) -> str:
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        return status_words(status)

    def release(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()


def piped(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Begin:
    """Begins a process of this machine, as often as it is called."""
    return lambda: Pipes(command, environment)


def status_words(status: int) -> str:
    """How a process ended."""
    return f"signal {-status}" if status < 0 else f"status {status}"
