"""The server under violence: 200 kills, invented requests, a long history."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from bench.server import crowded, until_done
from server.job import Outcome, State, Submission
from server.store import Store
from tests.server.crashes import kill_many, start
from tests.server.support import chain

pytestmark = pytest.mark.acceptance

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
CHECKS += ",negative_data_rejection,unsupported_method,allow_header_conformance,ensure_resource_availability"
BODIES = 100_000
TALKS = 4_000
AT_ONCE = 16
MIB = 2**20


def test_two_hundred_kills(tmp_path: Path) -> None:
    damage = asyncio.run(kill_many(tmp_path / "base", kills=200, seed=7))
    print(f"{damage.kills} kills, {len(damage.accepted)} jobs accepted, {len(damage.failed)} hit by two kills")
    assert damage.kills == 200 and len(damage.accepted) > 200
    assert not damage.lost and not damage.truncated and not damage.repeated


def test_a_long_history_does_not_delay_the_start(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    store = Store(tmp_path / "base" / "darkroom.db")
    outcome = Outcome(State.COMPLETED, "{}", "[]", "{}", "{}")
    with store._db.transaction():  # one commit for all
        for number in range(10_000):
            _insert(store, Submission(f"job-{number}", number, '{"1": {}}', "{}", ("1",)), outcome)
    store.close()

    async def first_answer() -> float:
        begun = time.perf_counter()
        process, url = await start(tmp_path / "base")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}/queue") as answer:
                assert answer.status == 200
            took = time.perf_counter() - begun
            async with session.get(f"{url}/history?max_items=10") as answer:
                assert len(await answer.json()) == 10
        process.terminate()
        await process.wait()
        return took

    took = min(asyncio.run(first_answer()) for _ in range(3))
    print(f"first answer after {took:.2f} s")
    assert took < 3  # on a machine that others use too; the figure is in bench/RESULTS.md


def _insert(store: Store, job: Submission, outcome: Outcome) -> None:
    store._db.execute(
        "INSERT INTO jobs(id, number, state, priority, rank, created, started, finished, targets, outputs, messages,"
        " meta, nodes, extra, prompt) VALUES(?, ?, ?, 0, ?, ?, ?, ?, '[]', '{}', '[]', '{}', '{}', '{}', ?)",
        (job.id, job.number, outcome.state, job.number, time.time(), time.time(), time.time(), job.prompt),
    )


def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        process, url = await start(tmp_path / "base")
        command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json"]
        command += ["--checks", CHECKS, "--max-examples", "50", "--exclude-path", "/ws", "--seed", "1"]
        command += ["--phases", "examples,coverage,fuzzing"]
        found = await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, capture_output=True, text=True)
        process.terminate()
        assert await process.wait() == 0
        assert found.returncode == 0, found.stdout[-5000:]

    asyncio.run(body())


def test_invented_prompts(tmp_path: Path) -> None:
    async def body() -> None:
        process, url = await start(tmp_path / "base")
        memory, sizes = psutil.Process(process.pid), [0, 0]
        numbers, statuses = iter(range(BODIES)), Counter[int]()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            await session.post(f"{url}/api/queue/pause")

            async def sender() -> None:
                for number in numbers:
                    content = mutated(random.Random(number))
                    async with session.post(f"{url}/prompt", data=content) as answer:
                        assert answer.status < 500, (number, await answer.text())
                        statuses[answer.status] += 1
                    if number % 500 == 499:
                        await session.post(f"{url}/queue", json={"clear": True})
                        await session.post(f"{url}/history", json={"clear": True})
                    if number == BODIES // 4:
                        sizes[0] = memory.memory_info().rss

            await asyncio.gather(*(sender() for _ in range(AT_ONCE)))
            sizes[1] = memory.memory_info().rss
        print(
            f"{BODIES} bodies: {dict(statuses)}; {sizes[0] / MIB:.0f} MiB after a quarter, {sizes[1] / MIB:.0f} at the end"
        )
        assert statuses[200] > BODIES / 10 < statuses[400]
        assert sizes[1] < sizes[0] * 1.2 + 20 * MIB
        process.terminate()
        assert await process.wait() == 0

    asyncio.run(body())


def test_invented_websocket_talk(tmp_path: Path) -> None:
    async def body() -> None:
        process, url = await start(tmp_path / "base")
        memory, sizes = psutil.Process(process.pid), []
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            for number in range(TALKS):
                chance = random.Random(number)
                with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                    await (_talk(session, url, chance) if number % 2 else _babble(url, chance))
                if number in (TALKS // 4, TALKS - 1):
                    sizes.append(memory.memory_info().rss)
            async with asyncio.timeout(60):  # until all of them are gone
                while "darkroom_websockets 0.0" not in await (await session.get(f"{url}/metrics")).text():
                    await asyncio.sleep(0.1)
            async with session.get(f"{url}/queue") as answer:
                assert answer.status == 200
        print(f"{TALKS} talks: {sizes[0] / MIB:.0f} MiB after a quarter, {sizes[1] / MIB:.0f} at the end")
        assert sizes[1] < sizes[0] * 1.2 + 20 * MIB
        process.terminate()
        assert await process.wait() == 0

    asyncio.run(body())


async def _talk(session: aiohttp.ClientSession, url: str, chance: random.Random) -> None:
    """Messages that are frames, and mean something or nothing."""
    kinds: list[Any] = ["feature_flags", "watch", "", 7, None]
    data: list[Any] = [{}, {"prompt_id": "x"}, {"prompt_id": 3}, {"supports_preview_metadata": []}, [], "x", None]
    async with session.ws_connect(f"{url}/ws?clientId={chance.randrange(5)}") as ws:
        for _ in range(5):
            await ws.send_bytes(chance.randbytes(chance.randrange(100)))
            await ws.send_str(mutated(chance).decode("utf-8", "replace")[:1000])
            await ws.send_json({"type": chance.choice(kinds), "data": chance.choice(data)})


async def _babble(url: str, chance: random.Random) -> None:
    """A handshake, and then bytes that are no frames."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(
        b"GET /ws?clientId=babble HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    writer.write(
        chance.choice([b"", b"\x81", b"\x81\xff", b"\x01\x80", b"\x88\x80", b"\x89\xfe"]) + chance.randbytes(40)
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()


def test_others_do_not_wait_for_large_requests(tmp_path: Path) -> None:
    """By the server's own processor time, so that it holds on a busy machine; the best of three tries each."""
    base, log = tmp_path / "base", tmp_path / "waits"
    many = [[{f"{i}-{j}": i} for i in range(49_000)] for j in range(10)]
    prompts: dict[str, dict[str, Any]] = {
        "20,000 nodes": chain(length=19_990),
        "20,000 faulty nodes": {str(i): {"class_type": "Save", "inputs": {"value": ["no", 0]}} for i in range(20_000)},
        "a long text": {"1": {"class_type": "Save", "inputs": {"value": "x" * 15_000_000}}},
        "many values": {"1": {"class_type": "Save", "inputs": {"value": [[1]] * 200_000}}},
        "a million values": {"1": {"class_type": "Save", "inputs": {"value": many}}},
        "a million members": {"1": {"class_type": "Save", "inputs": {"value": {str(i): 1 for i in range(10**6)}}}},
        "60 MB": {"1": {"class_type": "Save", "inputs": {"value": "x" * 60_000_000}}},
    }

    posts = [(name, "/prompt", {"prompt": prompt, "client_id": "me"}) for name, prompt in prompts.items()]
    asyncio.run(_others_wait(base, log, posts))


def test_others_do_not_wait_for_large_files_of_the_editor(tmp_path: Path) -> None:
    file = drawn_chain(17_000)
    posts = [(path, path, file) for path in ("/workflow/convert", "/workflow/convert?to=editor", "/workflow/check")]
    posts.append(("/prompt", "/prompt", {"prompt": file, "client_id": "me"}))
    asyncio.run(_others_wait(tmp_path / "base", tmp_path / "waits", posts))


async def _others_wait(base: Path, log: Path, posts: list[tuple[str, str, Any]]) -> None:
    """Send each, named and to its path; nobody else may wait for longer than 50 ms."""
    process, url = await start(base, log)
    async with aiohttp.ClientSession() as session:
        for name, path, what in posts:
            content, waits = json.dumps(what).encode(), []
            for _ in range(3):
                before = len(log.read_text())
                async with session.ws_connect(f"{url}/ws?clientId=me", max_msg_size=0) as ws:
                    async with session.post(url + path, data=content) as answer:
                        await answer.read()
                        assert answer.status < 500
                    if answer.status == 200 and path == "/prompt":
                        await until_done(ws)
                await asyncio.sleep(0.2)
                waits.append(max(map(float, log.read_text()[before:].split()), default=0.0))
            print(f"{name}, {len(content) / 1e6:.1f} MB: others wait at most {1000 * min(waits):.0f} ms")
            assert min(waits) < 0.05, (name, waits)
    process.terminate()
    assert await process.wait() == 0


def drawn_chain(count: int) -> dict[str, Any]:
    """A file of the editor with so many nodes, each of which reads the one before, and some words with each."""
    links = [[number, number, 0, number + 1, 0, "INT"] for number in range(1, count)]
    nodes = [
        {
            "id": number,
            "type": "Steps" if number < count else "Save",
            "pos": [number, 0],
            "size": [200, 100],
            "flags": {},
            "order": number,
            "mode": 0,
            "inputs": [{"name": "value", "type": "INT", "link": number - 1 or None, "widget": {"name": "value"}}],
            "outputs": [{"name": "INT", "type": "INT", "links": [number]}],
            "properties": {"Node name for S&R": "Steps", "note": "x" * 180},
            "widgets_values": [1, 5, "fixed", 1, 7.5, "euler", 0.0],
        }
        for number in range(1, count + 1)
    ]
    return {"nodes": nodes, "links": links, "groups": [], "config": {}, "extra": {}, "version": 0.4}


def test_a_crowd_does_not_slow_the_step(tmp_path: Path) -> None:
    row = asyncio.run(crowded(tmp_path / "base"))
    print(row)
    assert float(row.measured.split()[0]) < 1.05


def mutated(chance: random.Random) -> bytes:
    """A body of `/prompt` with something wrong, mostly."""
    strange: list[Any] = [
        None,
        True,
        -1,
        1e308,
        2**70,
        "",
        "x" * 300,
        [],
        {},
        ["v", 0],
        ["v", 99],
        ["?", 0],
        "\ud800",
        "9" * 5000,
        [[]],
    ]
    body: Any = {"prompt": chain(length=chance.randrange(4)), "client_id": "me", "extra_data": {"extra_pnginfo": {}}}
    for name in ("number", "front", "priority", "prompt_id", "partial_execution_targets"):
        if chance.random() < 0.1:
            body[name] = chance.choice([*strange, 3, ["o"], f"id-{chance.randrange(100)}"])
    for _ in range(chance.randrange(4)):
        place = body
        while True:
            key = chance.choice(list(place))
            if isinstance(place[key], dict) and place[key] and chance.random() < 0.8:
                place = place[key]
                continue
            place[key] = chance.choice(strange)
            break
    text = json.dumps(body).encode()
    if chance.random() < 0.3:
        cut = chance.randrange(len(text))
        text = text[:cut] + chance.randbytes(chance.randrange(4)) + text[cut + chance.randrange(3) :]
    return text
