"""Programs as users: the Model Context Protocol on a real server, by the protocol's own client."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp.client.client import Client as Program
from mcp_types import Implementation

from server.fixes import fix
from server.security import Guard
from tests.server.loop import in_loop
from tests.server.support import Client, chain, deps_of, serving
from tests.server.test_security import picture

DRAW = [
    {"add": "Value", "name": "v", "inputs": {"value": 40}},
    {"add": "Steps", "name": "s", "inputs": {"value": ["v", "INT"], "seed": 2}},
    {"add": "Save", "name": "o", "inputs": {"value": ["s", 0], "prefix": "boat"}},
]


@asynccontextmanager
async def program(running: Client, name: str = "Draughtsman") -> AsyncIterator[Any]:
    """A program's session over HTTP."""
    async with Program(f"{running.url}/mcp", client_info=Implementation(name=name, version="1")) as client:
        yield client


async def told(client: Any, tool: str, **arguments: Any) -> Any:
    """What a tool tells, which has to go well."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content[0].text
    return json.loads(result.content[0].text)


async def refused(client: Any, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return str(result.content[0].text)


@in_loop
async def test_a_workflow_is_built_checked_run_and_looked_at(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as running, program(running) as client:
        found = await told(client, "search_nodes", query="save")
        assert found[0]["type"] == "Save"
        made = await told(client, "edit_workflow", name="boats", edits=DRAW[:2], create=True)
        assert (made["file"], made["valid"]) == ("boats.json", False)
        made = await told(
            client, "edit_workflow", name="boats", edits=[{**DRAW[2], "inputs": {"value": [made["ids"]["s"], 0]}}]
        )
        assert (made["valid"], made["problems"]) == (True, [])
        result = await client.call_tool("run_workflow", {"workflow": "boats"})
        assert [each.type for each in result.content] == ["text", "image"]
        assert result.content[1].mime_type == "image/jpeg"
        ended = json.loads(result.content[0].text)
        assert (ended["status"], ended["files"][0]["name"].split("_")[1]) == ("completed", "42")
        explained = await told(client, "explain_job", job=ended["job"])
        assert {node["did"] for node in explained} == {"ran"}
        (job,) = await told(client, "list_jobs")
        assert (job["about"]["program"], job["about"]["workflow_name"]) == ("Draughtsman", "boats")
        assert (await told(client, "list_workflows"))["files"] == ["boats.json"]
        assert (await told(client, "read_workflow", name="boats"))["1"]["inputs"] == {"value": 40}


@in_loop
async def test_a_sweep_waits_and_can_be_cancelled(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as running, program(running) as client:
        ran = await client.call_tool("run_workflow", {"workflow": chain(), "sweep_values": {"v.value": [1, 2, 3]}})
        assert len(json.loads(ran.content[0].text)["files"]) == 3 and len(ran.content) == 4
        slow = chain(steps=1000, seconds=0.01)
        begun = await told(client, "run_workflow", workflow=slow, wait_seconds=0.2)
        assert begun["status"] in ("pending", "in_progress")
        assert await told(client, "cancel_job", job=begun["job"]) == {"cancelled": True}
        assert (await told(client, "wait_for_job", job=begun["job"]))["status"] == "cancelled"


@in_loop
async def test_an_open_editor_is_told_who_changed_what(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as running, running.listen("editor") as ear, program(running) as client:
        await told(client, "edit_workflow", name="boats", edits=DRAW, create=True)
        heard = await ear.until(lambda type_, _: type_ == "workflow_edited")
        assert heard[-1][1].items() >= {"file": "workflows/boats.json", "by": "Draughtsman"}.items()
        (saved,) = await running.get("/userdata?dir=workflows&full_info=true")
        assert saved["modified"] == heard[-1][1]["modified"]


@in_loop
async def test_what_cannot_be_done_says_why_and_what_would(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as running, program(running) as client:
        assert "there is no workflow 'x'" in await refused(client, "read_workflow", name="x")
        assert "did you mean Save" in await refused(client, "node_help", node_type="Sav")
        assert "no such file" in await refused(client, "edit_workflow", name="x", edits=DRAW)
        said = await refused(client, "edit_workflow", name="x", edits=[{"add": "Nope"}], create=True)
        assert "edit 1: there is no node type 'Nope'" in said
        assert not (tmp_path / "user/default/workflows/x.json").exists(), "nothing of a call that failed is kept"
        assert "values: 'v'" in await refused(client, "run_workflow", workflow=chain(), values={"v": 1})
        broken = chain()
        del broken["s"]["inputs"]["value"]
        said = await refused(client, "run_workflow", workflow=broken)
        assert "node s (Steps), input value" in said and "['v', 0] of Value" in said
        assert "base64" in await refused(client, "upload_picture", name="a.png", content_base64="?")
        for name in ("../../../escaped", "a/../../../../b"):
            await refused(client, "edit_workflow", name=name, edits=[], create=True)
        assert not list(tmp_path.rglob("escaped*"))


@in_loop
async def test_a_picture_of_several_megabytes_can_be_sent(tmp_path: Path) -> None:
    """The package's own server takes messages of up to 4 MiB."""
    content = picture() + bytes(6 * 2**20)
    async with serving(deps_of(tmp_path)) as running, program(running) as client:
        sent = await told(client, "upload_picture", name="a.png", content_base64=b64encode(content).decode())
    assert (tmp_path / "input" / sent).read_bytes() == content


@in_loop
async def test_a_token_is_asked_for_here_too(tmp_path: Path) -> None:
    deps = deps_of(tmp_path, guard=Guard(token="open sesame"))
    async with serving(deps) as running:
        status, answer = await running.post("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "ping"})
        assert (status, answer["error"]["type"]) == (401, "token_required")
        client: Any
        async with Program(f"{running.url}/mcp?token=open%20sesame") as client:
            assert (await told(client, "search_nodes", query="save"))[0]["type"] == "Save"


@in_loop
async def test_what_is_no_message_is_refused_in_words(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as running:
        headers = {"Accept": "application/json, text/event-stream", "Content-Type": "text/plain"}
        async with running.session.post(f"{running.url}/mcp", data=b"ping", headers=headers) as answer:
            assert (answer.status, answer.content_type) == (400, "text/plain") and await answer.text()


def test_fixes_name_what_is_there_first() -> None:
    types = {"A": {"output": ["MODEL"]}, "B": {"input": {"required": {"model": ["MODEL", {}]}}, "output": ["MODEL"]}}
    open_input = {"code": "required_input_missing", "node_id": "2", "input_name": "model"}
    alone = {"2": {"class_type": "B", "inputs": {}}}
    assert fix(open_input, alone, types) == "add a node that gives a MODEL: A or B"
    assert fix(open_input, {"1": {"class_type": "A"}, **alone}, types) == "a MODEL comes from ['1', 0] of A"
    assert fix({"code": "value_not_in_list"}, alone, types) == ""
