"""Which job a free worker takes: clients in turn, and jobs where their models are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from server.backend import Device, Holdings
from server.job import Job, Waiting
from server.options import understand
from server.placement import Placement
from server.serve_options import MOST_WORKERS
from server.spread import Portion
from tests.server.loop import in_loop

GIB = 2**30


@dataclass
class Place:
    """A backend that holds some models."""

    name: str
    files: dict[str, int] = field(default_factory=dict)
    resumes: str = ""
    free: int | None = None

    def holdings(self) -> Holdings:
        devices = () if self.free is None else (Device(self.name, "cuda", 0, 8 * GIB, self.free),)
        return Holdings(devices, files=self.files)


@dataclass
class Fake:
    """A worker as placement sees it."""

    backend: Any
    running: Job | Waiting | None = None
    seconds: float = 0.0
    paused: bool = False
    lost: int = 0

    @property
    def is_idle(self) -> bool:
        return self.running is None

    def begin(self, job: Waiting) -> None:
        self.running = Job(job.id, job.client_id, "", "", (), 0.0)


def crew(*held: Sequence[str], seconds: float = 10.0) -> tuple[Placement, list[Fake]]:
    workers = [Fake(Place(f"w{at}", dict.fromkeys(files, GIB)), seconds=seconds) for at, files in enumerate(held)]
    return Placement(None, workers), workers  # type: ignore[arg-type]  # nothing is taken from a store


def jobs(text: str, client: str | None = None, size: int = GIB) -> list[Waiting]:
    """One for each letter, which is its model."""
    return [Waiting(f"{client}{at}", client, {model: size}) for at, model in enumerate(text)]


def chosen(placement: Placement, worker: Fake, waiting: Sequence[Waiting]) -> Waiting | None:
    """The job that a worker is to run."""
    found = placement.choose(worker, waiting)
    assert not isinstance(found, Portion)
    return found


def test_a_job_goes_where_its_model_is() -> None:
    placement, (a, b) = crew("A", "B")
    assert chosen(placement, a, jobs("BA")) == jobs("BA")[1]
    assert chosen(placement, b, jobs("AB")) == jobs("AB")[1]


def test_a_job_is_left_to_an_idle_worker_that_has_its_model() -> None:
    placement, (empty, _) = crew("", "A")
    assert chosen(placement, empty, jobs("A")) is None


@pytest.mark.parametrize(("seconds", "waiting", "loads"), [(0.1, 1, False), (0.1, 60, True), (30.0, 1, True)])
def test_a_model_is_loaded_a_second_time_when_waiting_would_cost_more(
    seconds: float, waiting: int, loads: bool
) -> None:
    placement, (free, busy) = crew("", "A", seconds=seconds)
    busy.begin(jobs("A", "x")[0])
    assert (chosen(placement, free, jobs("A" * waiting)) is not None) is loads


def test_what_nobody_holds_is_loaded_at_once_where_the_least_is_missing() -> None:
    placement, (a, b) = crew("A", "")
    both = [Waiting("1", None, {"A": GIB, "vae": GIB})]
    assert chosen(placement, b, both) is None
    assert chosen(placement, a, both) == both[0]
    a.begin(both[0])
    assert chosen(placement, b, jobs("C")) == jobs("C")[0]


def test_what_nobody_holds_is_loaded_where_memory_is_free() -> None:
    placement, (full, empty) = crew("A", "")
    full.backend.free, empty.backend.free = GIB // 2, 4 * GIB
    assert chosen(placement, full, jobs("C")) is None
    assert chosen(placement, empty, jobs("C")) == jobs("C")[0]
    empty.begin(jobs("C")[0])
    assert chosen(placement, full, jobs("D")) == jobs("D")[0]


def test_clients_take_turns_and_who_has_nothing_running_comes_first() -> None:
    placement, (one, two) = crew("A", "A")
    waiting = jobs("AAAA", "sweeper") + jobs("A", "artist")
    first = chosen(placement, one, waiting)
    assert first is not None
    assert first.client_id == "sweeper"
    one.begin(first)
    placement._note(one, first)
    second = chosen(placement, two, waiting[1:])
    assert second is not None
    assert second.client_id == "artist"
    placement._note(two, second)
    one.running = None
    third = chosen(placement, one, jobs("A", "artist") + waiting[1:4])
    assert third is not None
    assert third.client_id == "sweeper"


@pytest.mark.parametrize(
    ("held", "seconds", "others", "shared"),
    [
        (("A", "A"), 0.0, 0, True),
        (("A", ""), 0.0, 0, False),  # to load would cost more than is saved, as far as anybody knows
        (("A", ""), 30.0, 0, True),
        (("A", "A"), 30.0, 1, False),  # another job uses what is free better
        (("A", "A", "A"), 30.0, 1, True),
    ],
)
def test_a_batch_is_shared_where_workers_have_nothing_else_to_do(
    held: Sequence[str], seconds: float, others: int, shared: bool
) -> None:
    placement, workers = crew(*held, seconds=seconds)
    placement.sharing = [Fake(Place("sweeps"))]
    batch = Waiting("b", "me", {"A": GIB}, items=8)
    waiting = [batch, *jobs("A" * others, "you")]
    assert placement._is_shared(batch, waiting) is shared
    assert placement._is_shared(Waiting("b", "me", {"A": GIB}), waiting) is False
    workers[0].begin(batch)
    assert placement._is_shared(batch, waiting) is (shared and len(held) == 3 and not others)


def test_a_batch_that_was_shared_before_the_server_was_begun_anew_stays_so() -> None:
    placement, (one, _) = crew("", "", seconds=0.0)
    placement.sharing = [Fake(Place("sweeps"))]
    batch = Waiting("b", "me", {"A": GIB}, items=8)
    assert not placement._is_shared(batch, [batch])
    one.backend.resumes = "b/0/2"
    assert placement._is_shared(batch, [batch])


def test_three_checkpoints_in_random_order_are_loaded_at_most_five_times_and_a_single_job_among_them_starts_at_once() -> (
    None
):
    """At once: as soon as a worker that has its model has ended what it runs."""
    chance, single, asked, begun = random.Random(0), list[Waiting](), dict[str, float](), dict[str, float]()
    waiting = jobs("".join(chance.sample("ABC" * 200, 600)), "c", 2 * GIB)
    placement, workers = crew("", "", "", seconds=0.0)
    loads, done, clock = 0, 0, 0.0
    until: dict[str, float] = {}
    while done < 606:
        for worker in workers:
            if worker.is_idle and (job := chosen(placement, worker, waiting[:64] + single)) is not None:
                missing = job.models.keys() - worker.backend.files.keys()
                loads += len(missing)
                worker.backend.files = dict(job.models)  # there is room for one
                placement._note(worker, job)
                worker.begin(job)
                (single if job in single else waiting).remove(job)
                begun[job.id] = clock
                until[worker.backend.name] = clock + 0.05 + 3.0 * len(missing)
        clock = min(until.values())
        for worker in workers:
            if until.get(worker.backend.name) == clock:
                del until[worker.backend.name]
                worker.running, worker.seconds = None, 0.05
                done += 1
        if done // 100 > len(asked):
            single += [Waiting(f"single{done}", "artist", {chance.choice("ABC"): 2 * GIB})]
            asked[single[-1].id] = clock
    assert loads <= 5
    assert len(asked) == 6
    assert all(begun[job] - at <= 0.05 + 1e-9 for job, at in asked.items())


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("cuda:0,cuda:1", ("cuda:0", "cuda:1")),
        ("cpu:2", ("cpu", "cpu")),
        ("cuda:0, cpu", ("cuda:0", "cpu")),
        ("mps", ("mps",)),
    ],
)
def test_devices_of_workers(text: str, devices: tuple[str, ...]) -> None:
    assert understand(["serve", "--workers", text]).workers == devices


@pytest.mark.parametrize(
    "flags",
    [
        ["--workers", "cpu:0"],
        ["--workers", "cuda:x"],
        ["--workers", f"cpu:{MOST_WORKERS + 1}"],
        ["--workers", ""],
        ["--workers", "cuda:0", "--device", "cpu"],
    ],
)
def test_what_is_no_device_is_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        understand(["serve", *flags])
    assert "--workers" in capsys.readouterr().err


@in_loop
async def test_a_sweep_waits_for_one_of_its_client_that_was_taken_and_is_not_begun() -> None:
    """Building the graph of the one that was taken takes a while."""
    waiting = [Waiting("b", "me", {}, True), Waiting("c", "you", {}, True)]

    class Store:
        async def lightly(self, method: Any, *args: Any) -> Any:
            return Job(args[0], None, "", "", (), 0.0) if isinstance(args[0], str) else waiting

    busy, free = Fake(Place("sweeps")), Fake(Place("sweeps"))
    placement = Placement(Store())  # type: ignore[arg-type]
    placement.sharing = [busy, free]
    assert (found := await placement.take_sweep(free)) is not None and found.id == "b"
    busy.begin(Waiting("a", "me", {}, True))
    assert (found := await placement.take_sweep(free)) is not None and found.id == "c"
    waiting.pop()
    assert await placement.take_sweep(free) is None
