"""The queue, the history and jobs, over HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from server.deps import Limits
from tests.server.loop import in_loop
from tests.server.support import chain, deps_of, serving


@in_loop
async def test_numbers_and_order(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        await client.post("/queue/pause")
        numbers = []
        for body in ({}, {"front": True}, {"number": -50, "prompt_id": "mine"}, {"number": "7"}, {}):
            status, answer = await client.post("/prompt", {"prompt": chain(), **body})
            assert status == 200
            numbers.append(answer["number"])
        assert json.dumps(numbers) == "[0, -1, -50.0, 7.0, 2]"
        queue = await client.get("/queue")
        assert [item[0] for item in queue["queue_pending"]] == [-50.0, -1, 0, 2, 7.0]
        assert queue["queue_pending"][0][1:] == ["mine", chain(), {}, ["o"]]
        assert await client.get("/prompt") == {"exec_info": {"queue_remaining": 5}}
        assert await client.post("/queue", {"delete": ["mine", "nope"]}) == (200, "")
        assert len((await client.get("/api/queue"))["queue_pending"]) == 4
        assert await client.post("/queue", {"clear": True}) == (200, "")
        assert await client.get("/queue") == {"queue_running": [], "queue_pending": []}
        assert await client.get("/history") == {}


@in_loop
async def test_a_refused_prompt_uses_a_number_up(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        assert (await client.post("/prompt", {"prompt": {}}))[0] == 400
        _, answer = await client.post("/prompt", {"prompt": chain()})
        assert answer["number"] == 1


@in_loop
async def test_a_prompt_is_checked_without_being_queued(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        assert await client.post("/prompt/check", {"prompt": chain()}) == (
            200,
            {"error": None, "node_errors": {}, "suggestions": []},
        )
        wrong = chain() | {"more": {"class_type": "Save", "inputs": {"value": "x"}}}
        for prompt in (wrong, {"more": wrong["more"]}):
            status, answer = await client.post("/prompt/check", {"prompt": prompt})
            assert status == 200 and list(answer["node_errors"]) == ["more"]
            _, refused = await client.post("/prompt", {"prompt": prompt})
            assert answer["node_errors"] == refused["node_errors"]
        assert answer["error"]["type"] == refused["error"]["type"]
        assert (await client.post("/prompt/check", {}))[0] == 400


@in_loop
async def test_history_without_a_number_is_as_short_as_for_a_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.routes_run.NEWEST", 3)
    async with serving(deps_of(tmp_path)) as client:
        ids = [await client.queue(chain(seed=seed)) for seed in range(5)]
        await client.entry(ids[-1])
        assert list(await client.get("/history")) == ids[2:]
        assert list(await client.get("/history?max_items=-1")) == list(await client.get("/history?offset=0")) == ids


@in_loop
async def test_history_is_paged(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        ids = [await client.queue(chain(seed=seed)) for seed in range(5)]
        await client.entry(ids[-1])
        assert list(await client.get("/history")) == ids
        assert list(await client.get("/history?max_items=2")) == ids[3:]
        assert list(await client.get("/history?max_items=2&offset=1")) == ids[1:3]
        assert list(await client.get("/history?max_items=0")) == []
        assert await client.get("/history/nope") == {}
        async with client.session.get(f"{client.url}/history?max_items=abc") as answer:
            assert answer.status == 400
        assert await client.post("/history", {"delete": [ids[0], "nope"]}) == (200, "")
        assert list(await client.get("/history")) == ids[1:]
        assert await client.post("/history", {"clear": True}) == (200, "")
        assert await client.get("/history") == {}


@in_loop
async def test_a_repeated_id_runs_once(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        body = {"prompt": chain(), "prompt_id": "twice"}
        first = await client.post("/prompt", body)
        await client.entry("twice")
        assert await client.post("/prompt", body) == first
        assert len(await client.get("/history")) == 1
        status, answer = await client.post("/prompt", {**body, "prompt": chain(seed=1)})
        assert (status, answer["error"]["type"]) == (409, "prompt_id_taken")


@in_loop
async def test_the_queue_is_bounded(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path, limits=Limits(waiting=2))) as client:
        await client.post("/queue/pause")
        statuses = [(await client.post("/prompt", {"prompt": chain()}))[0] for _ in range(3)]
        assert statuses == [200, 200, 429]


@in_loop
async def test_priorities_moves_and_pause(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        await client.post("/api/queue/pause")
        for name in "abcd":
            await client.queue(chain(seed=ord(name)), prompt_id=name)

        async def order() -> str:
            return "".join(item[1] for item in (await client.get("/queue"))["queue_pending"])

        assert await order() == "abcd"
        assert (await client.post("/api/jobs/d/priority", {"priority": 5}))[0] == 200
        assert await order() == "dabc"
        assert (await client.post("/api/jobs/c/move", {"place": 0}))[0] == 200
        assert await order() == "cdab"
        assert (await client.post("/api/jobs/c/move", {"place": 3}))[0] == 200
        assert await order() == "dabc"
        assert (await client.post("/api/jobs/nope/move", {"place": 0}))[0] == 404
        assert (await client.post("/api/jobs/a/move", {"place": -1}))[0] == 400
        await client.queue(chain(), prompt_id="e", priority=1)
        assert await order() == "deabc"
        assert (await client.get("/api/jobs"))["paused"] is True
        await client.post("/api/queue/resume")
        await asyncio.gather(*(client.entry(name) for name in "abcde"))
        assert "".join(await client.get("/history")) == "deabc"


@in_loop
async def test_jobs_are_records(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        done = await client.queue(chain(), client_id="me")
        failing = chain()
        failing["s"] = {"class_type": "Fail", "inputs": {"value": ["a0", 0], "how": "raise"}}
        failed = await client.queue(failing)
        await client.entry(failed)
        page = await client.get("/api/jobs?limit=1")
        assert [job["id"] for job in page["jobs"]] == [failed]
        assert page["pagination"] == {"offset": 0, "limit": 1, "total": 2, "has_more": True}
        assert [job["id"] for job in (await client.get("/api/jobs?status=completed"))["jobs"]] == [done]
        assert [job["id"] for job in (await client.get("/api/jobs?type=Fail"))["jobs"]] == [failed]
        assert (await client.get("/api/jobs?before=1000"))["jobs"] == []
        for text, found in (("RAISE fail", [failed]), (done[:13], [done]), ("raise nowhere", []), ("100%25", [])):
            assert [job["id"] for job in (await client.get(f"/api/jobs?text={text}"))["jobs"]] == found
        named = chain() | {"v": {**chain()["v"], "_meta": {"title": "Äpfel"}}}
        body = json.dumps({"prompt": named, "prompt_id": "named"}, ensure_ascii=False).encode()
        assert (await client.post("/prompt", body))[0] == 200
        assert [job["id"] for job in (await client.get("/api/jobs?text=Äpfel"))["jobs"]] == ["named"]
        record = await client.get(f"/api/jobs/{done}")
        assert record["status"] == "completed" and record["outputs_count"] == 1
        assert record["preview_output"]["nodeId"] == "o" and record["preview_output"]["type"] == "output"
        assert record["nodes"]["s"]["seconds"] >= 0 and record["nodes"]["s"]["cached"] is False
        assert record["workflow"] == {"prompt": chain(), "extra_data": {"client_id": "me"}}
        record = await client.get(f"/api/jobs/{failed}")
        assert record["status"] == "failed" and record["execution_error"]["node_id"] == "s"
        assert record["nodes"]["a0"]["cached"] is True
        for query in ("status=nope", "limit=x", "after=nan"):
            async with client.session.get(f"{client.url}/api/jobs?{query}") as answer:
                assert answer.status == 400


@in_loop
async def test_a_failed_job_runs_again_under_its_id(tmp_path: Path) -> None:
    """What it fails for goes away meanwhile: the picture folder is a file at first."""
    async with serving(deps_of(tmp_path)) as client:
        (tmp_path / "output").rmdir()
        (tmp_path / "output").write_text("in the way")
        assert (await client.run(chain(), prompt_id="again", priority=3))["status"]["status_str"] == "error"
        (tmp_path / "output").unlink()
        (tmp_path / "output").mkdir()
        await client.post("/api/queue/pause")
        waiting = await client.queue(chain(seed=1), priority=3)
        status, answer = await client.post("/api/jobs/again/retry")
        assert (status, answer) == (200, {"prompt_id": "again", "number": 2, "node_errors": {}})
        assert [item[1] for item in (await client.get("/queue"))["queue_pending"]] == [waiting, "again"]
        job = await client.get("/api/jobs/again")
        assert job["status"] == "pending" and job["execution_error"] is None and job["execution_end_time"] is None
        assert (await client.post("/api/jobs/again/retry"))[0] == 409  # it waits
        await client.post("/api/queue/resume")
        assert (await client.entry("again"))["status"]["completed"]
        assert (await client.post("/api/jobs/again/retry"))[0] == 409  # it has done what it was to do
        assert (await client.post("/api/jobs/nope/retry"))[0] == 404


@in_loop
async def test_a_cancelled_job_runs_again_if_the_queue_has_room(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path, limits=Limits(waiting=1))) as client:
        await client.post("/api/queue/pause")
        cancelled = await client.queue(chain())
        await client.post(f"/api/jobs/{cancelled}/cancel")
        other = await client.queue(chain(seed=1))
        assert (await client.post(f"/api/jobs/{cancelled}/retry"))[0] == 429
        await client.post(f"/api/jobs/{other}/cancel")
        assert (await client.post(f"/api/jobs/{cancelled}/retry"))[0] == 200
        await client.post("/api/queue/resume")
        assert (await client.entry(cancelled))["status"]["completed"]


@in_loop
async def test_outputs_of_a_running_job_appear_one_by_one(tmp_path: Path) -> None:
    first = {"class_type": "Save", "inputs": {"value": ["v", 0], "prefix": "first"}}
    prompt = chain(steps=10_000, seconds=0.01) | {"p": first}
    async with serving(deps_of(tmp_path)) as client:
        prompt_id = await client.queue(prompt)
        async with asyncio.timeout(20):
            while not (job := await client.get(f"/api/jobs/{prompt_id}"))["outputs"]:
                await asyncio.sleep(0.01)
        assert job["status"] == "in_progress" and list(job["outputs"]) == ["p"] and job["outputs_count"] == 1
        assert (await client.get("/api/jobs"))["jobs"][0]["preview_output"]["nodeId"] == "p"
        await client.post(f"/api/jobs/{prompt_id}/cancel")
        assert list((await client.entry(prompt_id))["outputs"]) == ["p"]


@in_loop
async def test_the_log_has_a_line_for_each_job(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "server")
    async with serving(deps_of(tmp_path)) as client:
        ids = [await client.queue(chain(seed=seed)) for seed in range(3)]
        await client.entry(ids[-1])
    told = [text for text in caplog.messages if text.startswith("job ")]
    assert [text.split()[1:3] for text in told] == [[prompt_id, "completed"] for prompt_id in ids]
    assert told[0].endswith("4 nodes run, 0 cached")


@in_loop
async def test_a_failure_tells_node_and_reason_but_no_path(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client, client.listen("me") as ear:
        for how in ("raise", "blame"):
            prompt = chain()
            prompt["s"] = {"class_type": "Fail", "inputs": {"value": ["a0", 0], "how": how}}
            prompt_id = await client.queue(prompt, client_id="me")
            await ear.until_done(prompt_id)
            error = next(data for type_, data in reversed(ear.heard) if type_ == "execution_error")
            assert error["node_id"] == "s" and error["node_type"] == "Fail" and error["traceback"] == []
            entry = await client.entry(prompt_id)
            assert entry["status"]["messages"][-1] == ["execution_error", error]
            text = json.dumps([error, entry])
            assert str(tmp_path) not in text and "/work" not in text
            assert error["current_inputs"] == {"value": [["a0", 0]], "how": [how]}  # as the prompt has them
            states = [data["nodes"] for type_, data in ear.heard if type_ == "progress_state"]
            assert states[-1]["s"]["state"] == "error"


@in_loop
async def test_interrupts_reach_only_their_job(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client, client.listen("me") as ear:
        assert await client.post("/interrupt", {}) == (200, "")
        assert (await client.post("/interrupt", "{oops"))[0] == 400
        first = await client.queue(chain(steps=5000, seconds=0.01), client_id="me")
        second = await client.queue(chain(seed=3), client_id="me")
        await ear.until(lambda type_, data: type_ == "progress")
        assert await client.post("/interrupt", {"prompt_id": second}) == (200, "")
        assert await client.post("/interrupt", {"prompt_id": first}) == (200, "")
        await ear.until_done(second)
        assert (await client.entry(first))["status"]["status_str"] == "error"
        assert (await client.entry(second))["status"]["status_str"] == "success"
        assert (await client.get(f"/api/jobs/{first}"))["status"] == "cancelled"


@in_loop
async def test_partial_targets(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        prompt = chain()
        prompt["p"] = {"class_type": "Save", "inputs": {"value": ["v", 0], "prefix": "other"}}
        entry = await client.run(prompt, partial_execution_targets=["p"])
        assert list(entry["outputs"]) == ["p"] and entry["prompt"][4] == ["p"]
        status, answer = await client.post("/prompt", {"prompt": prompt, "partial_execution_targets": []})
        assert (status, answer["error"]["type"]) == (400, "prompt_no_outputs")
        assert (await client.post("/prompt", {"prompt": prompt, "partial_execution_targets": "p"}))[0] == 400


@in_loop
async def test_free_forgets_results(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        await client.run(chain())
        assert await client.post("/free", {"unload_models": True, "free_memory": True}) == (200, "")
        again = await client.queue(chain())
        await client.entry(again)
        assert not any(node["cached"] for node in (await client.get(f"/api/jobs/{again}"))["nodes"].values())
        assert (await client.post("/free", b""))[0] == 200


@in_loop
async def test_old_jobs_are_pruned(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path, limits=Limits(history=3))) as client:
        ids = [await client.queue(chain(seed=seed)) for seed in range(6)]
        await client.entry(ids[-1])
        async with asyncio.timeout(10):
            while list(await client.get("/history")) != ids[3:]:
                await asyncio.sleep(0.01)


@in_loop
async def test_cancelled_jobs_are_pruned_as_well(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path, limits=Limits(history=2))) as client:
        await client.post("/api/queue/pause")
        for seed in range(5):
            await client.queue(chain(seed=seed))
        await client.post("/queue", {"clear": True})
        assert (await client.get("/api/jobs"))["pagination"]["total"] == 5
        await client.post("/api/queue/resume")
        await client.run(chain())
        async with asyncio.timeout(10):
            while (await client.get("/api/jobs"))["pagination"]["total"] != 2:
                await asyncio.sleep(0.01)


@in_loop
async def test_jobs_are_found_by_date_state_and_type(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        times = []
        for seed in range(3):
            times.append(time.time())
            await client.run(chain(seed=seed), prompt_id=str(seed))

        async def found(query: str) -> str:
            return "".join(job["id"] for job in (await client.get(f"/api/jobs?{query}"))["jobs"])

        assert await found("") == "210"
        assert await found("sort_order=asc") == "012"
        assert await found(f"after={times[1]}") == "21"
        assert await found(f"before={times[1]}") == "0"
        assert await found(f"after={times[1]}&before={times[2]}") == "1"
        assert await found("status=completed,failed&type=Steps&limit=1&offset=1") == "1"
        assert await found("status=failed,pending") == "" == await found("type=Nothing")


@in_loop
async def test_long_answers_come_whole(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        prompt, note = chain(), "note " * 20_000
        ids = [await client.queue(prompt, extra_data={"extra_pnginfo": {"note": note}}) for _ in range(30)]
        await client.entry(ids[-1])
        history = await client.get("/history")
        assert list(history) == ids and all(entry["prompt"][3]["extra_pnginfo"] for entry in history.values())
        await client.post("/api/queue/pause")
        more = [await client.queue(prompt, extra_data={"extra_pnginfo": {"note": note}}) for _ in range(30)]
        assert [item[1] for item in (await client.get("/queue"))["queue_pending"]] == more
        async with client.session.head(f"{client.url}/history") as answer:
            assert answer.status == 200 and await answer.read() == b""
        wrong = {str(i): {"class_type": "Save", "inputs": {"value": "x" * 100}} for i in range(5000)}
        status, answer = await client.post("/prompt", {"prompt": wrong})
        assert status == 400 and len(answer["node_errors"]) == 5000


@in_loop
async def test_odd_requests_are_the_clients_mistake(tmp_path: Path) -> None:
    wrong: dict[str, list[Any]] = {
        "prompt": [
            [],
            "x",
            3,
            True,
            {"1": 3},
            {"1": {"class_type": ["Save"]}},
            {"1": {"class_type": "Save", "inputs": []}},
        ],
        "number": ["abc", [], True, 1e400],
        "extra_data": [[1], "x", 5],
        "prompt_id": [[], 3, "x" * 999, "\ud800", "a\0b"],
        "client_id": [[], 3, "\ud800"],
        "priority": ["x", 5000, 1.5],
    }
    bodies: list[Any] = [{"prompt": chain(), name: value} for name, values in wrong.items() for value in values]
    bodies += [
        b'{"prompt": {}, "extra_data": {"x": 1e999}}',
        b'{"prompt": {"1": {"class_type": "Value", "inputs": {"value": "' + b"9" * 5000 + b'"}}}}',
        b'{"prompt": {}, "number": ' + b"9" * 5000 + b"}",
    ]
    for name in ("a" * 300, "a/" * 3000 + "a"):  # longer than systems let paths be
        loader = {"class_type": "Load", "inputs": {"name": f"{name}.safetensors"}}
        bodies.append({"prompt": {"l": loader, "s": {"class_type": "Sink", "inputs": {"part": ["l", 0]}}}})
    bodies += [b"", b"{", b"[]", b"null", b"3", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"prompt": NaN}']
    async with serving(deps_of(tmp_path)) as client:
        for body in bodies:
            status, answer = await client.post("/prompt", body)
            assert 400 <= status < 500, (body, answer)
            assert "error" in answer
        for path in ("/queue", "/history", "/free", "/interrupt", "/api/jobs/x/move", "/settings"):
            for raw in (b"{", b"[]", b"\xff", b"[" * 100_000):
                assert (await client.post(path, raw))[0] == 400, (path, raw)
        assert (await client.post("/queue", {"delete": 3}))[0] == 400
