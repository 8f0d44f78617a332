"""`python -m tests.server.stub_server BASE [LAG]`: a server over the stub nodes, to be killed or watched."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from graph.files import Folders
from server.backend import Engine, LocalBackend
from server.deps import Deps
from server.launch import Listen, serve
from server.logs import LogTail, set_up_logs
from tests.server.stub_nodes import factory

TICK = 0.002


class Watched(LocalBackend):
    """Writes to a file how long the event loop was kept waiting by this process itself, a line when over 5 ms."""

    def __init__(self, factory: Callable[[], Engine], folders: Folders, file: Path) -> None:
        super().__init__(factory, folders)
        self._file = file

    def start(self) -> None:
        super().start()
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        with self._file.open("a", buffering=1) as file:
            while True:
                before = _Clock()
                await asyncio.sleep(TICK)
                if (held := _Clock().since(before) - TICK) > 0.005:
                    file.write(f"{held:.4f}\n")


class _Clock:
    """Time that does not pass while other programs have the processor: what this process spent, and what passed less
    the time in which this thread could have run; each counts a little too much, not at the same moments."""

    def __init__(self) -> None:
        self._spent = time.process_time()
        _, waited, _ = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text().split()
        self._passed = time.perf_counter() - int(waited) / 1e9

    def since(self, before: _Clock) -> float:
        """Seconds."""
        return min(self._spent - before._spent, self._passed - before._passed)


if __name__ == "__main__":
    set_up_logs(LogTail(), "WARNING")
    base = Path(sys.argv[1])
    folders = Folders.standard(base)
    build = factory(folders)
    backend = Watched(build, folders, Path(sys.argv[2])) if len(sys.argv) > 2 else LocalBackend(build, folders)
    sys.exit(serve(Deps(folders, base / "darkroom.db", backend), Listen(port=0)))
