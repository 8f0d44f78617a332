"""The official editor in Chromium, served by this server; a picture comes back. GPL: a yardstick, never shipped."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.server.loop import in_loop

SOURCE = Path(__file__).resolve().parents[3]
CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"  # what the default workflow asks for
SMALLER = """
    for (const node of window.app.graph._nodes)
        for (const widget of node.widgets ?? [])
            if (widget.name in {width: 1, height: 1, steps: 1}) widget.value = widget.name == "steps" ? 3 : 64
    window.app.canvas.ds.scale = 0.6
    window.app.canvas.ds.offset = [50, 0]  // only what is in sight is drawn
    window.app.canvas.setDirty(true, true)
"""
WAIT = "new Promise(r => { const t = setInterval(() => { if (%s) { clearInterval(t); r(true) } }, 100) })"

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(find_spec("comfyui_frontend_package") is None, reason="the editor is not installed"),
    pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium"),
]


class Tab:
    """One page, over the browser's debugging protocol."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self._ws = ws
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.events: list[Any] = []
        self._number = 0
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for message in self._ws:
            said = json.loads(message.data)
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
            else:
                self.events.append(said)

    async def call(self, method: str, **params: Any) -> Any:
        self._number += 1
        number = self._number
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._ws.send_json({"id": number, "method": method, "params": params})
        return (await answer).get("result")

    async def js(self, code: str) -> Any:
        named = {"expression": code, "awaitPromise": True, "returnByValue": True}
        return (await self.call("Runtime.evaluate", **named))["result"].get("value")

    async def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode((await self.call("Page.captureScreenshot"))["data"]))

    def failures(self, url: str) -> list[str]:
        """Answers of 4xx and 5xx from our server."""
        answers = [
            event["params"]["response"] for event in self.events if event["method"] == "Network.responseReceived"
        ]
        return [answer["url"] for answer in answers if answer["status"] >= 400 and answer["url"].startswith(url)]


@asynccontextmanager
async def browser(profile: Path) -> AsyncIterator[Tab]:
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,900"]
    command += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=PIPE)
    try:
        assert process.stderr is not None
        while not (found := re.search(rb"ws://([^/]+)/", await process.stderr.readline())):
            pass
        async with aiohttp.ClientSession() as session:
            tabs = await (await session.get(f"http://{found[1].decode()}/json")).json()
            address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            async with session.ws_connect(address, max_msg_size=0) as ws:
                tab = Tab(ws)
                for domain in ("Runtime", "Page", "Network"):
                    await tab.call(f"{domain}.enable")
                yield tab
    finally:
        process.kill()
        await process.wait()


@in_loop
async def test_the_official_editor_draws_the_default_workflow(tmp_path: Path) -> None:
    from tests.tiny_checkpoint import write_tiny_checkpoint

    write_tiny_checkpoint(tmp_path / "base" / "models" / "checkpoints" / CHECKPOINT)
    editor = find_spec("comfyui_frontend_package")
    assert editor is not None and editor.origin is not None
    static = Path(editor.origin).parent / "static"
    command = [sys.executable, "main.py", "serve", "--cpu", "--port", "0", "--base-directory", str(tmp_path / "base")]
    command += ["--front-end-root", str(static)]
    server = await asyncio.create_subprocess_exec(*command, cwd=SOURCE, stdout=PIPE)
    assert server.stdout is not None
    try:
        url = (await server.stdout.readline()).decode().split()[-1]
        async with browser(tmp_path / "profile") as tab:
            await tab.call("Page.navigate", url=url)
            await tab.js(WAIT % "window.app && window.app.graph && window.LiteGraph.registered_node_types.KSampler")
            await asyncio.sleep(2)  # the first start's dialog about templates
            await tab.js("document.querySelector('.p-dialog-close-button')?.click()")
            await tab.js("window.app.loadGraphData().then(() => 1)")
            types = await tab.js("window.app.graph._nodes.map(n => n.type).sort()")
            assert types == [
                *("CLIPTextEncode", "CLIPTextEncode", "CheckpointLoaderSimple", "EmptyLatentImage"),
                *("KSampler", "SaveImage", "VAEDecode"),
            ]
            await tab.js(SMALLER)
            await tab.js("window.app.queuePrompt(0).then(() => 1)")
            await tab.js(WAIT % "Object.keys(window.app.nodeOutputs ?? {}).length")
            outputs = await tab.js("window.app.nodeOutputs")
            assert outputs["9"]["images"][0]["filename"].startswith("ComfyUI_")
            await tab.js(WAIT % "window.app.graph._nodes.some(n => n.type == 'SaveImage' && n.imgs?.length)")
            shown = await tab.js("window.app.graph._nodes.find(n => n.type == 'SaveImage').imgs[0].naturalWidth")
            await asyncio.sleep(1)
            await tab.picture(tmp_path / "editor.png")
            assert shown == 64
            assert [address for address in tab.failures(url) if "comfy.templates.json" not in address] == []
    finally:
        server.terminate()
        assert await server.wait() == 0
