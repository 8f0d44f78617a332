"""Which nodes run now, kept where a crash leaves it: in a small file that no disk is waited for."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from dataclasses import dataclass
from itertools import islice
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
    may be older. To note a node costs some microseconds. May be used from any thread.
    """

    def __init__(self, path: Path) -> None:
        """Reads what the last process left. Raises OSError."""
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
        self.left = _read(self._file.read(_BYTES))
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
            self._file.close()

    def _write(self) -> None:
        """One small write, which a kill cannot cut in two. Of many nodes or long ids some are enough to know a crash
        again.
        """
        nodes = [node[:_CHARACTERS] for node in islice(self._nodes, _NODES)]
        line = json.dumps([self._job, *nodes]) + "\n"
        if not self._file.closed:  # a node that was left behind goes on while the server closes
            with contextlib.suppress(OSError):  # a full disk: a crash in this node will not be known again
                self._file.seek(0)
                self._file.write(line.encode())


def _read(content: bytes) -> Crash | None:
    """What was written, if it is whole."""
    try:
        job, *nodes = json.loads(content.split(b"\n")[0])
    except (ValueError, TypeError):
        return None
    return Crash(str(job), tuple(map(str, nodes)))
