"""Our files and requests beside those of the official editor 1.27.10 (GPL: a yardstick, never shipped)."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.web.conftest import SOURCE, Editor
from tests.web.workflows import GROUP_NODES, TYPES, WORKFLOWS

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(find_spec("comfyui_frontend_package") is None, reason="the official editor is not installed"),
]

READY = "() => window.app?.graph && window.LiteGraph?.registered_node_types?.KSampler"
LOAD = "async file => { await window.app.loadGraphData(file) }"
REQUEST = "async () => (await window.app.graphToPrompt()).output"
FACTS = """() => {
    const facts = graph => ({
        nodes: graph._nodes.map(node => [node.id, node.type, node.mode, Math.round(node.pos[0]), Math.round(node.pos[1]),
            (node.widgets ?? []).filter(widget => widget.type !== 'button').map(widget => widget.value)])
            .sort((a, b) => String(a[0]) < String(b[0]) ? -1 : 1),
        links: [...graph.links.values()].map(link => [link.origin_id, link.origin_slot, link.target_id, link.target_slot])
            .sort((a, b) => String(a) < String(b) ? -1 : 1),
        groups: graph._groups.map(group => [group.title, [...group._bounding].map(Math.round)]),
        points: [...(graph.reroutes?.values() ?? [])].map(point => [point.id, point.parentId ?? null, [...point.pos]]),
    })
    return [facts(window.app.graph), ...[...(window.app.graph.subgraphs?.values() ?? [])].map(facts)]
}"""


@pytest.fixture(scope="module")
def official(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page with the official editor, which knows the node types of our fixtures."""
    found = find_spec("comfyui_frontend_package")
    assert found is not None and found.origin is not None
    base = tmp_path_factory.mktemp("official")
    command = [sys.executable, "main.py", "serve", "--cpu", "--port", "0", "--base-directory", str(base)]
    command += ["--front-end-root", str(Path(found.origin).parent / "static")]
    server = subprocess.Popen(command, cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    try:
        url = server.stdout.readline().decode().split()[-1]
        with urllib.request.urlopen(f"{url.rstrip('/')}/object_info") as answer:
            types = json.load(answer) | TYPES
        context = browser.new_context(viewport={"width": 1400, "height": 900}, locale="en-US")
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.route("**/object_info", lambda route: route.fulfill(json=types))
        page.goto(url)
        page.wait_for_function(READY)
        page.wait_for_timeout(2000)  # the first start's dialog
        yield page
        context.close()
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture
def ours(editor: Editor) -> Iterator[Editor]:
    """Our editor with the node types of our fixtures."""
    editor.page.route("**/object_info", lambda route: route.fulfill(json=TYPES))
    editor.open(editor.page.reload)
    yield editor
    editor.complaints[:] = [each for each in editor.complaints if "404" not in each]  # cat.png is not there


def opened(ours: Editor, name: str, file: object) -> None:
    """Open a file in our editor."""
    ours.drop(f"{name}.json", json.dumps(file, separators=(",", ":")).encode(), "application/json")
    ours.page.locator(".tab.active", has_text=name).wait_for()


def got(ours: Editor, command: str) -> Any:
    """What a command downloads."""
    with ours.page.expect_download() as download:
        ours.command(command)
    return json.loads(Path(download.value.path()).read_bytes())


def files() -> dict[str, Any]:
    """Every file, made anew."""
    return {name: build() for name, build in WORKFLOWS.items()} | {
        f"group_{name}": case["file"] for name, case in json.loads(GROUP_NODES.read_text()).items()
    }


def test_requests_are_equal(ours: Editor, official: Any) -> None:
    differ = {}
    for name, file in files().items():
        official.evaluate(LOAD, file)
        theirs = official.evaluate(REQUEST)
        opened(ours, name, file)
        mine = got(ours, "Download in the API format")
        if mine != theirs:
            differ[name] = {
                key: (mine.get(key), theirs.get(key)) for key in {*mine, *theirs} if mine.get(key) != theirs.get(key)
            }
    assert len(files()) >= 20
    assert not differ, json.dumps(differ)


def test_our_files_open_there_with_the_same_graph(ours: Editor, official: Any) -> None:
    """After edits here: a node renamed in place, another moved, saved; what is there is what was meant."""
    differ = {}
    for name, file in files().items():
        opened(ours, f"moved_{name}", file)
        page = ours.page
        page.locator("#canvas").focus()
        page.keyboard.press("Control+a")
        page.keyboard.press("Alt+ArrowDown")
        saved = got(ours, "Download the file")
        for node in file["nodes"]:
            node["pos"] = [node["pos"][0], node["pos"][1] + 10]
        official.evaluate(LOAD, file)
        meant = official.evaluate(FACTS)
        official.evaluate(LOAD, saved)
        there = official.evaluate(FACTS)
        if there != meant:
            differ[name] = (there, meant)
    assert not differ, json.dumps(differ)
