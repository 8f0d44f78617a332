"""A run's progress on a terminal: an event sink."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, TextIO

from tqdm import tqdm

from graph.document import NodeId
from graph.events import Event, NodeFinished, NodeRetried, NodesCached, NodeWarned, Progress, RunFailed, RunInterrupted

QUIET = 1.0  # seconds between plain lines about one node


class Console:
    """Shows a bar for each node that reports steps; plain lines where nobody watches a terminal."""

    def __init__(self, stream: TextIO, titles: Mapping[NodeId, str]) -> None:
        self._stream = stream
        self._titles = titles
        self._bar: tqdm[Any] | None = None
        self._told = 0.0

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case Progress(node_id=node_id, done=done, total=total, cell=cell):
                title = self._title(node_id) + (f" ({cell.words})" if cell and cell.words else "")
                if self._stream.isatty():
                    self._draw(title, done, total)
                else:
                    self._write(title, done, total)
            case NodesCached(nodes=nodes) if nodes:
                self._stream.write(f"{len(nodes)} nodes are at hand from before\n")
            case NodeRetried(node_id=node_id, thrift=thrift):
                self._close()
                self._stream.write(f"{self._title(node_id)}: out of memory, trying again {thrift.words}\n")
            case NodeFinished() | NodeWarned() | RunFailed() | RunInterrupted():
                self._close()
            case _:
                pass

    def _draw(self, title: str, done: float, total: float) -> None:
        bar = self._bar or tqdm(total=total, desc=title, file=self._stream, unit="step")
        bar.update(done - bar.n)
        self._bar = bar

    def _write(self, title: str, done: float, total: float) -> None:
        now = time.monotonic()
        if done >= total or now - self._told >= QUIET:
            self._told = now
            self._stream.write(f"{title}: step {done:g} of {total:g}\n")
            self._stream.flush()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _title(self, node_id: NodeId) -> str:
        return self._titles.get(node_id, node_id)
