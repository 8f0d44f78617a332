"""The two editors that are measured: this repository's, and the official one where that is installed."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

SOURCE = Path(__file__).resolve().parents[1]
EXAMPLE = SOURCE / "web" / "src" / "examples" / "text_to_image.json"
DIST = SOURCE / "web" / "dist"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--enable-precise-memory-info"]
TIMEOUT_MS = 120_000


def missing() -> str:
    """Why nothing can be measured, if so."""
    if shutil.which("chromium") is None:
        return "Chromium is not installed (apt-get install chromium)"
    if find_spec("playwright") is None:
        return "playwright is not installed (pip install playwright)"
    return "" if (DIST / "index.html").is_file() else "web/dist is not built"


def official() -> Path | None:
    """The files of the official editor, where it is installed."""
    found = find_spec("comfyui_frontend_package")
    return Path(found.origin).parent / "static" if found and found.origin else None


@contextmanager
def window(base: str, front_end: Path) -> Iterator[tuple[Any, str]]:
    """A page of a browser of its own, and the address of a server that gives it one of the editors."""
    with serving(base, front_end) as url, _chromium() as browser:
        context = browser.new_context(viewport={"width": 1600, "height": 900}, locale="en-US")
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        yield page, url


@contextmanager
def _chromium() -> Iterator[Any]:
    """A headless browser."""
    with importlib.import_module("playwright.sync_api").sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def serving(base: str, front_end: Path) -> Iterator[str]:
    """A server with the real nodes that serves one of the two editors."""
    command = [sys.executable, "main.py", "serve", "--cpu", "--port", "0", "--base-directory", base]
    command += ["--front-end-root", str(front_end)]
    server = subprocess.Popen(command, cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().decode().split()[-1]
    finally:
        server.terminate()
        server.wait(10)


def heap(page: Any) -> float:
    """What JavaScript holds after a collection, in MB."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    return float(metrics["JSHeapUsedSize"]) / 1e6


def graph(nodes: int) -> dict[str, Any]:
    """Copies of the example workflow, side by side: about so many nodes, each with its real fields."""
    example = json.loads(EXAMPLE.read_text())
    copies = max(1, round(nodes / len(example["nodes"])))
    columns = max(1, round((copies / 3) ** 0.5))
    made: dict[str, Any] = example | {"nodes": [], "links": []}
    for copy in range(copies):
        by, x, y = copy * 100, (copy % columns) * 1300, (copy // columns) * 620
        for node in json.loads(json.dumps(example["nodes"])):
            node["id"] += by
            node["pos"] = [node["pos"][0] + x, node["pos"][1] + y]
            for port in node.get("inputs", []):
                port["link"] = None if port["link"] is None else port["link"] + by
            for port in node.get("outputs", []):
                port["links"] = [link + by for link in port["links"] or []]
            made["nodes"].append(node)
        made["links"] += [[link[0] + by, link[1] + by, link[2], link[3] + by, *link[4:]] for link in example["links"]]
    return made | {"last_node_id": copies * 100, "last_link_id": copies * 100}


class Side(Protocol):
    """One of the two editors."""

    page: Any

    def open(self, file: dict[str, Any]) -> float:
        """Open a workflow; milliseconds until it is drawn."""

    def look(self, whole: bool) -> None:
        """Show everything, or the middle at 100 %."""

    def grip(self) -> tuple[float, float]:
        """A place on the page at which a node can be taken."""

    def box(self) -> Any:
        """A prompt box on the page."""


class Ours:
    """The editor of this repository."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        page.goto(url)
        page.locator(".card").nth(6).wait_for()

    def canvas(self) -> Any:
        """The graph."""
        return self.page.locator("#canvas")

    def run(self) -> None:
        """Queue the open workflow."""
        self.canvas().focus()
        with self.page.expect_response("**/prompt"):
            self.page.keyboard.press("Control+Enter")

    def stop(self) -> None:
        """Stop what runs, and forget what waits."""
        self.page.keyboard.press("Control+Alt+Enter")

    def open(self, file: dict[str, Any]) -> float:
        script = """async text => {
            const was = document.querySelectorAll('.tab').length
            const carried = new DataTransfer()
            carried.items.add(new File([text], 'bench.json', { type: 'application/json' }))
            const begun = performance.now()
            document.querySelector('.canvas').dispatchEvent(new DragEvent('drop', { bubbles: true, dataTransfer: carried }))
            const frame = () => new Promise((done, give_up) => performance.now() - begun > 120000
                ? give_up(new Error('nothing is drawn after two minutes')) : requestAnimationFrame(done))
            while (document.querySelectorAll('.tab').length === was) await frame()
            while (!document.querySelector('.react-flow__node [data-node], .react-flow__node .far')) await frame()
            await frame()
            await frame()
            return performance.now() - begun
        }"""
        return float(self.page.evaluate(script, json.dumps(file)))

    def look(self, whole: bool) -> None:
        self.canvas().focus()
        self.page.keyboard.press("." if whole else "Control+0")
        self.page.wait_for_timeout(500)

    def grip(self) -> tuple[float, float]:
        script = """() => {
            const box = document.querySelector('.canvas').getBoundingClientRect()
            const middle = [box.left + box.width / 2, box.top + box.height / 2]
            const all = [...document.querySelectorAll('.card-head, .far')].map(part => part.getBoundingClientRect())
                .map(part => [part.left + part.width / 2, part.top + part.height / 2])
            const far = at => Math.hypot(at[0] - middle[0], at[1] - middle[1])
            return all.sort((a, b) => far(a) - far(b))[0]
        }"""
        x, y = self.page.evaluate(script)
        return x, y

    def box(self) -> Any:
        self.page.keyboard.press("Control+f")
        self.page.locator(".palette").wait_for()
        self.page.keyboard.type("CLIPTextEncode")
        self.page.keyboard.press("Enter")
        self.page.wait_for_timeout(600)
        return self.page.locator(".react-flow__node.selected textarea")


class Theirs:
    """The official editor."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        page.goto(url)
        page.wait_for_function("() => window.app?.graph && window.LiteGraph?.registered_node_types?.KSampler")
        page.wait_for_timeout(2000)
        page.evaluate("() => document.querySelector('.p-dialog-close-button')?.click()")

    def open(self, file: dict[str, Any]) -> float:
        script = """async file => {
            const begun = performance.now()
            await window.app.loadGraphData(file)
            await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))
            return performance.now() - begun
        }"""
        return float(self.page.evaluate(script, file))

    def look(self, whole: bool) -> None:
        script = """whole => {
            const { canvas, graph } = window.app
            const box = canvas.canvas.getBoundingClientRect()
            const ends = [0, 1].map(side => [Math.min(...graph._nodes.map(node => node.pos[side])),
                Math.max(...graph._nodes.map(node => node.pos[side] + node.size[side]))])
            const fits = Math.min(box.width / (ends[0][1] - ends[0][0]), box.height / (ends[1][1] - ends[1][0])) * 0.95
            const scale = whole ? Math.min(1, fits) : 1
            canvas.ds.scale = scale
            canvas.ds.offset = [box.width / scale / 2 - (ends[0][0] + ends[0][1]) / 2,
                box.height / scale / 2 - (ends[1][0] + ends[1][1]) / 2]
            canvas.setDirty(true, true)
        }"""
        self.page.evaluate(script, whole)
        self.page.wait_for_timeout(500)

    def grip(self) -> tuple[float, float]:
        script = """() => {
            const { canvas, graph } = window.app
            const { scale, offset } = canvas.ds
            const box = canvas.canvas.getBoundingClientRect()
            const all = graph._nodes.map(node => [(node.pos[0] + node.size[0] / 2 + offset[0]) * scale + box.left,
                (node.pos[1] - 15 + offset[1]) * scale + box.top])
            const far = at => Math.hypot(at[0] - box.width / 2, at[1] - box.height / 2)
            return all.sort((a, b) => far(a) - far(b))[0]
        }"""
        x, y = self.page.evaluate(script)
        return x, y

    def box(self) -> Any:
        script = """() => {
            const { canvas, graph } = window.app
            const node = graph._nodes.find(each => each.type === 'CLIPTextEncode')
            canvas.ds.offset = [400 - node.pos[0], 300 - node.pos[1]]
            canvas.setDirty(true, true)
            return node.widgets.find(widget => widget.element)?.element
        }"""
        return self.page.evaluate_handle(script).as_element()
