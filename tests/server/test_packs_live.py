"""Packs behind the server: their addresses, scripts and messages, and a pack that changes while the server runs."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import main
from graph.files import Folders
from server.backend import LocalBackend
from server.deps import Deps
from server.options import understand
from tests.server.loop import in_loop
from tests.server.support import Client, serving

WRITTEN = Path(__file__).parents[1] / "data" / "packs"


def deps_with_packs(base: Path, *names: str, flags: tuple[str, ...] = ("--trust-packs",)) -> Deps:
    """A server over the real engine, with some of the written packs."""
    folders = Folders.standard(base)
    for name in names:
        shutil.copytree(WRITTEN / name, base / "custom_nodes" / name)
    options = understand(["serve", "--cpu", "--base-directory", str(base), "--ram-budget", "1G", *flags])
    return Deps(folders, base / "darkroom.db", LocalBackend(lambda: main.open_engine(options, folders), folders))


async def shown(client: Client, node: str, document: dict[str, Any]) -> Any:
    """What a node shows once a workflow has run."""
    async with client.listen("me") as ear:
        prompt_id = await client.queue(document, client_id="me")
        await ear.until_done(prompt_id)
    return (await client.get(f"/history/{prompt_id}"))[prompt_id]["outputs"][node]


@in_loop
async def test_a_pack_has_its_addresses_scripts_and_messages(tmp_path: Path) -> None:
    async with serving(deps_with_packs(tmp_path, "my-dashed.pack")) as client, client.listen("me") as ear:
        assert "DashedSaveBoth" in await client.get("/object_info")
        for path in ("/dashed/hello", "/api/dashed/hello"):
            assert await client.get(path) == {"hello": "world"}
        assert await client.get("/extensions") == ["/extensions/my-dashed.pack/ext.js"]
        for path, status in (("ext.js", 200), ("gone.js", 404), ("%2e%2e/__init__.py", 404), ("../__init__.py", 404)):
            async with client.session.get(f"{client.url}/extensions/my-dashed.pack/{path}") as answer:
                assert answer.status == status
        async with client.session.post(f"{client.url}/dashed/hello") as answer:
            assert answer.status in (404, 405)
        document = {
            "e": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
            "s": {"class_type": "DashedSaveBoth", "inputs": {"images": ["e", 0]}},
        }
        prompt_id = await client.queue(document, client_id="me")
        await ear.until_done(prompt_id)
        assert ("dashed.saved", {"count": 1}) in ear.heard


@in_loop
async def test_a_pack_changes_comes_and_goes_without_a_restart(tmp_path: Path) -> None:
    say = {"s": {"class_type": "PlainShout", "inputs": {"text": "ho", "times": 1, "how": "loud"}}}
    say["p"] = {"class_type": "PreviewAny", "inputs": {"source": ["s", 0]}}
    async with serving(deps_with_packs(tmp_path, "plain")) as client, client.listen("other") as ear:
        assert await shown(client, "p", say) == {"text": ["HO"]}
        words = tmp_path / "custom_nodes" / "plain" / "words.py"
        words.write_text(words.read_text().replace("upper()", "title()"))
        await ear.until(lambda type_, data: type_ == "node_types_changed")
        assert (await shown(client, "p", say))["text"][0].startswith("Ho")
        ear.heard.clear()
        shutil.copytree(WRITTEN / "third", tmp_path / "custom_nodes" / "third")
        await ear.until(lambda type_, data: type_ == "node_types_changed")
        while "ThirdMix" not in (info := await client.get("/object_info")):  # its files came one after the other
            await asyncio.sleep(0.05)
        assert "PlainShout" in info
        ear.heard.clear()
        shutil.rmtree(words.parent)
        while "PlainShout" in await client.get("/object_info"):
            await asyncio.sleep(0.05)


@in_loop
async def test_a_server_that_others_can_reach_loads_no_pack_that_nobody_has_confirmed(tmp_path: Path) -> None:
    flags = ("--listen", "0.0.0.0")
    async with serving(deps_with_packs(tmp_path, "plain", flags=flags)) as client:
        assert "PlainShout" not in await client.get("/object_info")
        assert 'enabled = "ask"' in (tmp_path / "packs.toml").read_text()
