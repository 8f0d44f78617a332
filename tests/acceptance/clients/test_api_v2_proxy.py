"""The same situations asked of our Comfy API v2 and of PyPI's comfy-api-proxy (MIT) in front of the same server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp
import pytest
from blake3 import blake3

from tests.server.crashes import start
from tests.server.support import chain
from tests.server.test_security import picture

pytestmark = pytest.mark.acceptance

JOBS, ASSETS = "/api/v2/jobs", "/api/v2/assets"
CANNOT: Mapping[str, str] = MappingProxyType(
    {
        "a range beyond": "it fetches the file itself, and takes 416 for a failure of the server behind it",
        "content is left": "it keeps no count of who refers to a file: deleting one asset takes the others' content",
    }
)
"""Situations in which the proxy answers otherwise, and why."""


@contextlib.asynccontextmanager
async def proxied(url: str, base: Path) -> AsyncIterator[str]:
    """The proxy, for the length of a `with`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("comfy-api-proxy")), "run", "--comfyui", url, "--port", str(port)]
    command += ["--comfyui-base-dir", str(base)]
    process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(30):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{address}{JOBS}/none"):
                        break
                await asyncio.sleep(0.1)
        yield address
    finally:
        process.terminate()
        await process.wait()


class Asking:
    """What one server answers, as far as it may be compared: statuses, codes and members, never ids or times."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session
        self.answers: dict[str, Any] = {}

    async def ask(self, name: str, method: str, path: str, **named: Any) -> Any:
        """Remember and return an answer."""
        async with self._session.request(method, path if "://" in path else self.url + path, **named) as answer:
            content = await answer.read()
            body = json.loads(content) if answer.content_type == "application/json" and content else None
            code = (
                body["error"]["code"] if isinstance(body, dict) and "error" in body and answer.status >= 400 else None
            )
            self.answers[name] = (answer.status, code)
            return body

    async def ended(self, id_: str) -> Any:
        async with asyncio.timeout(30):
            while True:
                async with self._session.get(f"{self.url}{JOBS}/{id_}") as answer:
                    job = await answer.json()
                # the proxy reads history and queue one after the other, and may find a job that just ended in neither
                if job["status"] not in ("queued", "running", "canceling", *(() if job["outputs"] else ("succeeded",))):
                    return job
                await asyncio.sleep(0.02)

    async def submit(self, name: str, workflow: Any, headers: Mapping[str, str] | None = None, **more: Any) -> Any:
        return await self.ask(name, "POST", JOBS, json={"workflow": workflow, **more}, headers=headers)

    async def store(self, name: str, content: bytes, file_path: str, headers: Any = None, **fields: str) -> Any:
        form = aiohttp.FormData()
        for key, value in {"content_type": "image/png", "file_path": file_path, **fields}.items():
            form.add_field(key, value)
        form.add_field("file", content, filename=file_path)
        return await self.ask(name, "POST", ASSETS, data=form, headers=headers)


def asset(id_: str) -> dict[str, Any]:
    return {"__type": "core/ASSET", "info": {"id": id_}}


def loading(name: object) -> dict[str, Any]:
    load = {"class_type": "Load", "inputs": {"name": name}}
    return {"l": load, "s": {"class_type": "Sink", "inputs": {"part": ["l", 0]}}, **chain()}


async def situations(asking: Asking, seed: int) -> None:
    """Forty of them; `seed` keeps the two servers' contents apart."""
    key = f"00000000-0000-4000-8000-{seed:012}"
    hashed = f"blake3:{blake3(b'nowhere').hexdigest()}"
    job = await asking.submit("submit", chain(seed=seed), {"Idempotency-Key": key})
    done = await asking.ended(job["id"])
    asking.answers["done"] = (done["status"], done["error"], len(done["outputs"]), done["outputs"][0]["type"])
    await asking.ask("job", "GET", f"{JOBS}/{job['id']}")
    await asking.ask("job by its link", "GET", job["urls"]["self"])
    await asking.ask("cancel an ended job", "POST", job["urls"]["cancel"])
    await asking.ask("events of an ended job", "GET", job["urls"]["events"])
    await asking.ask("workflow", "GET", f"{JOBS}/{job['id']}/workflow")
    await asking.submit("a key again", chain(seed=seed), {"Idempotency-Key": key})
    output = done["outputs"][0]["id"]
    await asking.ask("asset of an output", "GET", f"{ASSETS}/{output}")
    await asking.ask("content of an output", "GET", f"{ASSETS}/{output}/content")
    await asking.ask("a range", "GET", f"{ASSETS}/{output}/content", headers={"Range": "bytes=0-3"})
    await asking.ask("a range beyond", "GET", f"{ASSETS}/{output}/content", headers={"Range": "bytes=999999-"})
    for name, path in (
        ("job", f"{JOBS}/none"),
        ("events", f"{JOBS}/none/events"),
        ("workflow", f"{JOBS}/none/workflow"),
    ):
        await asking.ask(f"unknown {name}", "GET", path)
    await asking.ask("cancel an unknown job", "POST", f"{JOBS}/none/cancel")
    for name in ("", "/content"):
        await asking.ask(f"unknown asset{name}", "GET", f"{ASSETS}/none{name}")
    await asking.ask("delete an unknown asset", "DELETE", f"{ASSETS}/none")
    broken = chain()
    broken["s"]["inputs"]["steps"] = "many"
    await asking.submit("bad value", broken)
    await asking.submit("unknown type", {"1": {"class_type": "None", "inputs": {}}})
    await asking.submit("file of the editor", {"nodes": [], "links": [], "last_node_id": 0, "version": 0.4})
    await asking.submit("unknown asset in a workflow", loading(asset("00000000-0000-4000-8000-000000000000")))
    await asking.submit("malformed asset in a workflow", loading({"__type": "core/ASSET", "info": {}}))
    await asking.submit("reserved webhook_url", chain(), webhook_url="http://x")
    await asking.submit("unknown extra_data", chain(), extra_data={"inputs": 1})
    await asking.submit("partner key", chain(seed=seed), extra_data={"api_key_comfy_org": "k"})
    await asking.ask("no JSON", "POST", JOBS, data=b"{")
    await asking.ask("no workflow", "POST", JOBS, json={})
    failing = chain()
    failing["s"] = {"class_type": "Fail", "inputs": {"value": ["a0", 0], "how": "raise"}}
    failed = await asking.ended((await asking.submit("failing", failing))["id"])
    asking.answers["failed"] = (failed["status"], failed["error"]["node_id"], failed["error"]["class_type"])
    long = await asking.submit("long", chain(steps=900, seconds=0.01, seed=seed + 1))
    await asking.ask("cancel", "POST", f"{JOBS}/{long['id']}/cancel")
    asking.answers["canceled"] = (await asking.ended(long["id"]))["status"]
    content = picture(size=(seed % 50 + 2, 3))
    known = f"blake3:{blake3(content).hexdigest()}"
    await asking.ask("unknown content", "HEAD", f"{ASSETS}/by-hash/{hashed}")
    await asking.ask("mint of unknown content", "POST", f"{ASSETS}/from-hash", json={"hash": hashed})
    made = await asking.store("upload", content, f"p{seed}.png", expected_hash=known)
    asking.answers["uploaded"] = (made["hash"] == known, made["created_new"], made["size_bytes"] == len(content))
    await asking.ask("known content", "HEAD", f"{ASSETS}/by-hash/{known}")
    again = await asking.store("upload again", content, f"p{seed}.png")
    asking.answers["again"] = again["created_new"]
    minted = await asking.ask("mint", "POST", f"{ASSETS}/from-hash", json={"hash": known, "file_path": f"q{seed}.png"})
    await asking.store("other content than expected", b"x", f"r{seed}.png", expected_hash=hashed)
    await asking.store("upload beyond its folder", b"x", "../x.png")
    await asking.ask("delete", "DELETE", f"{ASSETS}/{minted['id']}")
    await asking.ask("delete again", "DELETE", f"{ASSETS}/{minted['id']}")
    await asking.ask("content is left", "GET", f"{ASSETS}/{made['id']}/content")


def test_the_proxy_answers_as_we_do(tmp_path: Path) -> None:
    async def body() -> None:
        process, url = await start(tmp_path / "base")
        async with proxied(url, tmp_path / "base") as address, aiohttp.ClientSession() as session:
            ours, theirs = Asking(url, session), Asking(address, session)
            await situations(ours, 1)
            await situations(theirs, 2)
        differ = {
            name: (answer, theirs.answers.get(name))
            for name, answer in ours.answers.items()
            if answer != theirs.answers.get(name)
        }
        for name, pair in differ.items():
            print(f"{name}: ours {pair[0]}, the proxy's {pair[1]}")
        assert len(ours.answers) >= 40 and set(differ) == set(CANNOT)
        process.terminate()
        assert await process.wait() == 0

    asyncio.run(body())
