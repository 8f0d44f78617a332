"""Programs that were written for ComfyUI, unchanged; and our own."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from server.deps import STORE
from server.store import Store
from server.submit import submit
from server.webhooks import Webhooks
from tests.server.loop import in_loop
from tests.server.support import chain, deps_of, in_background, serving

comfy_api = pytest.importorskip("comfy_api_simplified")


def titled(prompt: dict[str, Any]) -> dict[str, Any]:
    for node_id, node in prompt.items():
        node["_meta"] = {"title": f"Title of {node_id}"}
    return prompt


def test_comfy_api_simplified(tmp_path: Path) -> None:
    """It takes any binary frame for the result, and asks for no previews."""
    with in_background(tmp_path) as client:
        api = comfy_api.ComfyApiWrapper(client.url)
        workflow = comfy_api.ComfyWorkflowWrapper(titled(chain(steps=20, seconds=0.01)))
        workflow.set_node_param("Title of s", "seed", 5)
        images = api.queue_and_wait_images(workflow, "Title of o")
        assert len(images) == 1
        for name, content in images.items():
            assert name.endswith(".png") and Image.open(io.BytesIO(content)).size == (16, 16)
        (tmp_path / "up.png").write_bytes(next(iter(images.values())))
        assert api.upload_image(str(tmp_path / "up.png"))["name"] == "up.png"
        assert api.get_queue() == {"queue_running": [], "queue_pending": []}
        broken = titled(chain())
        broken["s"] = {"class_type": "Fail", "inputs": {"value": ["a0", 0], "how": "raise"}, "_meta": {"title": "f"}}
        with pytest.raises(Exception, match=r"error occurred|0 images|KeyError|'o'"):
            api.queue_and_wait_images(comfy_api.ComfyWorkflowWrapper(broken), "Title of o")


def test_our_own_submit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "workflow.json"
    with in_background(tmp_path / "base") as client:
        file.write_text(json.dumps(chain()))
        assert submit(client.url, str(file), wait=True) == 0
        assert f"{client.url}/view?filename=out_2_" in capsys.readouterr().out
        assert submit(client.url, str(file), wait=False) == 0
        failing = chain()
        failing["s"] = {"class_type": "Fail", "inputs": {"value": ["a0", 0], "how": "blame"}}
        file.write_text(json.dumps(failing))
        assert submit(client.url, str(file), wait=True) == 1
        assert "failed at node s (Fail)" in capsys.readouterr().err
        file.write_text(json.dumps({"1": {"class_type": "Save", "inputs": {}}}))
        assert submit(client.url, str(file), wait=True) == 2
        assert "node 1 (Save): value" in capsys.readouterr().err
    assert submit("http://127.0.0.1:1", str(file), wait=True) == 1
    assert "--server" in capsys.readouterr().err


def test_our_own_submit_sweeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps(chain(value=100)))
    with in_background(tmp_path / "base") as client:
        assert submit(client.url, str(file), wait=True, sweeps=["v.value=100,200", "s.seed=1..3"]) == 0
        printed = capsys.readouterr().out.splitlines()
        assert [line.split("out_")[1].split("_")[0] for line in printed] == ["102", "103", "104", "202", "203", "204"]
        assert submit(client.url, str(file), wait=True, sweeps=["v.value=nonsense"]) == 2
        assert "node v (Value): value: value 1 of 1: got 'nonsense'" in capsys.readouterr().err
        assert submit(client.url, str(file), wait=True, sweeps=["v.valeu=1,2"]) == 2
        assert "Value has no input 'valeu' (did you mean 'value'?)" in capsys.readouterr().err
        assert submit(client.url, str(file), wait=True, sweeps=["s.kind=*", "x.y=1"]) == 2


@in_loop
async def test_webhooks_are_retried_and_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got: asyncio.Queue[Any] = asyncio.Queue()
    statuses = [503, 200, 200]

    async def receive(request: web.Request) -> web.Response:
        await got.put(await request.json())
        return web.Response(status=statuses.pop(0))

    receiver = web.Application()
    receiver.router.add_post("/done", receive)
    runner = web.AppRunner(receiver)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    monkeypatch.setattr(Webhooks.__init__, "__defaults__", ((0.01,),))
    try:
        async with serving(deps_of(tmp_path, webhook_hosts=[f"127.0.0.1:{port}"])) as client:
            address = {"webhook": f"http://127.0.0.1:{port}/done"}
            prompt_id = await client.queue(chain(), extra_data=address)
            for _ in range(2):
                told = await asyncio.wait_for(got.get(), 20)
                assert told["prompt_id"] == prompt_id and told["status"] == "completed" and "o" in told["outputs"]
            half = f"{address['webhook']}/\ud800"  # SQLite could not give it back, and all webhooks would wait for ever
            for url in (
                f"http://localhost:{port}/done",
                "http://evil.example/",
                "file:///etc/passwd",
                7,
                "http://[x",
                half,
            ):
                status, _ = await client.post("/prompt", {"prompt": chain(), "extra_data": {"webhook": url}})
                assert status == 400, url
    finally:
        await runner.cleanup()


@in_loop
async def test_webhooks_outlive_the_server(tmp_path: Path) -> None:
    got: asyncio.Queue[Any] = asyncio.Queue()
    answers = [503]

    async def receive(request: web.Request) -> web.Response:
        await got.put(await request.json())
        return web.Response(status=answers[0])

    receiver = web.Application()
    receiver.router.add_post("/done", receive)
    runner = web.AppRunner(receiver)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"127.0.0.1:{runner.addresses[0][1]}"
    extra = {"webhook": f"http://{address}/done"}
    try:
        async with serving(deps_of(tmp_path, webhook_hosts=[address])) as client:
            prompt_id = await client.queue(chain(), extra_data=extra)
            assert (await asyncio.wait_for(got.get(), 20))["prompt_id"] == prompt_id
            await client.post("/api/queue/pause")
            waiting = await client.queue(chain(), extra_data=extra)
            await client.post("/history", {"clear": True})  # what is to be told does not depend on it
            await client.post("/queue", {"delete": [waiting]})
        answers[0] = 200
        async with serving(deps_of(tmp_path, webhook_hosts=[address])) as client:
            told: dict[str, str] = {}
            while set(told) != {prompt_id, waiting}:
                report = await asyncio.wait_for(got.get(), 20)
                told[report["prompt_id"]] = report["status"]
            assert told == {prompt_id: "completed", waiting: "cancelled"}
            async with asyncio.timeout(20):
                while await client.app[STORE](Store.reports, 1):  # the server has seen the answers
                    await asyncio.sleep(0.01)
            while not got.empty():
                got.get_nowait()
        async with serving(deps_of(tmp_path, webhook_hosts=[address])):
            await asyncio.sleep(0.3)
            assert got.empty()  # told once, then never again
    finally:
        await runner.cleanup()


@in_loop
async def test_a_webhook_that_never_answers_does_not_hold_up_those_of_other_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.webhooks.ANSWER_SECONDS", 1000.0)
    got: asyncio.Queue[Any] = asyncio.Queue()
    asked, gone = asyncio.Event(), asyncio.Event()

    async def receive(request: web.Request) -> web.Response:
        await got.put(await request.json())
        return web.Response()

    async def hang(request: web.Request) -> web.Response:
        asked.set()
        await gone.wait()
        return web.Response()

    app = web.Application()
    app.router.add_post("/good", receive)
    app.router.add_post("/dead", hang)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        async with serving(deps_of(tmp_path, webhook_hosts=[f"localhost:{port}", f"127.0.0.1:{port}"])) as client:
            for seed in range(40):  # more than are told at once
                await client.queue(chain(seed=seed), extra_data={"webhook": f"http://localhost:{port}/dead"})
            await asyncio.wait_for(asked.wait(), 20)
            prompt_id = await client.queue(chain(), extra_data={"webhook": f"http://127.0.0.1:{port}/good"})
            assert (await asyncio.wait_for(got.get(), 20))["prompt_id"] == prompt_id
            assert len(await client.app[STORE](Store.reports, 100)) >= 32  # those wait still
            gone.set()
    finally:
        await runner.cleanup()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl(tmp_path: Path) -> None:
    with in_background(tmp_path) as client:
        body = json.dumps({"prompt": chain()})
        command = ["curl", "-s", "-X", "POST", f"{client.url}/prompt", "-d", body]
        answer = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        assert answer["node_errors"] == {}


def test_flags(capsys: pytest.CaptureFixture[str]) -> None:
    from server.options import understand

    def understood(*arguments: str) -> Any:
        return understand(arguments)

    options = understood("--port", "9000", "--lowvram", "--listen", "--cuda-device", "1", "--fast", "a", "b")
    assert (options.command, options.port, options.listen) == ("serve", 9000, "0.0.0.0,::")
    assert "--lowvram --cuda-device --fast" in capsys.readouterr().err
    assert understood().command == "serve"
    assert understood("serve", "--enable-cors-header").enable_cors_header == "*"
    for wrong, near in (("--prot", "--port"), ("--lowram", "--lowvram"), ("--hist-limit", "--history-limit")):
        with pytest.raises(SystemExit):
            understood(wrong)
        assert f"did you mean {near}?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        understood("run", "x.json", "--lowvram")


def test_help_is_quick_because_it_imports_little() -> None:
    code = (
        "import sys, main; from server.options import parser; parser(); "
        "print([n for n in ('torch', 'aiohttp', 'PIL', 'yaml') if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stdout == "[]\n"
