"""Looking on while a node runs: a thread cannot be stopped from outside, but it can be noticed that it does not end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")

GRACE_SECONDS = 5.0
"""How long a node that was asked to stop may take to notice."""


class Watch(Generic[T]):
    """Watches one call after the other, each of which may take `limit` seconds.

    Past that it calls `late`, after a time of grace `failed`, and if the call does not even end within another `limit`,
    `lost`. All three are called from the watch's own thread.
    """

    def __init__(
        self,
        limit: float,
        late: Callable[[T], None],
        failed: Callable[[T], None],
        lost: Callable[[T], None],
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._steps = ((limit, late), (limit + grace, failed), (2 * limit + grace, lost))
        self._changed = threading.Condition()
        self._call: tuple[float, T] | None = None
        self._thread: threading.Thread | None = None
        self._open = True

    @contextmanager
    def over(self, what: T) -> Iterator[None]:
        """Watch the body of a `with`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="graph-watch", daemon=True)
            self._thread.start()
        self._set((time.monotonic(), what))
        try:
            yield
        finally:
            self._set(None)

    def close(self) -> None:
        """End the thread."""
        self._open = False
        self._set(None)
        if self._thread is not None:
            self._thread.join()

    def _set(self, call: tuple[float, T] | None) -> None:
        with self._changed:
            self._call = call
            self._changed.notify()

    def _look(self) -> None:
        while self._open:
            with self._changed:
                while self._open and self._call is None:
                    self._changed.wait()
                call = self._call
            for after, act in self._steps:
                if call is None or not self._lasts(call, call[0] + after):
                    break
                act(call[1])
            else:
                self._lasts(call, float("inf"))

    def _lasts(self, call: tuple[float, T] | None, until: float) -> bool:
        """Whether the call still goes on then."""
        with self._changed:
            while self._open and self._call is call:
                left = until - time.monotonic()
                if left <= 0:
                    return True
                self._changed.wait(min(left, threading.TIMEOUT_MAX))
        return False
