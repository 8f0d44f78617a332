"""What an actor of a Ray cluster does, without one: a process beside it, and messages passed on both ways."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from server.backend import LocalBackend
from server.exchange import Exchange, _kept
from server.links import Far, Link
from server.options import understand
from server.passer import ATTENDED_SECONDS, MARK, Passer
from server.process_backend import ProcessBackend
from server.ray_cluster import _without_places
from server.wire import Message, packed, unpacked
from tests.server.loop import in_loop
from tests.server.stub_nodes import factory
from tests.server.support import chain, deps_of, serving

SOURCE = Path(__file__).resolve().parents[2]


def begin(passer: Passer, base: Path, near: list[str], far: list[str] | None = None, mark: str = "mark") -> bool:
    """Have it begin a process; whether it found the server's folder."""
    surroundings = {"PYTHONPATH": str(SOURCE)}
    (base / MARK).write_text("mark")
    number, is_near = passer.begin(near, far or near, str(SOURCE), str(base), mark, str(SOURCE), 1, surroundings)
    assert number > 0
    return is_near


def test_messages_are_passed_on_and_the_end_is_told_in_words(tmp_path: Path) -> None:
    passer = Passer()
    begin(passer, tmp_path, ["-m", "tests.server.stub_worker", str(tmp_path)])
    passer.hear(packed(Message("run", {"id": "a", "document": chain(), "problems": [], "targets": ["o"], "extra": {}})))
    kinds: list[str] = []
    while "ended" not in kinds:
        kinds += _kinds(passer)
    assert [kind for kind in dict.fromkeys(kinds) if kind != "alive"] == ["ready", "accepted", "event", "ended"]
    passer.close()
    while isinstance(told := passer.tell(), list):
        pass
    assert told == "status 0"


def test_what_a_run_tells_travels_together_and_its_end_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.passer.GATHER_SECONDS", 30.0)  # nothing but what is waited for ends the waiting
    passer = Passer()
    begin(passer, tmp_path, ["-m", "tests.server.stub_worker", str(tmp_path)])
    while "ready" not in _kinds(passer):
        pass
    run = {"id": "a", "document": chain(), "problems": [], "targets": ["o"], "extra": {}}
    passer.hear(packed(Message("given", ["a", "x"], b"[1]")), packed(Message("run", run)))
    kinds = _kinds(passer)
    assert kinds[-1] == "ended"
    assert kinds.count("event") > 5
    passer.close()
    while isinstance(passer.tell(), list):
        pass


def _kinds(passer: Passer) -> list[str]:
    """Of what it tells next."""
    told = passer.tell()
    assert isinstance(told, list)
    return [unpacked(frame).kind for frame in told]


def test_a_process_that_cannot_run_says_how_it_ended(tmp_path: Path) -> None:
    passer = Passer()
    begin(passer, tmp_path, ["-c", "raise SystemExit(3)"])
    while isinstance(told := passer.tell(), list):
        pass
    assert told == "status 3"


class Beside(Link):
    """A worker of another machine's, whose actor is in this process."""

    def __init__(self, passer: Passer, frames: list[bytes] | None = None, run: str = "") -> None:
        self.passer = passer
        self.frames = frames or []
        self.run = run
        self.words = ""
        self.stored: list[str] = []
        self.released = False

    @property
    def far(self) -> Far | None:
        return None if self.passer._is_near else self

    @property
    def machine(self) -> str:
        return self.passer.machine()

    def lacks(self, digest: str) -> bool:
        return self.passer.lacks(digest)

    def store(self, digest: str, file: Path) -> None:
        self.stored.append(file.name)
        self.passer.store(digest, 0, file.read_bytes()[:3], False)
        self.passer.store(digest, 3, file.read_bytes()[3:], True)

    def place(self, digest: str, folder: str, name: str) -> None:
        self.passer.place(digest, folder, name)

    def take(self, kind: str, subfolder: str, name: str) -> bytes:
        return self.passer.take(kind, subfolder, name)

    @property
    def resumes(self) -> str:
        return self.run

    @property
    def process_id(self) -> None:
        return None

    def send(self, messages: Sequence[Message]) -> None:
        self.passer.hear(*map(packed, messages))

    def release(self) -> None:
        self.released = True

    def receive(self) -> Message | None:
        while not self.frames:
            told = self.passer.tell()
            if isinstance(told, str):
                self.words = told
                return None
            self.frames += told
        return unpacked(self.frames.pop(0))

    def close(self) -> None:
        self.passer.close()

    @property
    def is_over(self) -> bool:
        return bool(self.words)

    def kill(self) -> None:
        self.passer.close()

    def wait(self, seconds: float | None = None) -> str:
        while not self.words:
            if self.receive() is None:
                break
        return self.words


@in_loop
async def test_a_machine_with_folders_of_its_own_gets_what_it_reads_once_and_gives_what_it_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, far = tmp_path / "here", tmp_path / "far"
    here.mkdir()
    monkeypatch.setenv("DARKROOM_WORKER_DIRECTORY", str(far))
    deps = deps_of(here)
    (here / "models" / "checkpoints").mkdir(parents=True, exist_ok=True)
    (here / "models" / "checkpoints" / "a.safetensors").write_bytes(b"weights")
    links: list[Beside] = []

    def beginning() -> Link:
        passer = Passer()
        assert not begin(passer, here, [], ["-m", "tests.server.stub_worker", "{base}"], "another")
        assert passer._folders is not None
        assert passer._folders.base.is_relative_to(far)
        links.append(Beside(passer))
        return links[-1]

    local = LocalBackend(factory(deps.folders), deps.folders)
    backend = ProcessBackend("far", beginning, exchange=Exchange(deps.folders, local.wait))
    prompt = chain()
    prompt["l"] = {"class_type": "Load", "inputs": {"name": "a.safetensors"}}
    prompt["k"] = {"class_type": "Sink", "inputs": {"part": ["l", 0]}}
    async with serving(replace(deps, backend=local, workers=[backend])) as client:
        async with asyncio.timeout(60):
            await backend.ready()
        for value in (5, 6):
            prompt["v"]["inputs"]["value"] = value
            entry = await client.run(prompt)
            assert entry["status"]["completed"], entry
            (picture,) = entry["outputs"]["o"]["images"]
            assert (here / "output" / picture["filename"]).read_bytes().startswith(b"\x89PNG")
        assert links[0].stored == ["a.safetensors"]
        (there,) = far.glob("*/models/checkpoints/a.safetensors")
        assert there.read_bytes() == b"weights"
        assert not list(far.glob("*/output/*.png"))
        (here / "models" / "checkpoints" / "a.safetensors").write_bytes(b"other weights")
        assert (await client.run(prompt))["status"]["completed"]
        assert there.read_bytes() == b"other weights"
    assert [link.released for link in links] == [True], "Ray ends a process that lets go of its actors too late"
    at_work = {thread.name for thread in threading.enumerate()}
    assert at_work.isdisjoint({"worker far", "to worker far", "lease"})


@pytest.mark.parametrize("swept", [False, True])
@in_loop
async def test_what_a_worker_was_given_by_a_server_that_is_gone_is_taken_up(tmp_path: Path, swept: bool) -> None:
    deps, passer = deps_of(tmp_path), Passer()
    begin(passer, tmp_path, ["-m", "tests.server.stub_worker", str(tmp_path)])
    prompt = chain(steps=30, seconds=0.02)
    asked = dict(prompt)
    if swept:
        prompt["s"] = {
            **prompt["s"],
            "inputs": {**prompt["s"]["inputs"], "seed": {"__seeds__": {"from": 1, "count": 4}}},
        }
        asked["s"] = {**prompt["s"], "inputs": {**prompt["s"]["inputs"], "seed": 3}}
    run = {"id": "same/2" if swept else "same", "document": asked, "problems": [], "targets": ["o"], "extra": {}}
    if swept:
        run["share"] = {"targets": ["o"], "handed": [], "slice": None}
    passer.hear(packed(Message("run", run)))
    kinds: list[str] = []
    while "event" not in kinds:  # so much the server before has heard of it
        kinds += _kinds(passer)
    with pytest.raises(BlockingIOError):
        passer.attach()
    passer._attended -= ATTENDED_SECONDS
    attached = passer.attach()
    assert attached is not None
    _, is_near, resumes, frames = attached
    assert is_near
    backend = ProcessBackend("ray-0", lambda: Beside(passer, frames, resumes), resumes=resumes)
    async with serving(replace(deps, workers=[backend])) as client, client.listen("me") as ear:
        job = await client.queue(prompt, prompt_id="same", client_id="me")
        heard = await ear.until_done(job)
        entry = await client.entry(job)
    assert entry["status"]["completed"]
    assert len(entry["outputs"]["o"]["images"]) == (4 if swept else 1)
    assert len(list((tmp_path / "output").glob("*.png"))) == (4 if swept else 1)
    executed = [data for type_, data in heard if type_ == "executed"]
    assert len(executed) == (4 if swept else 1)


def test_a_file_that_arrives_takes_no_others_name(tmp_path: Path) -> None:
    names = [_kept(tmp_path, "out_00007_.png", content) for content in (b"a", b"b", b"c")]
    assert names == ["out_00007_.png", "out_00008_.png", "out_00009_.png"]
    assert [(tmp_path / name).read_bytes() for name in names] == [b"a", b"b", b"c"]
    assert [_kept(tmp_path, "plain.png", b"") for _ in range(3)] == ["plain.png", "plain_00001.png", "plain_00002.png"]


def test_flags_that_name_places_of_the_server_do_not_go_to_other_machines() -> None:
    told = [
        "work",
        "--base-directory",
        "/a",
        "--fp16-unet",
        "--models-directory=/b",
        "--port",
        "8188",
        "--output-directory",
    ]
    assert _without_places(told) == ["work", "--fp16-unet", "--port", "8188"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--ray", "auto", "--workers", "cpu:2"],
        ["--ray", "auto", "--device", "cpu"],
        ["--ray", "auto", "--ray-workers", "0"],
        ["--ray", "auto", "--ray-resource", "studio"],
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        understand(["serve", *flags])
    assert "ray" in capsys.readouterr().err


def test_flags_of_a_cluster() -> None:
    flags = ["--ray", "10.0.0.1:6379", "--ray-workers", "4", "--ray-gpus", "0.5", "--ray-resource", "studio=1"]
    options = understand(["serve", *flags])
    assert (options.ray, options.ray_workers, options.ray_gpus) == ("10.0.0.1:6379", 4, 0.5)
    assert options.ray_resource == [("studio", 1.0)]
