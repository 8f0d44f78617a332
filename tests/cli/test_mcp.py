"""`main.py mcp`: a program builds an inpainting workflow from nothing, over standard input and output."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.server.loop import in_loop
from tests.tiny_checkpoint import write_tiny_checkpoint

SOURCE = Path(__file__).parents[2]
SIDE = 64


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server of all node types with a checkpoint of tiny networks."""
    write_tiny_checkpoint(tmp_path / "models/checkpoints/tiny.safetensors")
    command = [sys.executable, "main.py", "serve", "--cpu", "--port", "0", "--base-directory", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=SOURCE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


def picture() -> str:
    """A grey square whose middle is a hole, in base64."""
    shown = PIL.Image.new("RGBA", (SIDE, SIDE), (128, 128, 128, 255))
    shown.paste((0, 0, 0, 0), (16, 16, 48, 48))
    buffer = io.BytesIO()
    shown.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@in_loop
async def test_a_program_builds_an_inpainting_workflow_from_nothing(address: str) -> None:
    calls = 0
    parameters = StdioServerParameters(command=sys.executable, args=["main.py", "mcp", "--server", address], cwd=SOURCE)
    client: Any
    async with Client(stdio_client(parameters)) as client:

        async def call(tool: str, **arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            result = await client.call_tool(tool, arguments)
            assert not result.is_error, result.content[0].text
            return json.loads(result.content[0].text)

        found = [each["type"] for each in await call("search_nodes", query="inpaint")]
        assert {"VAEEncodeForInpaint", "SetLatentNoiseMask"} <= {*found}
        assert "tiny.safetensors" in await call("list_models", folder="checkpoints")
        stored = await call("upload_picture", name="square.png", content_base64=picture())
        edits: list[dict[str, Any]] = [
            {"add": "CheckpointLoaderSimple", "name": "model", "inputs": {"ckpt_name": "tiny.safetensors"}},
            {"add": "LoadImage", "name": "picture", "inputs": {"image": stored}},
            {"add": "CLIPTextEncode", "name": "good", "inputs": {"text": "a cat", "clip": ["model", "CLIP"]}},
            {"add": "CLIPTextEncode", "name": "bad", "inputs": {"clip": ["model", "CLIP"]}},
            {"add": "VAEEncode", "name": "latent", "inputs": {"pixels": ["picture", "IMAGE"], "vae": ["model", "VAE"]}},
            {"add": "SetLatentNoiseMask", "name": "hole", "inputs": {"samples": ["latent", 0], "mask": ["picture", "MASK"]}},
            {"add": "KSampler", "name": "draw", "inputs": {"model": ["model", 0], "positive": ["good", 0], "steps": 2}},
            {"set": "draw", "inputs": {"negative": ["bad", 0], "latent_image": ["hole", 0]}},
            {"add": "VAEDecode", "name": "decode", "inputs": {"samples": ["draw", 0], "vae": ["model", "VAE"]}},
        ]  # fmt: skip
        made = await call("edit_workflow", name="inpaint", edits=edits, create=True)
        assert not made["valid"] and "SaveImage" in made["problems"][0]
        save = {"add": "SaveImage", "inputs": {"images": [made["ids"]["decode"], 0]}}
        made = await call("edit_workflow", name="inpaint", edits=[save])
        assert made["valid"], made["problems"]
        result = await client.call_tool("run_workflow", {"workflow": "inpaint", "wait_seconds": 300})
        calls += 1
        assert json.loads(result.content[0].text)["status"] == "completed"
        with PIL.Image.open(io.BytesIO(base64.b64decode(result.content[1].data))) as drawn:
            assert drawn.size == (SIDE, SIDE)
        example = await client.read_resource("darkroom://examples/few_steps")
        assert json.loads(example.contents[0].text)
    assert calls < 12
