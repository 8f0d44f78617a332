"""What comes through the websocket, to whom, and what a client that was away gets."""

from __future__ import annotations

import asyncio
import json
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from graph.events import NodeStarted, Progress
from server.feed import Feed
from server.hub import Hub, Live
from server.metrics import Metrics
from server.redact import Redactor
from server.socket import LOST_BYTES, SLOW_BYTES, Socket
from server.transcript import Message, Transcript
from server.watch import Watch
from tests.server.loop import in_loop
from tests.server.support import chain, deps_of, serving


@in_loop
async def test_a_client_that_comes_back_gets_what_it_missed(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        async with client.listen("me") as ear:
            prompt_id = await client.queue(chain(steps=30, seconds=0.01), client_id="me")
            await ear.until(lambda type_, data: type_ == "progress")
        await client.entry(prompt_id)
        async with client.listen("me") as again:
            await again.until_done(prompt_id)
        both = ear.types("status", "progress", "progress_state", "binary")
        both += again.types("status", "progress", "progress_state", "binary")
        assert both == [
            *("execution_start", "execution_cached", "executing", "executing", "executing"),
            *("executing", "executed", "execution_success", "executing"),
        ]
        async with client.listen("me") as third:
            await third.next()
            await client.post("/prompt", {"prompt": {}})
            assert third.types() == ["status"]  # nothing twice


@in_loop
async def test_a_client_that_comes_late_gets_the_run_from_its_start(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        prompt_id = await client.queue(chain(steps=50, seconds=0.01), client_id="late")
        async with asyncio.timeout(10):
            while not (await client.get(f"/api/jobs/{prompt_id}"))["nodes"].get("s"):
                await asyncio.sleep(0.01)
        async with client.listen("late") as ear:
            await ear.until_done(prompt_id)
        assert ear.types("progress", "binary")[:3] == ["status", "execution_start", "execution_cached"]
        async with client.listen("stranger") as ear:
            await ear.next()
            other = await client.queue(chain(), client_id="late")
            await client.entry(other)
            await ear.next()
            assert set(ear.types()) == {"status"}


@in_loop
async def test_two_sockets_may_share_an_id(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client, client.listen("me") as second:
        async with client.listen("me") as first:
            prompt_id = await client.queue(chain(), client_id="me")
            await asyncio.gather(first.until_done(prompt_id), second.until_done(prompt_id))
            assert first.types("status", "progress_state") == second.types("status", "progress_state")
        prompt_id = await client.queue(chain(seed=1), client_id="me")
        await second.until_done(prompt_id)


@in_loop
async def test_anyone_may_watch_a_run_by_its_id(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        prompt_id = await client.queue(chain(steps=40, seconds=0.01))
        async with asyncio.timeout(10):
            while not (await client.get("/queue"))["queue_running"]:
                await asyncio.sleep(0.005)
        async with client.listen("a", f"&watch={prompt_id}") as ear, client.listen("b") as other:
            await other.ws.send_json({"type": "watch", "data": {"prompt_id": prompt_id}})
            await asyncio.gather(ear.until_done(prompt_id), other.until_done(prompt_id))
        for heard in (ear, other):
            assert heard.types("progress", "progress_state", "binary")[:2] == ["status", "execution_start"]
            assert "progress" in heard.types()


@in_loop
async def test_a_run_may_be_watched_before_it_begins(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client, client.listen("a", "&watch=later") as ear:
        await client.queue(chain(), prompt_id="later")
        await ear.until_done("later")
        assert "execution_success" in ear.types()


@in_loop
async def test_clients_are_told_when_a_node_runs_again_for_want_of_memory(tmp_path: Path) -> None:
    document = chain() | {"h": {"class_type": "Hungry", "inputs": {"value": ["s", 0]}}}
    document["o"]["inputs"]["value"] = ["h", 0]
    async with serving(deps_of(tmp_path)) as client, client.listen("me") as ear:
        prompt_id = await client.queue(document, client_id="me")
        await ear.until_done(prompt_id)
        told = [data for type_, data in ear.heard if type_ == "execution_retried"]
        assert [(data["node_id"], data["thrift"]) for data in told] == [("h", "evict"), ("h", "tile")]
        assert "no room beside" in told[0]["exception_message"] and str(tmp_path) not in json.dumps(told)
        assert "execution_success" in ear.types()
        entry = (await client.get(f"/history/{prompt_id}"))[prompt_id]
        assert [type_ for type_, _ in entry["status"]["messages"]].count("execution_retried") == 2


@in_loop
async def test_clients_history_and_jobs_are_told_what_a_node_left_out(tmp_path: Path) -> None:
    document = chain() | {"w": {"class_type": "Warn", "inputs": {"value": ["s", 0]}}}
    document["o"]["inputs"]["value"] = ["w", 0]
    async with serving(deps_of(tmp_path)) as client, client.listen("me") as ear:
        for _ in range(2):  # the second time its result is at hand
            ear.heard.clear()
            prompt_id = await client.queue(document, client_id="me")
            await ear.until_done(prompt_id)
            [told] = [data for type_, data in ear.heard if type_ == "execution_warning"]
            assert (told["node_id"], told["node_type"], told["input_name"]) == ("w", "Warn", "value")
            assert told["message"].startswith("half of") and str(tmp_path) not in json.dumps(told)
            entry = (await client.get(f"/history/{prompt_id}"))[prompt_id]
            assert ["execution_warning", told] in entry["status"]["messages"]
            assert (await client.get(f"/api/jobs/{prompt_id}"))["warnings"] == [told]


@in_loop
async def test_progress_state_comes_ten_times_a_second_at_most_and_last(tmp_path: Path) -> None:
    async with (
        serving(deps_of(tmp_path)) as client,
        client.listen("me") as ear,
        client.listen("me", supports_progress_deltas=True) as delta,
    ):
        await delta.until(lambda type_, data: type_ == "feature_flags")
        prompt_id = await client.queue(chain(length=300, steps=300, seconds=0.001), client_id="me")
        await asyncio.gather(ear.until_done(prompt_id), delta.until_done(prompt_id))
        started = next(data for type_, data in ear.heard if type_ == "execution_start")["timestamp"]
        ended = next(data for type_, data in ear.heard if type_ == "execution_success")["timestamp"]
        states = [data["nodes"] for type_, data in ear.heard if type_ == "progress_state"]
        assert 2 <= len(states) <= (ended - started) / 100 + 3
        assert len(states[-1]) == 303 and all(node["state"] == "finished" for node in states[-1].values())
        merged: dict[str, object] = {}
        changes = [data for type_, data in delta.heard if type_ == "progress_state"]
        assert all(data["delta"] is True for data in changes)
        for data in changes:
            merged |= data["nodes"]
        assert merged == states[-1]
        assert sum(len(data["nodes"]) for data in changes) < 303 + 2 * len(changes) + 303


@in_loop
async def test_previews_are_made_only_for_those_who_look(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client, client.listen("me", supports_preview_metadata=True) as ear:
        prompt_id = await client.queue(chain(), client_id="me")
        await ear.until_done(prompt_id)
        frame = next(data for type_, data in ear.heard if type_ == "binary")
        kind, length = struct.unpack(">II", frame[:8])
        assert kind == 4 and frame[8 + length :].startswith(b"\xff\xd8\xff")
        assert json.loads(frame[8 : 8 + length]) == {
            "node_id": "s",
            "prompt_id": prompt_id,
            "display_node_id": "s",
            "parent_node_id": None,
            "real_node_id": "s",
            "image_type": "image/jpeg",
        }
    async with serving(deps_of(tmp_path, previews=False)) as client, client.listen("me") as ear:
        prompt_id = await client.queue(chain(seed=5), client_id="me")
        await ear.until_done(prompt_id)
        assert "binary" not in ear.types() and ear.types().count("progress") == 3


@in_loop
async def test_what_clients_say_breaks_nothing(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client, client.listen("me") as ear:
        for text in ("", "{", "[]", "3", '{"type": 3}', '{"type": "feature_flags", "data": 7}', "[" * 10_000):
            await ear.ws.send_str(text)
        await ear.ws.send_bytes(b"\0" * 100)
        await ear.ws.send_json({"type": "feature_flags", "data": {}})
        await ear.until(lambda type_, data: type_ == "feature_flags")
        await client.run(chain())


class Stuck:
    """A websocket and its transport, whose other side takes nothing."""

    closed = False
    given_up = False

    def abort(self) -> None:
        self.given_up = True


def live_for(client_id: str) -> tuple[Hub, Live, Socket, Stuck]:
    """A run that a stuck client of its own listens to."""
    hub, stuck = Hub(ThreadPoolExecutor(1)), Stuck()
    socket = Socket(stuck, client_id, stuck)  # type: ignore[arg-type]
    hub.join(socket)
    live = hub.open(Transcript("job", {}, Redactor({})), client_id)
    return hub, live, socket, stuck


@pytest.mark.parametrize("kind", ["progress", "progress_state", "preview", "plain preview"])
@in_loop
async def test_a_slow_client_loses_progress_and_keeps_its_socket(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A run that tells a lot while its client takes nothing: what may be left out is, whatever the client asked for."""
    monkeypatch.setattr("server.socket.STATE_SECONDS", 0.0)
    hub, live, socket, stuck = live_for("me")
    socket.learn({"supports_preview_metadata": kind == "preview"})
    nodes = [f"{number}" * 200 for number in range(20)] if kind == "progress_state" else ["9"]
    for node_id in nodes:
        hub.show(live, NodeStarted("job", node_id), 1.0, None)
    for number in range(12_000 if kind == "progress" else 400):
        node_id = nodes[number % len(nodes)]
        if kind == "progress":
            hub.show(live, Progress("job", node_id * 600, number, 10_000), 1.0, None)
        elif kind == "progress_state":
            hub.show(live, Progress("job", node_id, number, 10_000), 1.0, None)
        else:
            hub.show(live, Progress("job", node_id, number, 10_000), 1.0, b"\xff\xd8" + b"x" * 100_000)
        socket.flush(live.transcript)
    assert not stuck.given_up and SLOW_BYTES < socket.waiting_bytes < LOST_BYTES / 2
    hub.tell(live, Message("executed", {"node": "9"}))
    assert socket._frames[-1] == '{"type": "executed", "data": {"node": "9"}}'  # what lasts is kept


@in_loop
async def test_others_get_their_turn_while_a_fast_run_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that came all at once are told in slices; each lasts as long as the clock says."""
    monkeypatch.setattr("server.feed.SLICE_SECONDS", -1.0)  # each event is a slice of its own
    hub, live, _, _ = live_for("me")
    feed, order = Feed(hub, live, Watch(Metrics())), list[str]()
    feed.sinks.append(lambda event: order.append("told"))
    loop = asyncio.get_running_loop()

    def other() -> None:
        order.append("other")
        if len(order) < 20:
            loop.call_soon(other)

    for number in range(5):
        feed(Progress("job", "9", number, 5))
    loop.call_soon(other)
    await feed.told()
    assert order.count("told") == 5
    assert "told told" not in " ".join(order[1:]), order  # `told()` itself begins


@in_loop
async def test_a_socket_nobody_reads_is_given_up() -> None:
    stuck = Stuck()
    socket = Socket(stuck, "me", stuck)  # type: ignore[arg-type]
    for _ in range(40):
        socket.send("x" * 2**20, droppable=True)
    assert socket.waiting_bytes < LOST_BYTES and not stuck.given_up  # previews are left out first
    for _ in range(40):
        socket.send("x" * 2**20)
    assert socket.waiting_bytes == 0 and stuck.given_up
