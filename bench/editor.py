"""The editor with 50, 300 and 1000 nodes, beside the official one where that is installed: frames, start, memory.

Both run in one headless Chromium without a GPU, one after the other at every size. Frames are counted between the
animation frames of the page while real mouse events move things; the 95th percentile is what people feel.
"""

from __future__ import annotations

import importlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

SOURCE = Path(__file__).resolve().parents[1]
EXAMPLE = SOURCE / "web" / "src" / "examples" / "text_to_image.json"
SIZES = (50, 300, 1000)
MOVES = 60
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--enable-precise-memory-info"]
DEFINITIONS = 400

COUNT_FRAMES = """() => {
    const times = []
    let last = performance.now()
    window.__stop = false
    const tick = now => { times.push(now - last); last = now; if (!window.__stop) requestAnimationFrame(tick) }
    requestAnimationFrame(now => { last = now; requestAnimationFrame(tick) })
    window.__frames = times
}"""
FRAMES = "() => { window.__stop = true; return window.__frames }"
COUNT_KEYS = """() => {
    window.__keys = []
    const heard = event => {
        const pressed = event.timeStamp
        requestAnimationFrame(() => requestAnimationFrame(now => window.__keys.push(now - pressed)))
    }
    window.addEventListener('keydown', heard, true)
}"""


class Line(NamedTuple):
    """One line of the table; `theirs` is None where the official editor is not installed or has no such thing."""

    name: str
    ours: float
    theirs: float | None
    unit: str
    goal: str

    def text(self) -> str:
        """The line as Markdown."""
        theirs = "–" if self.theirs is None else f"{self.theirs:.0f}"
        ratio = "–" if not self.theirs else f"{self.ours / self.theirs:.2f}"
        return f"| {self.name} | {self.ours:.0f} {self.unit} | {theirs} | {ratio} | {self.goal} |"


def missing() -> str:
    """Why nothing can be measured, if so."""
    if shutil.which("chromium") is None:
        return "Chromium is not installed (apt-get install chromium)"
    if find_spec("playwright") is None:
        return "playwright is not installed (pip install playwright)"
    return "" if (SOURCE / "web" / "dist" / "index.html").is_file() else "web/dist is not built"


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

    def open(self, file: dict[str, Any]) -> float:
        script = """async text => {
            const was = document.querySelectorAll('.tab').length
            const carried = new DataTransfer()
            carried.items.add(new File([text], 'bench.json', { type: 'application/json' }))
            const begun = performance.now()
            document.querySelector('.canvas').dispatchEvent(new DragEvent('drop', { bubbles: true, dataTransfer: carried }))
            const frame = () => new Promise(done => requestAnimationFrame(done))
            while (document.querySelectorAll('.tab').length === was) await frame()
            while (!document.querySelector('.react-flow__node [data-node], .react-flow__node .far')) await frame()
            await frame()
            await frame()
            return performance.now() - begun
        }"""
        return float(self.page.evaluate(script, json.dumps(file)))

    def look(self, whole: bool) -> None:
        self.page.locator("#canvas").focus()
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


def table() -> Iterator[Line]:
    """Every line, as it is measured."""
    with tempfile.TemporaryDirectory() as base, chromium() as browser:
        official = find_spec("comfyui_frontend_package")
        static = Path(official.origin).parent / "static" if official and official.origin else None
        for nodes in SIZES:
            file = graph(nodes)
            mine = _measured(browser, base, SOURCE / "web" / "dist", Ours, file)
            other = _measured(browser, base, static, Theirs, file) if static else {}
            goals = GOALS[nodes]
            for name, value in mine.items():
                unit = "MB" if name == "heap" else "ms"
                yield Line(f"{name}, {len(file['nodes'])} nodes", value, other.get(name), unit, goals.get(name, "–"))
        yield from _alone(browser, base)


GOALS = {
    50: {},
    300: {"open": "≤ 1500", "drag at 100 %": "≤ 20", "drag, all in view": "≤ 34", "pan, all in view": "≤ 34"}
    | {"zoom, all in view": "≤ 34", "typing": "≤ 50"},
    1000: {"open": "≤ 3500", "drag at 100 %": "≤ 34", "drag, all in view": "≤ 84", "pan, all in view": "≤ 84"}
    | {"zoom, all in view": "≤ 84", "heap": "≤ 120"},
}


@contextmanager
def chromium() -> Iterator[Any]:
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


def _measured(
    browser: Any, base: str, front_end: Path, make: Callable[[Any, str], Side], file: dict[str, Any]
) -> dict[str, float]:
    with serving(base, front_end) as url:
        context = browser.new_context(viewport={"width": 1600, "height": 900}, locale="en-US")
        page = context.new_page()
        page.set_default_timeout(120_000)
        side = make(page, url)
        found = {"open": side.open(file)}
        page.wait_for_timeout(1000)
        for name, whole in (("at 100 %", False), (", all in view", True)):
            side.look(whole)
            between = " " if name.startswith("at") else ""
            found[f"drag{between}{name}"] = frames(page, lambda: _drag(page, side.grip(), "left"))
            if whole:
                found[f"pan{name}"] = frames(page, lambda: _drag(page, side.grip(), "middle"))
                found[f"zoom{name}"] = frames(page, lambda: _zoom(page))
        side.look(False)
        found["typing"] = typing(page, side.box())
        found["heap"] = heap(page)
        context.close()
        return found


def frames(page: Any, act: Callable[[], None]) -> float:
    """The 95th percentile of the page's frame times while something is done, in milliseconds."""
    page.evaluate(COUNT_FRAMES)
    act()
    return _percentile(page.evaluate(FRAMES))


def _percentile(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20)[-1] if len(values) > 1 else 0.0


def _drag(page: Any, at: tuple[float, float], button: str) -> None:
    page.mouse.move(*at)
    page.mouse.down(button=button)
    for step in range(1, MOVES + 1):
        page.mouse.move(at[0] + 3 * min(step, MOVES - step), at[1] + 2 * min(step, MOVES - step))
    page.mouse.up(button=button)


def _zoom(page: Any) -> None:
    page.mouse.move(600, 500)
    for step in range(30):
        page.mouse.wheel(0, -60 if step < 15 else 60)
        page.wait_for_timeout(16)


def typing(page: Any, box: Any) -> float:
    """From a key to the frame after the one that shows it, 95th percentile, in milliseconds."""
    page.wait_for_timeout(300)
    box.focus()
    page.evaluate(COUNT_KEYS)
    page.keyboard.type("a red circle on a white table ", delay=30)
    page.wait_for_timeout(200)
    return _percentile(page.evaluate("() => window.__keys"))


def heap(page: Any) -> float:
    """What JavaScript holds after a collection, in MB."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    return float(metrics["JSHeapUsedSize"]) / 1e6


def _alone(browser: Any, base: str) -> Iterator[Line]:
    """What there is nothing to compare with: finding a node among many types."""
    with serving(base, SOURCE / "web" / "dist") as url:
        with urllib.request.urlopen(f"{url.rstrip('/')}/object_info") as answer:
            types = json.load(answer)
        names = list(types)
        for number in range(DEFINITIONS - len(names)):
            copied = types[names[number % len(names)]]
            types[f"Copy{number}"] = copied | {"name": f"Copy{number}", "display_name": f"{copied['name']} {number}"}
        context = browser.new_context(viewport={"width": 1600, "height": 900}, locale="en-US")
        page = context.new_page()
        page.route("**/object_info", lambda route: route.fulfill(json=types))
        page.goto(url)
        page.locator(".card").nth(6).wait_for()
        page.locator("#canvas").focus()
        page.keyboard.press("a")
        page.locator(".palette").wait_for()
        page.evaluate(COUNT_KEYS)
        page.keyboard.type("sampler custom", delay=60)
        page.wait_for_timeout(200)
        yield Line(f"search, {len(types)} types", _percentile(page.evaluate("() => window.__keys")), None, "ms", "≤ 50")
        context.close()
