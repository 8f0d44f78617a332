"""Which nodes run now, kept where a crash leaves it: in memory that is a small file's, so that no disk is waited for."""

from __future__ import annotations

import json
import mmap
import os
import threading
from dataclasses import dataclass
from itertools import islice
from json.encoder import encode_basestring_ascii
from pathlib import Path

from graph.events import Event, NodeFinished, NodeStarted

_BYTES = 2**14
_NODES = 8
_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Crash:
    """What ran when the process ended: the job, and the nodes of it that had begun and not finished."""

    job: str
    nodes: tuple[str, ...]


class Running:
    """The job that runs and its nodes, in `path`. A process that is killed leaves them there; after a power cut they
    may be older. To note a node costs a few microseconds. May be used from any thread.
    """

    def __init__(self, path: Path) -> None:
        """Reads what the last process left. Raises OSError."""
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0) as file:
            content = file.read(_BYTES)
            file.write(bytes(_BYTES - len(content)))  # so that the disk has room for it, from now on
            self._shared = mmap.mmap(file.fileno(), _BYTES)
        self.left = _read(content)
        self._lock = threading.Lock()
        self._job = ""
        self._nodes: dict[str, int] = {}

    def begin(self, job: str) -> None:
        """A job is handed to the engine; none of its nodes runs yet."""
        with self._lock:
            self._job, self._nodes = job, {}
            self._write()

    def note(self, event: Event) -> None:
        """Follow the job's nodes. To be called where the event is told, before a node begins."""
        match event:
            case NodeStarted(run_id=job, node_id=node):
                with self._lock:
                    if job == self._job:
                        self._nodes[node] = self._nodes.get(node, 0) + 1
                        self._write()
            case NodeFinished(run_id=job, node_id=node, cached=False):
                with self._lock:
                    if job == self._job and (times := self._nodes.pop(node, 0)):
                        if times > 1:
                            self._nodes[node] = times - 1
                        self._write()
            case _:
                pass

    def end(self) -> None:
        """No job runs."""
        self.begin("")

    def close(self) -> None:
        """Let go of the file."""
        self.end()
        with self._lock:
            self._shared.close()

    def _write(self) -> None:
        """Some bytes of memory that the system writes to the file: no call of the system, in which other threads would take
        this one's turn. Of many nodes or long ids some are enough to know a crash again.
        """
        names = [self._job, *(node[:_CHARACTERS] for node in islice(self._nodes, _NODES))]
        line = f"[{', '.join(map(encode_basestring_ascii, names))}]\n".encode()
        if not self._shared.closed:  # a node that was left behind goes on while the server closes
            self._shared[: len(line)] = line


def _read(content: bytes) -> Crash | None:
    """What was written, if it is whole."""
    try:
        job, *nodes = json.loads(content.split(b"\n")[0])
    except (ValueError, TypeError):
        return None
    return Crash(str(job), tuple(map(str, nodes)))
