"""Where nodes run that are not for the loop's own thread: a small pool for files, and an event loop for async ones."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeVar

T = TypeVar("T")


class Lanes:
    """`scope` is entered once for all async nodes: it would be left in the wrong order if each entered it."""

    def __init__(self, workers: int, scope: Callable[[], AbstractContextManager[object]]) -> None:
        self._workers = workers
        self._scope = scope
        self._pool = self._new_pool()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def io(self, call: Callable[[], T]) -> Future[T]:
        """Call it on the pool."""
        return self._pool.submit(call)

    def promise(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run it beside the others."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._run, args=(self._loop,), name="graph-async", daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def replace_pool(self) -> None:
        """Leave the threads of the pool to what holds them up, and begin with others."""
        self._pool.shutdown(wait=False)
        self._pool = self._new_pool()

    def close(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown()
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._workers, thread_name_prefix="graph-io")

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        with self._scope():
            loop.run_forever()
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
