"""`GET /api/jobs/{id}/explain`: what each node of a job did and why, also after a restart."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from server.explaining import MOST
from tests.server.loop import in_loop
from tests.server.support import Client, chain, deps_of, serving
from tests.server.test_sweeps import GRID, swept


async def explained(client: Client, prompt: Any) -> dict[str, Any]:
    """Run a workflow, and say what its nodes did."""
    prompt_id = await client.queue(prompt)
    await client.entry(prompt_id)
    answer = await client.get(f"/api/jobs/{prompt_id}/explain")
    assert answer["id"] == prompt_id
    return {node["node_id"]: node for node in answer["nodes"]} | {"": answer}


def words(nodes: dict[str, Any]) -> dict[str, str]:
    return {node_id: node["words"] for node_id, node in nodes.items() if node_id}


@in_loop
async def test_nodes_say_why_they_ran(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        first = await explained(client, chain())
        assert first[""]["status"] == "completed"
        assert set(words(first).values()) == {"ran: it ran for the first time"}
        assert first["s"]["seconds"] >= 0 and first["s"]["node_type"] == "Steps"
        again = await explained(client, chain())
        assert {node["did"] for node_id, node in again.items() if node_id} == {"at_hand"}
        changed = await explained(client, chain(seed=9))
        assert words(changed) | {"v": "", "a0": ""} == {
            "v": "",
            "a0": "",
            "s": "ran: seed is 9 now, and was 0",
            "o": "ran: at node s (Steps) seed is 9 now, and was 0",
        }
        assert changed["o"]["reasons"] == [
            {
                "kind": "upstream",
                "words": "at node s (Steps) seed is 9 now, and was 0",
                "input": "value",
                "before": "0",
                "after": "9",
                "node": "s",
            }
        ]


@in_loop
async def test_what_ran_is_known_after_a_restart(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        first = await explained(client, chain())
    async with serving(deps_of(tmp_path)) as client:
        kept = await client.get(f"/api/jobs/{first['']['id']}/explain")
        assert kept == first[""]
        again = await explained(client, chain(seed=4))
        assert again["v"]["reasons"][0]["kind"] == "restarted"
        assert again["s"]["words"] == "ran: seed is 4 now, and was 0"


@in_loop
async def test_a_failed_job_says_how_far_it_came(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        prompt = chain()
        prompt["s"] = {"class_type": "Fail", "inputs": {"value": ["a0", 0], "how": "raise"}}
        nodes = await explained(client, prompt)
        assert {node_id: node["did"] for node_id, node in nodes.items() if node_id} == {
            "v": "ran",
            "a0": "ran",
            "s": "failed",
            "o": "not_reached",
        }


@in_loop
async def test_a_sweep_is_explained_by_node_and_cell(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        await explained(client, swept(**GRID))
        nodes = await explained(client, swept(**GRID | {"v_value": {"__sweep__": [100, 300]}}))
        assert nodes["v"]["words"] == "ran 1 of 2 times: value is 300 now, and was 200"
        assert nodes["s"]["words"] == "ran 3 of 6 times: at node v (Value) value is 300 now, and was 200"
        assert [(cell["cell"], cell["did"]) for cell in nodes["s"]["cells"]] == [
            *(([0, seed], "at_hand") for seed in range(3)),
            *(([1, seed], "ran") for seed in range(3)),
        ]


@in_loop
async def test_jobs_that_have_nothing_to_explain(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        async with client.session.get(f"{client.url}/api/jobs/nobody/explain") as answer:
            assert answer.status == 404
        await client.post("/api/queue/pause")
        waiting = await client.queue(chain())
        async with client.session.get(f"{client.url}/api/jobs/{waiting}/explain") as answer:
            assert answer.status == 409
            assert "has not ended" in await answer.text()
        await client.post(f"/api/jobs/{waiting}/cancel")
        assert (await client.get(f"/api/jobs/{waiting}/explain"))["nodes"] == []


@in_loop
async def test_an_explanation_goes_with_its_job(tmp_path: Path) -> None:
    from server.deps import LEDGER

    async with serving(deps_of(tmp_path)) as client:
        prompt_id = (await explained(client, chain()))[""]["id"]
        ledger = client.app[LEDGER]
        assert json.loads(ledger.explanation(prompt_id) or "")
        await client.post("/history", {"delete": [prompt_id]})
        assert ledger.explanation(prompt_id) is None


@in_loop
async def test_a_job_ends_also_if_it_cannot_be_explained(tmp_path: Path) -> None:
    from server.deps import LEDGER

    async with serving(deps_of(tmp_path)) as client:
        client.app[LEDGER].close()  # the disk is gone
        entry = await client.run(chain())
        assert entry["status"]["status_str"] == "success"


@in_loop
async def test_jobs_are_explained_when_there_is_nothing_else_to_do(tmp_path: Path) -> None:
    from server.deps import LEDGER

    async with serving(deps_of(tmp_path)) as client:
        ledger = client.app[LEDGER]
        prompt_id = await client.queue(chain())
        async with asyncio.timeout(20):
            while ledger.explanation(prompt_id) is None:  # nobody asks for it
                await asyncio.sleep(0.01)


@in_loop
async def test_jobs_are_explained_in_their_order_also_in_a_long_row_and_at_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.deps import EXPLAINING, LEDGER

    longest, kept = [0], list[str]()
    async with serving(deps_of(tmp_path)) as client:
        ledger, explaining = client.app[LEDGER], client.app[EXPLAINING]
        add, keep = explaining.add, ledger.keep_explanations

        def adding(job: str, account: Any) -> None:
            add(job, account)
            longest[0] = max(longest[0], len(explaining._waiting))

        def keeping(texts: dict[str, str]) -> None:
            kept.extend(texts)
            keep(texts)

        monkeypatch.setattr(explaining, "add", adding)
        monkeypatch.setattr(ledger, "keep_explanations", keeping)
        await client.post("/api/queue/pause", "")
        jobs = [await client.queue(chain(seed=seed)) for seed in range(25)]
        await client.post("/api/queue/resume", "")
        await client.entry(jobs[-1])
    assert kept == jobs
    assert longest[0] <= MOST + 1
    async with serving(deps_of(tmp_path)) as client:
        for seed, job in list(enumerate(jobs))[1:]:
            nodes = (await client.get(f"/api/jobs/{job}/explain"))["nodes"]
            said = {node["node_id"]: node["words"] for node in nodes}
            assert said["s"] == f"ran: seed is {seed} now, and was {seed - 1}"
