"""Packs behind the server: their addresses, scripts and messages, and a pack that changes while the server runs."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
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
    backend = LocalBackend(lambda: main.open_engine(options, folders), folders)
    return Deps(folders, base / "darkroom.db", backend, locales=main.LOCALES)


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


ANSWERING = """
from functools import partial

from aiohttp import web
from server import PromptServer

async def hear(what, request):
    return web.json_response({"said": "WORD", "what": what})

PromptServer.instance.routes.get("/mine/one")(partial(hear, 1))
PromptServer.instance.app.add_routes([web.get("/mine/two", partial(hear, 2))])
PromptServer.instance.app.router.add_get("/mine/three", partial(hear, 3))
NODE_CLASS_MAPPINGS = {}
"""


@in_loop
async def test_a_pack_that_changes_answers_anew_and_one_that_goes_answers_nothing(tmp_path: Path) -> None:
    file, front = tmp_path / "custom_nodes" / "answering.py", tmp_path / "front"
    front.mkdir()
    (front / "index.html").write_text("<!doctype html>")
    deps = replace(deps_with_packs(tmp_path), front_end=front)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(ANSWERING.replace("WORD", "a"))
    async with serving(deps) as client:
        for what, path in enumerate(("one", "two", "three"), 1):
            assert await client.get(f"/mine/{path}") == {"said": "a", "what": what}
        async with client.session.get(f"{client.url}/index.html") as answer:
            assert await answer.text() == "<!doctype html>", "what the editor has is the editor's"
        file.write_text(ANSWERING.replace("WORD", "b"))
        while await client.get("/mine/one") != {"said": "b", "what": 1}:  # it never is without an answer
            await asyncio.sleep(0.01)
        file.unlink()

        async def status() -> int:
            async with client.session.get(f"{client.url}/mine/one") as answer:
                return answer.status

        while await status() != 404:
            await asyncio.sleep(0.05)


REPLACING = """
from comfy_api.latest import ComfyAPI, ComfyExtension, io

class Twice(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema("NowTwice", inputs=[io.String.Input("words"), io.Int.Input("times")], outputs=[io.Int.Output(), io.String.Output()])

    @classmethod
    def execute(cls, words, times):
        return io.NodeOutput(times, words * times)

class Extension(ComfyExtension):
    async def on_load(self):
        await ComfyAPI().node_replacement.register(io.NodeReplace(
            new_node_id="NowTwice", old_node_id="OnceTwice", old_widget_ids=["text"],
            input_mapping=[{"new_id": "words", "old_id": "text"}, {"new_id": "times", "set_value": 2}], output_mapping=[{"new_idx": 1, "old_idx": 0}],
        ))

    async def get_node_list(self):
        return [Twice]

async def comfy_entrypoint():
    return Extension()
"""


@in_loop
async def test_a_pack_says_what_stands_in_for_a_node_that_is_gone(tmp_path: Path) -> None:
    deps = deps_with_packs(tmp_path)
    file = tmp_path / "custom_nodes" / "replacing.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(REPLACING)
    old = {"t": {"class_type": "OnceTwice", "inputs": {"text": "ho"}}}
    old["p"] = {"class_type": "PreviewAny", "inputs": {"source": ["t", 0]}}
    async with serving(deps) as client:
        assert await shown(client, "p", old) == {"text": ["hoho"]}
        [told] = (await client.get("/node_replacements"))["OnceTwice"]
        assert (told["new_node_id"], told["old_widget_ids"]) == ("NowTwice", ["text"])
        file.unlink()
        while "OnceTwice" in await client.get("/node_replacements"):
            await asyncio.sleep(0.05)


AMENDING = """
from server import PromptServer

def shout(request):
    for node in request["prompt"].values():
        if node["class_type"] == "PrimitiveString":
            node["inputs"]["value"] = node["inputs"]["value"].upper() + MARK
    return request

def failing(request):
    request["prompt"].clear()
    raise KeyError("gone")

PromptServer.instance.add_on_prompt_handler(shout)
PromptServer.instance.add_on_prompt_handler(failing)
PromptServer.instance.add_on_prompt_handler(lambda request: None)
NODE_CLASS_MAPPINGS = {}
"""


@in_loop
async def test_a_pack_may_change_what_is_submitted_and_one_that_fails_changes_nothing(tmp_path: Path) -> None:
    say = {"s": {"class_type": "PrimitiveString", "inputs": {"value": "ho"}}}
    say["p"] = {"class_type": "PreviewAny", "inputs": {"source": ["s", 0]}}
    deps = deps_with_packs(tmp_path, "plain")
    file = tmp_path / "custom_nodes" / "amending.py"
    file.write_text(AMENDING.replace("MARK", "'!'"))
    async with serving(deps) as client:
        assert await shown(client, "p", say) == {"text": ["HO!"]}
        status, job = await client.post("/api/v2/jobs", {"workflow": say})
        assert status == 201
        assert (await client.get(f"/api/v2/jobs/{job['id']}/workflow"))["workflow"]["s"]["inputs"]["value"] == "HO!"
        file.write_text(AMENDING.replace("MARK", "'?'"))
        while await shown(client, "p", say) != {"text": ["HO?"]}:
            await asyncio.sleep(0.05)
        file.unlink()
        while await shown(client, "p", say) != {"text": ["ho"]}:
            await asyncio.sleep(0.05)


@in_loop
async def test_a_server_that_others_can_reach_loads_no_pack_that_nobody_has_confirmed(tmp_path: Path) -> None:
    flags = ("--listen", "0.0.0.0")
    async with serving(deps_with_packs(tmp_path, "plain", flags=flags)) as client:
        assert "PlainShout" not in await client.get("/object_info")
        assert 'enabled = "ask"' in (tmp_path / "packs.toml").read_text()


@in_loop
async def test_a_pack_has_examples_subgraphs_translations_and_pages_for_clients(tmp_path: Path) -> None:
    async with serving(deps_with_packs(tmp_path, "my-dashed.pack")) as client:
        assert await client.get("/api/workflow_templates") == {"my-dashed.pack": ["Halve it"]}
        assert (await client.get("/api/workflow_templates/my-dashed.pack/Halve it.json"))["version"] == 0.4
        for file, kind in (("Halve it.jpg", "image/png"), ("Halve it.png", "image/png")):
            async with client.session.get(f"{client.url}/api/workflow_templates/my-dashed.pack/{file}") as answer:
                assert answer.status == 200 and answer.content_type == kind
        for absent in ("gone.json", "%2e%2e", "..%2f__init__.json", "Halve it.py"):
            async with client.session.get(f"{client.url}/api/workflow_templates/my-dashed.pack/{absent}") as answer:
                assert answer.status == 404, absent
        assert await client.get("/api/global_subgraphs") == {
            "my-dashed.pack.Twice": {"name": "Twice", "info": {"node_pack": "my-dashed.pack"}}
        }
        texts = await client.get("/api/i18n")
        assert texts["zh"]["nodeDefs"]["DashedHalve"]["display_name"] == "减半"
        assert texts["zh"]["nodeDefs"]["KSampler"]["display_name"] and texts["zh"]["dashed"] == {"hello": "你好"}
        assert texts["fr"] == {"nodeDefs": {"DashedHalve": {"display_name": "Moitié"}}}
        pages = (("DashedHalve.md", "# Half of it"), ("DashedHalve/zh.md", "# 一半"), ("DashedHalve/fr.md", "# Half"))
        for page, text in pages:
            async with client.session.get(f"{client.url}/docs/{page}") as answer:
                assert (await answer.text()).startswith(text)


@in_loop
async def test_the_owner_decides_on_packs_from_a_browser_and_sees_what_is_wrong(tmp_path: Path) -> None:
    deps = deps_with_packs(tmp_path, "plain", flags=("--listen", "0.0.0.0"))
    broken = tmp_path / "custom_nodes" / "broken"
    broken.mkdir()
    (broken / "__init__.py").write_text("import a_package_that_nobody_has")
    (broken / "requirements.txt").write_text("a-package-that-nobody-has>=2")
    async with serving(deps) as client, client.listen("me") as ear:
        packs = {it["name"]: it for it in await client.get("/api/packs")}
        assert packs["plain"] == {
            "name": "plain",
            "standing": "unknown",
            "isolated": False,
            "needs": [],
            "nodes": 0,
            "problem": "is not loaded: not seen before",
        }

        async def decided(name: str, decision: object) -> int:
            async with client.session.post(f"{client.url}/api/packs/{name}", json={"decision": decision}) as answer:
                return answer.status

        assert await decided("gone", "allow") == 404
        assert [await decided("plain", wrong) for wrong in ("maybe", 3, None)] == [400] * 3
        assert await decided("plain", "allow") == await decided("broken", "allow") == 200
        await ear.until(lambda type_, data: type_ == "node_types_changed")
        while "PlainShout" not in await client.get("/object_info"):
            await asyncio.sleep(0.05)
        packs = {it["name"]: it for it in await client.get("/api/packs")}
        assert packs["plain"]["standing"] == "allowed" and packs["plain"]["nodes"] > 3 and not packs["plain"]["problem"]
        assert "needs a package that is not installed" in packs["broken"]["problem"]
        assert packs["broken"]["needs"] == ["a-package-that-nobody-has>=2 is not installed"]
        assert await decided("plain", "disable") == 200
        while "PlainShout" in await client.get("/object_info"):
            await asyncio.sleep(0.05)
