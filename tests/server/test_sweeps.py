"""A swept workflow as clients see it: one job, one node each, every picture under its node, and which cell it is of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.server.loop import in_loop
from tests.server.support import chain, deps_of, serving


def swept(**inputs: Any) -> dict[str, Any]:
    """The chain with several values in some inputs: `v_value=…` is input `value` of node `v`."""
    prompt = chain(steps=2)
    for target, given in inputs.items():
        node_id, _, name = target.partition("_")
        prompt[node_id]["inputs"][name] = given
    return prompt


GRID: dict[str, Any] = {
    "v_value": {"__sweep__": [100, 200]},
    "s_seed": {"__seeds__": {"from": 1, "count": 3}, "axis": "seed"},
}


@in_loop
async def test_every_picture_is_under_its_node_in_order_with_its_cell(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        entry = await client.run(swept(**GRID))
        pictures = entry["outputs"]["o"]["images"]
        assert [picture["filename"].split("_")[1] for picture in pictures] == ["102", "103", "104", "202", "203", "204"]
        assert [picture["cell"] for picture in pictures] == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
        assert list(entry["outputs"]) == ["o"]
        job = await client.get(f"/api/jobs/{entry['prompt'][1]}")
        assert job["outputs_count"] == 6
        assert job["sweep"] == {
            "axes": [
                {"name": "value", "inputs": [{"node": "v", "input": "value"}], "labels": ["100", "200"]},
                {"name": "seed", "inputs": [{"node": "s", "input": "seed"}], "labels": ["1", "2", "3"]},
            ]
        }
        assert job["targets"] == ["o"]
        assert (await client.get(f"/api/jobs/{await client.queue(chain())}"))["sweep"] is None


@in_loop
async def test_messages_name_the_nodes_that_were_written_and_progress_counts_cells(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client, client.listen("me") as ear:
        prompt_id = await client.queue(swept(**GRID), client_id="me")
        heard = await ear.until_done(prompt_id)
        (start,) = [data for type_, data in heard if type_ == "execution_start"]
        assert [axis["name"] for axis in start["sweep"]["axes"]] == ["value", "seed"]
        executed = [data for type_, data in heard if type_ == "executed"]
        assert {(data["node"], data["display_node"], data["merge"]) for data in executed} == {("o", "o", True)}
        assert sorted(data["cell"] for data in executed) == [[i, j] for i in range(2) for j in range(3)]
        assert all(len(data["output"]["images"]) == 1 for data in executed)
        started = [data["node"] for type_, data in heard if type_ == "executing" and data["node"]]
        assert {node: started.count(node) for node in started} == {"v": 2, "a0": 2, "s": 6, "o": 6}
        states = [data["nodes"] for type_, data in heard if type_ == "progress_state"]
        assert set(states[-1]) == {"v", "a0", "s", "o"}
        assert {(node["value"], node["max"], node["state"]) for node in states[-1].values()} == {
            (2, 2, "finished"),
            (6, 6, "finished"),
        }
        shown = [state["s"]["value"] for state in states if "s" in state]
        assert shown == sorted(shown), "progress never goes back"


@in_loop
async def test_a_second_sweep_shows_all_cells_and_runs_the_new_ones(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client, client.listen("me") as ear:
        first = await client.run(swept(**GRID))
        prompt_id = await client.queue(swept(**GRID | {"v_value": {"__sweep__": [100, 300]}}), client_id="me")
        heard = await ear.until_done(prompt_id)
        entry = await client.entry(prompt_id)
        pictures = entry["outputs"]["o"]["images"]
        assert [picture["filename"].split("_")[1] for picture in pictures] == ["102", "103", "104", "302", "303", "304"]
        assert pictures[:3] == first["outputs"]["o"]["images"][:3]
        started = [data["node"] for type_, data in heard if type_ == "executing" and data["node"]]
        assert {node: started.count(node) for node in started} == {"v": 1, "a0": 1, "s": 3, "o": 3}
        job = await client.get(f"/api/jobs/{prompt_id}")
        assert job["nodes"]["s"]["state"] == "finished"
        assert job["nodes"]["s"]["cached"] is False


@in_loop
async def test_cancelling_keeps_what_is_finished(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client, client.listen("me") as ear:
        prompt = swept(s_seed={"__seeds__": {"from": 1, "count": 50}}, s_seconds={"__sweep__": [0.05]})
        prompt_id = await client.queue(prompt, client_id="me")
        await ear.until(lambda type_, data: type_ == "executed")
        await client.post(f"/api/jobs/{prompt_id}/cancel")
        await ear.until_done(prompt_id)
        job = await client.get(f"/api/jobs/{prompt_id}")
        assert job["status"] == "cancelled"
        assert 1 <= job["outputs_count"] < 50
        assert all((tmp_path / "output" / shown["filename"]).is_file() for shown in job["outputs"]["o"]["images"])


@in_loop
async def test_each_value_is_checked_and_the_refusal_names_it(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        status, answer = await client.post("/prompt", {"prompt": swept(s_steps={"__sweep__": [2, 0, 4]})})
        assert status == 400
        (error,) = answer["node_errors"]["s"]["errors"]
        assert error["details"] == "steps: value 2 of 3: got 0, expected an integer from 1 to 10000"
        assert error["extra_info"]["received_value"] == {"__sweep__": [2, 0, 4]}
        hundreds = {"__sweep__": list(range(200))}
        status, answer = await client.post("/prompt", {"prompt": swept(v_value=hundreds, s_seed=hundreds)})
        assert status == 400
        assert "40000 combinations" in answer["node_errors"]["v"]["errors"][0]["details"]
        status, answer = await client.post("/prompt", {"prompt": swept(v_value={"__sweep__": []})})
        assert (status, answer["node_errors"]["v"]["errors"][0]["type"]) == (400, "invalid_sweep")


@in_loop
async def test_the_database_keeps_the_workflow_as_it_was_sent(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        prompt = swept(**GRID)
        entry = await client.run(prompt)
        assert entry["prompt"][2] == json.loads(json.dumps(prompt))
