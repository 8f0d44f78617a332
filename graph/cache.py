"""Results by name, in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from graph.fingerprint import Fingerprint
from graph.result import Outputs

ENTRY_BYTES = 512
"""What remembering any result costs, however small its values."""


class Cache:
    """Fingerprint -> Outputs, least recently used out first, within `budget_bytes`.

    `sizeof` says how many bytes a value keeps alive. What is larger than the whole budget is not kept.
    May be used from any thread.
    """

    def __init__(self, budget_bytes: int, sizeof: Callable[[object], int]) -> None:
        self._budget = budget_bytes
        self._sizeof = sizeof
        self._entries: OrderedDict[Fingerprint, tuple[Outputs, int]] = OrderedDict()
        self._used = 0
        self._telling: set[Fingerprint] = set()
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        return self._used

    @property
    def telling(self) -> frozenset[Fingerprint]:
        """The results at hand that came with warnings, or showed something where they expanded: few, and mostly none."""
        with self._lock:
            return frozenset(self._telling)

    def get(self, name: Fingerprint) -> Outputs | None:
        """The outputs, which count as used now."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                return None
            self._entries.move_to_end(name)
            return entry[0]

    def put(self, name: Fingerprint, outputs: Outputs) -> None:
        """Remember, at the expense of what was not used for longest."""
        size = ENTRY_BYTES + sum(map(self._sizeof, outputs.values))
        with self._lock:
            self._drop(name)
            if size > self._budget:
                return
            self._entries[name] = outputs, size
            if outputs.warnings or outputs.inside:
                self._telling.add(name)
            self._used += size
            while self._used > self._budget:
                self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._telling.clear()
            self._used = 0

    def _drop(self, name: Fingerprint) -> None:
        if (entry := self._entries.pop(name, None)) is not None:
            self._used -= entry[1]
            self._telling.discard(name)
