"""Workers on a Ray cluster: each has an actor, which begins its process and passes messages on. Only this file imports ray."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from graph.whole_files import write_whole
from server.exchange import Exchange
from server.foreign import Hear
from server.kept_results import Fetch, KeptResults
from server.links import Far, Link
from server.passer import ATTENDED_SECONDS, MARK, TELL_SECONDS, Passer
from server.process_backend import ProcessBackend
from server.security import is_loopback
from server.wire import Message, packed, unpacked

BEGIN_SECONDS = 60.0
"""How long a place in the cluster is waited for, before that is told and tried again."""
PROBE_SECONDS = 20.0
KEPT_SHARE = 0.5
"""Of the cluster's object store: for results that a retry begins with."""
PIECE = 2**26
"""Bytes of a file that travel at once."""
_TOKENS = "token"
_PLACES = frozenset(
    {
        *("--base-directory", "--models-directory", "--input-directory", "--output-directory", "--temp-directory"),
        *("--extra-model-paths-config", "--front-end-root", "--database", "--token-file", "--log-file"),
        *("--tls-keyfile", "--tls-certfile"),
    }
)
"""Flags that name places on the server's machine."""
_OPEN = "the Ray cluster takes work from anybody: unset RAY_AUTH_MODE, where it is started and here, so that it asks for its token"
_NOT_SENT = (".git", ".venv", "web", "tests", "bench", "findings", "workspace", "models/embedded", "**/__pycache__")
"""What of the program's folder no worker needs."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for; None where the cluster decides. `gpus` and `resources` are those of each worker."""

    workers: int | None = None
    gpus: float | None = None
    resources: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker is given of a machine. Without a GPU it gets one of the processors."""

    gpus: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Work:
    """How a worker's process is begun: what Python is told, in the folder that the server was begun in. `{source}` stands
    for the program's folder on the worker's machine, which is `source` where that is there.

    `far_command` is for machines on which the server's folder `base` is not there: `{base}` is one of their own.
    """

    command: Sequence[str]
    far_command: Sequence[str]
    source: Path
    base: Path
    on_each: int = 1
    """Workers of a machine, which share its processors."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def marked(self) -> str:
        """What stands in a file of the server's folder, by which a worker knows that it is the same folder."""
        path = self.base / MARK
        if not path.is_file():
            write_whole(path, uuid.uuid4().hex.encode())
        return path.read_text()


class Cluster:
    """A connection to a Ray cluster; only one is open in a process. Raises OSError where no cluster answers, ValueError for
    one that takes work from anybody.
    """

    def __init__(self, address: str, source: Path, least_cpus: int = 0) -> None:
        """address: of the cluster's head; "auto" is the cluster of this machine, which is begun if there is none, for this
        machine alone. source: the program, for machines that do not have it.
        """
        if os.environ.setdefault("RAY_AUTH_MODE", _TOKENS) != _TOKENS:
            raise ValueError(
                "RAY_AUTH_MODE is set so that the cluster takes work from anybody; unset it, there and here"
            )
        alone = address == "auto" and not _has_cluster()
        if alone or is_loopback(address.rpartition(":")[0]):
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's name for: listen on the loopback address only
        if not alone and _lets_anybody_in(address):
            raise ValueError(_OPEN)
        import ray  # once the environment says what it is to be

        self._ray: Any = ray
        settings: dict[str, Any] = {"namespace": "darkroom", "logging_level": "ERROR"}
        if alone:
            cpus = max(least_cpus, os.cpu_count() or 1)
            settings |= {"address": "local", "num_cpus": cpus, "include_dashboard": False}
        else:
            settings |= {"address": address}
            settings["runtime_env"] = {"working_dir": str(source), "excludes": list(_NOT_SENT)}
        try:
            ray.init(**settings)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise OSError(f"no Ray cluster at {address}: {error}") from error

    @property
    def gpus(self) -> float:
        """How many it has."""
        return float(self._ray.cluster_resources().get("GPU", 0.0))

    @property
    def machines(self) -> int:
        """How many are there."""
        return sum(bool(node["Alive"]) for node in self._ray.nodes())

    def workers(
        self, wanted: Wanted, arguments: Sequence[str], source: Path, relay: Hear, exchange: Exchange
    ) -> Sequence[ProcessBackend]:
        """The workers, not begun yet. arguments: of `main.py`, besides the device."""
        gpus = (1.0 if self.gpus else 0.0) if wanted.gpus is None else wanted.gpus
        number = wanted.workers or (int(self.gpus / gpus) if gpus else self.machines)
        on_each = -(-number // max(1, self.machines))
        if gpus:
            together = min(on_each, max(1, int(1 / gpus)))
            devices, device = ["cuda"] * together + ["cuda:1"] * (on_each - together), "cuda"
        else:
            devices, device = [f"cpu:{on_each}"], "cpu"
        shares = ["--workers", ",".join(devices), "--device", device]  # which say how memory is to be shared
        near = ["{source}/main.py", *arguments, *shares]
        far = ["{source}/main.py", *_without_places(arguments), *shares, "--base-directory", "{base}"]
        work = Work(near, far, source, exchange.base, on_each)
        return self.backends(number, Place(gpus, wanted.resources), work, relay, exchange)

    def backends(
        self, number: int, place: Place, work: Work, relay: Hear, exchange: Exchange | None
    ) -> Sequence[ProcessBackend]:
        """Workers that go on with the actors which the server had before it ended, if they are the same; others end."""
        before = f"{work.marked()[:16]} "
        names = {f"{before}{_signature(place, work)} {at}": f"ray-{at}" for at in range(number)}
        runs, kept = dict[str, str](), KeptResults(self._room, self._put_away)
        for name in self._ray.util.list_named_actors():
            if name in names:
                runs[name] = self._run_of(name)
            elif name.startswith(before):
                with suppress(ValueError):  # it has just ended
                    self._ray.kill(self._ray.get_actor(name))
        return [
            ProcessBackend(
                worker,
                partial(_ActorLink, self._ray, name, place, work),
                relay=relay,
                exchange=exchange,
                resumes=runs.get(name, ""),
                kept=kept,
            )
            for name, worker in names.items()
        ]

    def _run_of(self, name: str) -> str:
        """The run that a worker was given last; nothing where it does not answer."""
        try:
            return str(self._ray.get(self._ray.get_actor(name).run.remote(), timeout=PROBE_SECONDS))
        except (self._ray.exceptions.RayError, ValueError):
            return ""

    @property
    def _room(self) -> int:
        """Bytes of the object store that results may take."""
        return int(self._ray.cluster_resources().get("object_store_memory", 0.0) * KEPT_SHARE)

    def _put_away(self, content: bytes) -> Fetch:
        """Have a result lie in the object store, which writes to its disk what has no room in memory."""
        try:
            return partial(self._fetch, self._ray.put(content))
        except self._ray.exceptions.RayError as error:
            raise OSError(type(error).__name__) from error

    def _fetch(self, reference: object) -> bytes:
        try:
            content: bytes = self._ray.get(reference, timeout=PROBE_SECONDS)
        except self._ray.exceptions.RayError as error:
            raise OSError(type(error).__name__) from error
        return content

    def close(self) -> None:
        """Let go of the cluster; one that was begun here ends."""
        self._ray.shutdown()


class _ActorLink(Link):
    """A process somewhere in the cluster, spoken to through its actor. Raises OSError if there is no place for it."""

    def __init__(self, ray: Any, name: str, place: Place, work: Work) -> None:
        self._ray = ray
        self._frames: deque[bytes] = deque()
        self._over = threading.Event()
        self._words = "its machine does not answer"
        self._sending = threading.Lock()
        self._sent: Any = None
        self._resumes = ""
        wanted = {"num_gpus": place.gpus, "num_cpus": 0 if place.gpus else 1, "resources": dict(place.resources)}
        groups = {"in": 1, "out": 1, "files": 1}
        remote = ray.remote(concurrency_groups=groups, max_restarts=0)(Passer)
        self._actor: Any = None
        self._tell: Any = None
        self._number = 0
        try:
            self._actor = remote.options(**wanted, name=name, lifetime="detached", get_if_exists=True).remote()
            self._tell = self._actor.tell.options(concurrency_group="out")
            is_near = self._attached()
            if is_near is None:
                is_near = self._begun(work)
        except ray.exceptions.GetTimeoutError:
            self.kill()
            raise OSError("the cluster has no place for it") from None
        except (ray.exceptions.RayError, ValueError, OSError) as error:
            self.kill()
            raise OSError(str(error).strip().splitlines()[-1]) from error
        self._far = None if is_near else _FarFiles(ray, self._actor)

    @property
    def far(self) -> Far | None:
        return self._far

    @property
    def resumes(self) -> str:
        return self._resumes

    @property
    def process_id(self) -> int:
        return self._number

    def send(self, messages: Sequence[Message]) -> None:
        if messages:
            self._call("hear", *map(packed, messages))

    def receive(self) -> Message | None:
        while not self._frames:
            try:
                told = self._ray.get(self._tell.remote())
            except self._ray.exceptions.RayError as error:
                self._words = type(error).__name__
                self._over.set()
                return None
            if isinstance(told, str):
                self._words = told
                self._over.set()
                return None
            self._frames.extend(told)
        return unpacked(self._frames.popleft())

    def close(self) -> None:
        with suppress(OSError):
            self._call("close")

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def kill(self) -> None:
        if self._actor is not None:
            self._ray.kill(self._actor)
        self._over.set()

    def wait(self, seconds: float | None = None) -> str:
        if not self._over.wait(seconds):
            raise TimeoutError
        return self._words

    def release(self) -> None:
        # Ray ends a process that lets go of these after the connection
        self._actor = self._tell = self._sent = self._far = None

    def _attached(self) -> bool | None:
        """Go on with the process that is there; whether it has the server's folder. None where there is none."""
        until = time.monotonic() + ATTENDED_SECONDS * 2
        while True:
            try:
                found = self._ray.get(self._actor.attach.remote(), timeout=BEGIN_SECONDS)
            except BlockingIOError:  # the server before this one has just gone
                if time.monotonic() > until:
                    self._actor = None  # it is the other's
                    raise
                time.sleep(TELL_SECONDS)
                continue
            if found is None:
                return None
            self._number, is_near, self._resumes, frames = found
            self._frames.extend(frames)
            return bool(is_near)

    def _begun(self, work: Work) -> bool:
        """Begin a process; whether it has the server's folder."""
        commands = list(work.command), list(work.far_command)
        places = str(work.source), str(work.base), work.marked(), str(Path.cwd())
        begun = self._actor.begin.remote(*commands, *places, work.on_each, dict(work.environment))
        self._number, is_near = self._ray.get(begun, timeout=BEGIN_SECONDS)
        return bool(is_near)

    def _call(self, method: str, *given: bytes) -> None:
        """Have the actor do something, after what it was asked for before; one call is on its way at a time."""
        with self._sending:
            try:
                if self._sent is not None:
                    self._ray.get(self._sent)
                self._sent = getattr(self._actor, method).options(concurrency_group="in").remote(*given)
            except self._ray.exceptions.RayError as error:
                raise OSError(f"the worker does not answer: {type(error).__name__}") from error


class _FarFiles(Far):
    """The files of the machine that an actor is on."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray = ray
        self._actor = actor
        self._machine = str(self._ask("machine"))

    @property
    def machine(self) -> str:
        return self._machine

    def lacks(self, digest: str) -> bool:
        return bool(self._ask("lacks", digest))

    def store(self, digest: str, file: Path) -> None:
        size, start = file.stat().st_size, 0
        with file.open("rb") as content:
            while start < size or not start:
                piece = content.read(PIECE)
                self._ask("store", digest, start, piece, start + len(piece) >= size)
                start += len(piece)
                if not piece:
                    break

    def place(self, digest: str, folder: str, name: str) -> None:
        self._ask("place", digest, folder, name)

    def take(self, kind: str, subfolder: str, name: str) -> bytes:
        content: bytes = self._ask("take", kind, subfolder, name)
        return content

    def _ask(self, method: str, *given: object) -> Any:
        """What the actor answers; large bytes go through Ray's object store."""
        try:
            return self._ray.get(getattr(self._actor, method).options(concurrency_group="files").remote(*given))
        except self._ray.exceptions.RayError as error:
            raise OSError(f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}") from error


def _signature(place: Place, work: Work) -> str:
    """Stands for what workers run: its code, what it is told, and where."""
    found = sha256(repr((place, work.command, work.far_command, work.on_each)).encode())
    for package in ("graph", "models", "nodes", "server"):
        for path in sorted((work.source / package).rglob("*.py")):
            found.update(path.read_bytes())
    return found.hexdigest()[:16]


def _without_places(arguments: Sequence[str]) -> list[str]:
    """The flags that also hold on machines with folders of their own."""
    rest, kept = list(arguments), list[str]()
    while rest:
        word = rest.pop(0)
        flag, equals, _ = word.partition("=")
        if flag not in _PLACES:
            kept.append(word)
        elif not equals and rest:
            rest.pop(0)
    return kept


def _lets_anybody_in(address: str) -> bool:
    """Whether a cluster answers who has no token."""
    where = [] if address == "auto" else ["--address", address]
    probe = [sys.executable, "-m", "ray.scripts.scripts", "health-check", *where]
    with suppress(subprocess.TimeoutExpired):
        surroundings = {**os.environ, "RAY_AUTH_MODE": "disabled"}
        return subprocess.run(probe, env=surroundings, capture_output=True, timeout=PROBE_SECONDS).returncode == 0
    return False


def _has_cluster() -> bool:
    """Whether there is one on this machine, or the environment names one."""
    return "RAY_ADDRESS" in os.environ or (Path(tempfile.gettempdir()) / "ray" / "ray_current_cluster").is_file()
