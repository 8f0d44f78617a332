"""Results of runs that may be lost with their workers: whoever runs the same again begins with them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

MOST_BYTES = 2**29
"""Of all results together; those of the oldest runs go first."""


class KeptResults:
    """Results as bytes, by the names that they have in every process. May be used from any thread."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._runs: OrderedDict[str, dict[str, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, run: str, name: str, content: bytes) -> None:
        """Keep a result until its run has ended, or there are too many."""
        with self._lock:
            self._runs.setdefault(run, {})[name] = content
            self._runs.move_to_end(run)
            while sum(len(it) for kept in self._runs.values() for it in kept.values()) > self._most:
                self._runs.popitem(last=False)

    def of(self, run: str) -> Sequence[tuple[str, bytes]]:
        """What a run had made when its worker was lost."""
        with self._lock:
            return list(self._runs.get(run, {}).items())

    def forget(self, run: str) -> None:
        """The run has ended."""
        with self._lock:
            self._runs.pop(run, None)
