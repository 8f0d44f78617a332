"""What stands between a server and a worker's process on another machine: it passes messages on, and keeps files there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from graph.events import Progress
from graph.files import Folders, objection
from server.links import status_words
from server.wire import Channel, WireError, unpacked
from server.worker_process import GRACE_SECONDS

TELL_SECONDS = 1.0
"""How long it waits for something to tell before it says that there is nothing."""
ATTENDED_SECONDS = 5.0
"""A server that has not asked for so long is gone."""
ALONE_SECONDS = 600.0
"""How long a worker waits for a server to come back."""
MARK = ".darkroom-folder"
"""The file by which a machine knows the server's folder."""
GATHER_SECONDS = 0.1
"""How long what is told may wait for more that travels with it."""
_MOST = 256
"""Messages that are passed on at once."""
_WAITED_FOR = frozenset({"ready", "unavailable", "dying", "refused", "broken", "answer", "ended"})
"""What is told at once, with all that was said before it."""
_LASTING = frozenset({"accepted", "refused", "broken", "made", "kept", "recipes", "ended"})


class Passer:
    """The actor: begins the process beside it, passes frames on to it, and hands over what it says.

    It outlives the server: what the process says meanwhile of the run that it is at is kept for the server that comes next.
    """

    def __init__(self) -> None:
        self._said = threading.Condition()
        self._frames: deque[bytes] = deque()
        self._kept: list[bytes] = []
        self._ready: bytes | None = None
        self._run = ""
        self._words: str | None = None
        self._is_waited_for = False
        self._attended = time.monotonic()
        self._is_near = True
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._folders: Folders | None = None

    def begin(
        self,
        near: list[str],
        far: list[str],
        source: str,
        base: str,
        mark: str,
        cwd: str,
        on_each: int,
        environment: dict[str, str],
    ) -> tuple[int, bool]:
        """Begin the process: its number, and whether it has the server's folder. Raises OSError where it cannot be begun."""
        self.close()
        here = Path(source) if Path(source).is_dir() else Path.cwd()
        is_near = _read(Path(base) / MARK) == mark
        if not is_near:
            own = os.environ.get("DARKROOM_WORKER_DIRECTORY") or Path.home() / ".cache" / "darkroom"
            self._folders = Folders.standard(Path(own) / mark)
            base = str(self._folders.base)
        threads = str(max(1, (os.cpu_count() or 1) // on_each))  # Ray's own count is that of what it schedules
        words = (word.replace("{source}", str(here)).replace("{base}", base) for word in (near if is_near else far))
        process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": threads, **environment},
            cwd=cwd if is_near and Path(cwd).is_dir() else here,
            start_new_session=True,
        )
        channel = Channel(process.stdout, process.stdin)  # type: ignore[arg-type]
        with self._said:
            self._process, self._channel, self._is_near = process, channel, is_near
            self._ready, self._words, self._run, self._kept = None, None, "", []
            self._frames.clear()
            self._attended = time.monotonic()
        threading.Thread(target=self._listen, args=(process, channel), name="telling", daemon=True).start()
        threading.Thread(target=self._end_alone, args=(process,), name="attendance", daemon=True).start()
        return process.pid, is_near

    def run(self) -> str:
        """The run that the process was given last."""
        return self._run

    def attach(self) -> tuple[int, bool, str, list[bytes]] | None:
        """For a server that comes after another: the process's number, whether it has the server's folder, the run that it was
        given last, and what it said of that. None where the process has ended, or is not ready. Raises BlockingIOError while the other server is there.
        """
        with self._said:
            if self._words is not None or self._ready is None or self._process is None:
                return None
            if self._attended_lately(ATTENDED_SECONDS):
                raise BlockingIOError("another server has this worker")
            self._attended = time.monotonic()
            self._frames.clear()
            return self._process.pid, self._is_near, self._run, [self._ready, *self._kept]

    def lacks(self, digest: str) -> bool:
        """See `Far`."""
        return not self._stored(digest).is_file()

    def store(self, digest: str, start: int, content: bytes, is_last: bool) -> None:
        """A part of a file; the parts come in order."""
        path = self._stored(digest)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab" if start else "wb") as file:
            file.write(content)
        if is_last:
            part.replace(path)

    def place(self, digest: str, folder: str, name: str) -> None:
        """See `Far`. The file is there once, under all of its names."""
        assert self._folders is not None
        stored, target = self._stored(digest), self._folders.roots(folder)[0] / name
        if objection(name) or (target.exists() and target.samefile(stored)):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            target.unlink()
        os.link(stored, target)

    def take(self, kind: str, subfolder: str, name: str) -> bytes:
        """See `Far`."""
        assert self._folders is not None
        (path,) = self._folders.shown_files({"": [{"filename": name, "subfolder": subfolder, "type": kind}]})
        content = path.read_bytes()
        path.unlink()
        return content

    def machine(self) -> str:
        """See `Far`."""
        return f"{socket.gethostname()} {self._folders and self._folders.base}"

    def _stored(self, digest: str) -> Path:
        assert self._folders is not None
        return self._folders.base / "contents" / digest

    def hear(self, *frames: bytes) -> None:
        """Pass messages on to the process."""
        assert self._channel is not None
        for frame in frames:
            message = unpacked(frame)
            if message.kind == "run":
                with self._said:
                    self._run, self._kept = str(message.body["id"]), []
            self._channel.pass_on(frame)

    def tell(self) -> list[bytes] | str:
        """What the process has said since; in words how it ended, once it has."""
        with self._said:
            self._attended = time.monotonic()
            if not self._frames and self._words is None:
                self._said.wait(TELL_SECONDS)
            if self._frames and self._words is None and not self._is_waited_for:
                self._said.wait(GATHER_SECONDS)
            self._attended, self._is_waited_for = time.monotonic(), False
            frames = [self._frames.popleft() for _ in range(min(len(self._frames), _MOST))]
            return frames if frames or self._words is None else self._words

    def close(self) -> None:
        """Nothing more will be said to the process, which ends."""
        if self._channel is not None:
            with suppress(OSError):
                self._channel.close()

    def _listen(self, process: subprocess.Popen[bytes], channel: Channel) -> None:
        with suppress(WireError, OSError):
            while (frame := channel.frame()) is not None and process is self._process:
                self._note(frame)
        words = status_words(process.wait())
        assert process.stdout is not None
        process.stdout.close()
        with self._said:
            if process is self._process:
                self._words = words
                self._said.notify_all()

    def _note(self, frame: bytes) -> None:
        message = unpacked(frame)
        with self._said:
            if message.kind == "ready":
                self._ready = frame
            elif message.kind in _LASTING or (
                message.kind == "event" and message.body[0].get("!") != Progress.__name__
            ):
                self._kept.append(frame)
            if message.kind != "alive" or self._attended_lately(ATTENDED_SECONDS):
                self._frames.append(frame)
                self._is_waited_for |= message.kind in _WAITED_FOR
                if len(self._frames) == 1 or self._is_waited_for:
                    self._said.notify_all()

    def _attended_lately(self, seconds: float) -> bool:
        return time.monotonic() - self._attended < seconds

    def _end_alone(self, process: subprocess.Popen[bytes]) -> None:
        """Let go of the machine when no server has come back."""
        while process is self._process and self._words is None and self._attended_lately(ALONE_SECONDS):
            time.sleep(TELL_SECONDS)
        if process is self._process and self._words is None:
            self.close()
            time.sleep(GRACE_SECONDS)
            os._exit(0)


def _read(path: Path) -> str:
    """What a file holds; nothing where it is not."""
    try:
        return path.read_text()
    except OSError:
        return ""
