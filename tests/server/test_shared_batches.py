"""One large batch on several workers: each draws a slice, and the job is one node's work to those who look on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from server.deps import CREW
from tests.server.loop import in_loop
from tests.server.support import chain, deps_of, serving
from tests.server.test_workers import crewed, kill, until


def batch(count: int = 9, **drawn: Any) -> dict[str, Any]:
    """Numbers from 100, drawn in two nodes one after the other."""
    quick = {"steps": 1, "seconds": 0.0, "kind": "each"}
    return {
        "v": {"class_type": "Value", "inputs": {"value": 100}},
        "r": {"class_type": "Row", "inputs": {"count": count}},
        "d": {"class_type": "Draw", "inputs": {"row": ["r", 0], "value": ["v", 0], **quick, **drawn}},
        "e": {"class_type": "Draw", "inputs": {"row": ["d", 0], "value": 0, **quick}},
        "s": {"class_type": "SaveRow", "inputs": {"row": ["e", 0]}},
    }


def drawn(base: Path) -> list[tuple[str, str]]:
    """Which process has drawn which numbers, by the file that nodes keep."""
    lines = (base / "output" / "drawn.txt").read_text().splitlines()
    return sorted(
        ((numbers, process) for process, numbers in map(str.split, lines)), key=lambda it: int(it[0].split("-")[0])
    )


@in_loop
async def test_each_worker_draws_a_slice_and_what_is_told_is_what_one_process_tells(tmp_path: Path) -> None:
    async def told(client: Any) -> tuple[Any, list[tuple[str, Any]]]:
        async with client.listen("me") as ear:
            job = await client.queue(batch(steps=5, seconds=0.05), client_id="me", prompt_id="same")
            heard = await ear.until_done(job)
        plain = [(type_, data["node"]) for type_, data in heard if type_ in ("executing", "executed")]
        states = [data["nodes"] for type_, data in heard if type_ == "progress_state"]
        return (await client.entry("same"))["outputs"], [
            *plain,
            *((it, one["state"]) for it, one in states[-1].items()),
        ]

    async with serving(deps_of(tmp_path / "one")) as client:
        alone, heard = await told(client)
        explained = await client.get("/api/jobs/same/explain")
    async with crewed(tmp_path / "two", 3) as (client, backends):
        together, heard_too = await told(client)
        explained_too = await client.get("/api/jobs/same/explain")
        processes = {str(backend.process_id) for backend in backends}
    assert together == alone == {"s": {"text": [str(100 + i) for i in range(9)]}}
    assert sorted(heard_too, key=str) == sorted(heard, key=str)
    first = [it for it in drawn(tmp_path / "two") if not it[0].startswith("10")]
    assert [numbers for numbers, _ in first] == ["0-2", "3-5", "6-8"]
    assert {process for _, process in first} == processes
    assert {it["node_id"]: it["did"] for it in explained_too["nodes"]} == {
        it["node_id"]: it["did"] for it in explained["nodes"]
    }


@in_loop
async def test_a_lost_worker_costs_its_slice(tmp_path: Path) -> None:
    async with crewed(tmp_path, 3) as (client, backends), client.listen("me") as ear:
        job = await client.queue(batch(steps=60, seconds=0.02), client_id="me")
        workers = client.app[CREW].workers
        await until(lambda: sum(worker.running is not None for worker in workers) == 3)
        await ear.until(lambda type_, data: type_ == "progress")
        kill(backends[1])
        entry = await client.entry(job)
        assert entry["outputs"]["s"]["text"] == [str(100 + i) for i in range(9)]
        first = [numbers for numbers, _ in drawn(tmp_path) if not numbers.startswith("10")]
        assert first == ["0-2", "3-5", "6-8"]
        assert sum(worker.lost for worker in workers) == 1


@in_loop
async def test_a_server_that_is_begun_anew_draws_no_slice_twice(tmp_path: Path) -> None:
    async with crewed(tmp_path, 2) as (client, _):
        job = await client.queue(batch(8, steps=20, seconds=0.02), client_id="me")
        await until((tmp_path / "output" / "drawn.txt").exists)
        await until(lambda: len(list(tmp_path.glob("darkroom.db.cells/*/*.cell"))) > 0)
    async with crewed(tmp_path, 2) as (client, _):
        assert (await client.entry(job))["outputs"]["s"]["text"] == [str(100 + i) for i in range(8)]
        first = [numbers for numbers, _ in drawn(tmp_path) if not numbers.startswith("10")]
        assert len(first) == len(set(first)) or len(first) == 3  # one may have been drawn, and not yet kept


@in_loop
async def test_what_does_not_go_item_by_item_and_what_is_small_stays_whole(tmp_path: Path) -> None:
    async with crewed(tmp_path, 2) as (client, _):
        await client.run(batch(kind="together"))
        await client.run(batch(3))
        first = [numbers for numbers, _ in drawn(tmp_path) if not numbers.startswith("10")]
        assert first == ["0-8", "0-2"]


@in_loop
async def test_a_batch_is_not_cut_where_other_jobs_keep_the_workers_busy(tmp_path: Path) -> None:
    async with crewed(tmp_path, 2) as (client, _):
        busy = await client.queue(chain(steps=50, seconds=0.02))
        await until(lambda: any(worker.running is not None for worker in client.app[CREW].workers))
        await client.run(batch())
        assert drawn(tmp_path)[0][0] == "0-8"
        await client.entry(busy)
