"""Two machines without a shared folder, by network namespaces of this one: files travel, and a link that is cut is survived."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.server.clustered_server import SOURCE
from tests.server.test_shared_sweeps import many, shown

pytestmark = pytest.mark.acceptance
HERE, THERE = "10.231.7.1", "10.231.7.2"
PORT = 6379
CUT_SECONDS = 10.0
ASK = "import sys, urllib.request as u; r = u.Request(sys.argv[1], sys.argv[2].encode() or None); print(u.urlopen(r).read().decode())"


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@dataclass
class Machines:
    """Two network namespaces with a wire between them."""

    here: str
    there: str
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def begin(self, where: str, command: Sequence[str], log: Path, **named: str) -> subprocess.Popen[str]:
        """A process on one of the machines."""
        surroundings = {**os.environ, "RAY_AUTH_MODE": "token", "PYTHONPATH": str(SOURCE), **named}
        surroundings.pop("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", None)
        with log.open("w") as errors:
            process = subprocess.Popen(
                ["ip", "netns", "exec", where, *command],
                cwd=SOURCE,
                env=surroundings,
                stdout=subprocess.PIPE if "clustered" in " ".join(command) else errors,
                stderr=errors,
                start_new_session=True,
                text=True,
            )
        self.processes.append(process)
        return process

    def ask(self, url: str, body: Any = None) -> Any:
        """What the server answers."""
        text = "" if body is None else json.dumps(body)
        return json.loads(run("ip", "netns", "exec", self.here, sys.executable, "-c", ASK, url, text))

    def wire(self, state: str) -> None:
        """Cut the wire, or mend it."""
        run("ip", "-n", self.here, "link", "set", "wire", state)


@pytest.fixture
def machines() -> Iterator[Machines]:
    """The machines; tests are left out where namespaces cannot be made."""
    if find_spec("ray") is None or shutil.which("ip") is None or os.geteuid():
        reason = "two machines need Ray, the program ip, and the rights of root"
        warnings.warn(f"TWO MACHINES ARE NOT TESTED: {reason}", stacklevel=1)
        pytest.skip(reason)
    made = Machines(f"here{os.getpid()}", f"there{os.getpid()}")
    try:
        for name in (made.here, made.there):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", made.here, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", made.there)
        for name, address in ((made.here, HERE), (made.there, THERE)):
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "wire")
            run("ip", "-n", name, "link", "set", "wire", "up")
    except subprocess.CalledProcessError as error:
        warnings.warn(f"TWO MACHINES ARE NOT TESTED: {error.stderr.strip()}", stacklevel=1)
        _remove(made)
        pytest.skip(error.stderr.strip())
    try:
        yield made
    finally:
        for process in reversed(made.processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        _remove(made)


def _remove(made: Machines) -> None:
    for name in (made.here, made.there):
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def test_work_goes_on_after_a_cut_of_ten_seconds_and_files_go_both_ways(machines: Machines, tmp_path: Path) -> None:
    base, far = tmp_path / "base", tmp_path / "far"
    for folder in (base / "models" / "checkpoints", far):
        folder.mkdir(parents=True)
    (base / "models" / "checkpoints" / "a.safetensors").write_bytes(bytes(2**20))
    ray = f"{sys.executable} -m ray.scripts.scripts start --block --include-dashboard=false"
    head = f"{ray} --head --node-ip-address={HERE} --port={PORT} --num-cpus=2"
    other = f"{ray} --address={HERE}:{PORT} --node-ip-address={THERE} --num-cpus=4 --resources='{{\"far\": 4}}'"
    machines.begin(machines.here, ["sh", "-c", head], tmp_path / "head.log")
    _until(lambda: "block forever" in (tmp_path / "head.log").read_text())
    hidden = f"mount -t tmpfs none {base} && {other.replace(' --include-dashboard=false', '')}"
    machines.begin(machines.there, ["sh", "-c", hidden], tmp_path / "other.log", DARKROOM_WORKER_DIRECTORY=str(far))
    _until(lambda: "block forever" in (tmp_path / "other.log").read_text())
    command = [sys.executable, "-m", "tests.server.clustered_server", str(base), f"{HERE}:{PORT}", "2", "far"]
    server = machines.begin(machines.here, command, tmp_path / "server.log")
    assert server.stdout is not None
    line = next((it for it in server.stdout if "http://" in it), "")
    found = re.search(r"http://\S+?:\d+", line)
    assert found, (tmp_path / "server.log").read_text()[-3000:]
    prompt = many(60, steps=10, seconds=0.04)
    prompt["l"] = {"class_type": "Load", "inputs": {"name": "a.safetensors"}}
    prompt["k"] = {"class_type": "Sink", "inputs": {"part": ["l", 0]}}
    machines.ask(f"{found[0]}/prompt", {"prompt": prompt, "prompt_id": "sweep"})
    _until(lambda: len(list((base / "output").glob("out_*.png"))) >= 10)
    machines.wire("down")
    time.sleep(CUT_SECONDS)
    machines.wire("up")
    entry: Any = {}

    def ended() -> bool:
        entry.update(machines.ask(f"{found[0]}/history/sweep"))
        return bool(entry)

    _until(ended)
    assert entry["sweep"]["status"]["completed"], entry
    assert shown(entry["sweep"]) == [str(i + 2) for i in range(1, 61)]
    assert all((base / "output" / it["filename"]).is_file() for it in entry["sweep"]["outputs"]["o"]["images"])
    (arrived,) = far.glob("*/models/checkpoints/a.safetensors")
    assert arrived.stat().st_size == 2**20
    workers = machines.ask(f"{found[0]}/api/workers")["workers"]
    assert sum(worker["lost"] for worker in workers) <= len(workers)


def _until(holds: Any, seconds: float = 180.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.3)
