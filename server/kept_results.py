"""Results of runs that may be lost with their workers: whoever runs the same again begins with them."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

MOST_BYTES = 2**29
"""Of all results together, where they lie in the server's memory; those of the oldest runs go first."""

Fetch: TypeAlias = Callable[[], bytes]
"""What was put away. Raises OSError if it is gone."""
PutAway: TypeAlias = Callable[[bytes], Fetch]
"""Has bytes lie somewhere, as long as what it gives is there. Raises OSError if there is no room."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Kept:
    size: int
    fetch: Fetch


def in_memory(content: bytes) -> Fetch:
    """Has bytes lie in this process."""
    return lambda: content


class KeptResults:
    """Results as bytes, by the names that they have in every process. May be used from any thread."""

    def __init__(self, most: int = MOST_BYTES, put_away: PutAway = in_memory) -> None:
        """most: bytes. put_away: where results lie."""
        self._most = most
        self._put_away = put_away
        self._runs: OrderedDict[str, dict[str, _Kept]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, run: str, name: str, content: bytes) -> None:
        """Keep a result until its run has ended, or there are too many. One that cannot be kept is made again, if need be."""
        try:
            kept = _Kept(len(content), self._put_away(content))
        except OSError as error:
            _logger.warning("a result of run %s is not kept for a retry: %s", run, error)
            return
        with self._lock:
            self._runs.setdefault(run, {})[name] = kept
            self._runs.move_to_end(run)
            while sum(it.size for results in self._runs.values() for it in results.values()) > self._most:
                self._runs.popitem(last=False)

    def of(self, run: str) -> Sequence[tuple[str, bytes]]:
        """What a run had made when its worker was lost, as far as it is still there."""
        with self._lock:
            kept = list(self._runs.get(run, {}).items())
        found = []
        for name, it in kept:
            try:
                found.append((name, it.fetch()))
            except OSError as error:
                _logger.warning("a result of run %s is gone, and is made again: %s", run, error)
        return found

    def forget(self, run: str) -> None:
        """The run has ended."""
        with self._lock:
            self._runs.pop(run, None)
