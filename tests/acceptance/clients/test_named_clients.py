"""Client packages of today, unmodified: each draws a picture, is told what is wrong with a graph, and cancels a run."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.server.loop import in_loop
from tests.tiny_checkpoint import write_tiny_checkpoint

SOURCE = Path(__file__).resolve().parents[3]
CLIENTS = SOURCE / "tests" / "data" / "clients"
COMFYUI_MCP = ("comfyui-mcp@0.52.203", "node@22")
"""The package, and the oldest node that it runs on."""

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python of its own with the packages."""
    place = tmp_path_factory.mktemp("clients")
    venv.create(place, with_pip=True)
    command = [str(place / "bin" / "python"), "-m", "pip", "install", "-q", "-r", str(CLIENTS / "requirements.txt")]
    if subprocess.run(command, check=False).returncode:
        pytest.skip("the packages cannot be fetched")
    return place / "bin" / "python"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server of all node types with a checkpoint of tiny networks."""
    write_tiny_checkpoint(tmp_path / "base/models/checkpoints/tiny.safetensors")
    command = [sys.executable, "main.py", "serve", "--cpu", "--port", "0", "--base-directory", str(tmp_path / "base")]
    with subprocess.Popen(command, cwd=SOURCE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


def workflow(tmp_path: Path, **inputs: object) -> Path:
    """The default workflow, small, with other inputs of its sampler."""
    graph = json.loads((SOURCE / "workflows" / "text_to_image.json").read_text())
    graph["4"]["inputs"]["ckpt_name"] = "tiny.safetensors"
    graph["5"]["inputs"] |= {"width": 32, "height": 32}
    graph["3"]["inputs"] |= {"steps": 2, **inputs}
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps(graph))
    return path


@pytest.mark.parametrize("name", ["toolkit", "xy", "headless", "script"])
def test_a_library(python: Path, address: str, tmp_path: Path, name: str) -> None:
    command = [str(python), str(CLIENTS / f"{name}.py"), address, str(workflow(tmp_path))]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_comfy_cli(python: Path, address: str, tmp_path: Path) -> None:
    host, port = address.removeprefix("http://").split(":")
    environment = {**os.environ, "HOME": str(tmp_path), "DO_NOT_TRACK": "1"}

    def comfy(*words: str) -> Any:
        command = [str(python.with_name("comfy")), "--skip-prompt", *words, "--host", host, "--port", port]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        return json.loads(ended.stdout.splitlines()[-1])

    drawn = comfy("run", "--workflow", str(workflow(tmp_path)), "--wait")
    assert drawn["ok"] and drawn["data"]["status"] == "completed" and len(drawn["data"]["outputs"]) == 1
    bad = comfy("run", "--workflow", str(workflow(tmp_path, steps=0)), "--wait")
    assert not bad["ok"] and "steps" in bad["error"]["hint"]
    long = comfy("run", "--workflow", str(workflow(tmp_path, steps=10_000, seed=4)))
    cancelled = comfy("jobs", "cancel", long["data"]["prompt_id"])
    assert cancelled["ok"], cancelled


@pytest.fixture(scope="module")
def comfyui_mcp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MCP server from npm that speaks to ComfyUI."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm")
    place = tmp_path_factory.mktemp("npm")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", *COMFYUI_MCP]
    if subprocess.run(command, cwd=place, check=False).returncode:
        pytest.skip("the package cannot be fetched")
    return place / "node_modules" / ".bin"


def test_comfyui_mcp(comfyui_mcp: Path, address: str, tmp_path: Path) -> None:
    @in_loop
    async def test() -> None:
        environment = {"COMFYUI_URL": address, "PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        command = StdioServerParameters(
            command=str(comfyui_mcp / "node"), args=[str(comfyui_mcp / "comfyui-mcp")], env=environment, cwd=tmp_path
        )
        client: Any
        async with Client(stdio_client(command)) as client:

            async def call(tool: str, **arguments: Any) -> str:
                return str((await client.call_tool(tool, arguments)).content[0].text)

            async def enqueue(**inputs: object) -> str:
                graph = json.loads(workflow(tmp_path, **inputs).read_text())
                return await call("enqueue_workflow", action="enqueue", workflow=graph)

            async def until(tool: str, words: str, **arguments: Any) -> None:
                async with asyncio.timeout(120):
                    while words not in await call(tool, **arguments):
                        await asyncio.sleep(0.2)

            drawn = json.loads(await enqueue())["prompt_id"]
            await until("get_history", "text_to_image_00001_.png", action="list", prompt_id=drawn)
            assert "steps: got 0, expected an integer from 1 to 10000" in await enqueue(steps=0)
            long = json.loads(await enqueue(steps=10_000, seed=4))["prompt_id"]
            await until("queue", "running", action="status", prompt_id=long)
            await call("queue", action="cancel", prompt_id=long)
            await until("get_history", "interrupted", action="list", prompt_id=long)

    test()
