"""What the editor does while workflows run: how soon it shows what the server says, and what it keeps of it."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from bench.editors import DIST, EXAMPLE, Ours, heap, window

RUNS = 100
SECONDS = 240.0
Figure: TypeAlias = tuple[str, float, str, str]

LISTEN = """() => {
    const Given = window.WebSocket
    window.__told = 0
    window.WebSocket = class extends Given {
        constructor(...given) {
            super(...given)
            this.addEventListener('message', event => {
                if (typeof event.data === 'string' && event.data.includes('"execution_error"')) window.__told = performance.now()
            })
        }
    }
}"""
MARKED = """async () => {
    const begun = performance.now()
    while (!document.querySelector('[data-id="4"] .problem')) {
        if (performance.now() - begun > 120000) throw new Error('the failure is not shown')
        await new Promise(done => requestAnimationFrame(done))
    }
    return performance.now() - window.__told
}"""
GAPS = """async () => {
    // to the end of the run, or for half a minute
    const shown = () => document.querySelector('[data-id="3"] .card-badge')?.textContent ?? ''
    const gaps = []
    let before = '', last = performance.now(), begun = last
    while (performance.now() - begun < 30000 && !/s$/.test(shown())) {
        const now = shown()
        if (now !== before && now.includes('/')) {
            if (before.includes('/')) gaps.push(performance.now() - last)
            last = performance.now()
            before = now
        }
        await new Promise(done => requestAnimationFrame(done))
    }
    return Math.max(0, ...gaps)
}"""


def first_screen(base: str) -> Iterator[Figure]:
    """How soon the default workflow accepts a click in a new profile: of a server that is up, and of one just started."""
    for name, is_up, goal in (("", True, "4: ≤ 1500"), (", server just started", False, "–")):
        with window(base, DIST) as (page, url):
            if is_up:
                urllib.request.urlopen(f"{url.rstrip('/')}/object_info").close()
            yield f"first screen accepts a click{name}", _first(page, url), "ms", goal


def progress_and_failure(base: str) -> Iterator[Figure]:
    """How often a long run is heard of, and how soon a failure is shown."""
    with window(base, DIST) as (page, url):
        page.add_init_script(f"({LISTEN})()")
        side = Ours(page, url)
        page.fill('[aria-label="steps, 3"]', "200")
        side.run()
        yield "longest time without progress", float(page.evaluate(GAPS)), "ms", "27: ≤ 250"
        side.stop()
        yield "a failure is marked at its node", _failure(page, url, Path(base)), "ms", "25: ≤ 500"


def many_runs(base: str) -> Iterator[Figure]:
    """What JavaScript still holds after a hundred runs with previews."""
    with window(base, DIST) as (page, url):
        Ours(page, url)
        before = heap(page)
        runs = _runs(page, url)
        yield f"heap grows in {runs} runs", heap(page) - before, "MB", "10: < 20"


def _first(page: Any, url: str) -> float:
    begun = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.locator('[data-id="3"] .card-head').click()
    page.locator(".react-flow__node.selected").wait_for()
    return 1e3 * (time.perf_counter() - begun)


def _failure(page: Any, url: str, base: Path) -> float:
    """A file that is no checkpoint: the node fails when it runs."""
    broken = base / "models" / "checkpoints" / "broken.safetensors"
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_bytes(b"no checkpoint")
    file = json.loads(EXAMPLE.read_text())
    next(node for node in file["nodes"] if node["id"] == 4)["widgets_values"][0] = broken.name
    side = Ours(page, url)
    side.open(file)
    side.run()
    return float(page.evaluate(MARKED))


def _runs(page: Any, url: str) -> int:
    """Run until there are RUNS, or time is up; how many there were."""
    page.fill('[aria-label="steps, 3"]', "4")
    page.locator("#canvas").focus()
    end = time.monotonic() + SECONDS
    for run in range(RUNS):
        page.keyboard.press("Control+Enter")
        while _remaining(url) > 1:
            page.wait_for_timeout(20)
            if time.monotonic() > end:
                return run + 1
    while _remaining(url) and time.monotonic() < end:
        page.wait_for_timeout(50)
    page.wait_for_timeout(500)
    return RUNS


def _remaining(url: str) -> int:
    with urllib.request.urlopen(f"{url.rstrip('/')}/prompt") as answer:
        return int(json.load(answer)["exec_info"]["queue_remaining"])
