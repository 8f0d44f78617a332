"""The editor with 50, 300 and 1000 nodes, beside the official one where that is installed, and with runs going on.

Both run in headless Chromium without a GPU, one after the other at every size, each in a browser of its own. Frames
are counted between the animation frames of the page while real mouse events move things; the 95th percentile is what
people feel. A gesture ends after a few seconds however slow the frames are, and what fails is a line that says so.
"""

from __future__ import annotations

import importlib
import json
import math
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.editor_runs import Figure, first_screen, many_runs, progress_and_failure
from bench.editors import DIST, Ours, Side, Theirs, graph, heap, missing, official, window

__all__ = ["main"]

SIZES = (50, 300, 1000)
MOVES, FEWEST = 60, 15
SECONDS = 6.0
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
GOALS = {
    300: {"open": "6: ≤ 1500", "drag at 100 %": "7: ≤ 20", "drag, all in view": "8: ≤ 34"}
    | {"pan, all in view": "8: ≤ 34", "zoom, all in view": "8: ≤ 34", "typing": "9: ≤ 50"}
    | {"drag at 100 % while it runs": "9: ≤ 20", "typing while it runs": "9: ≤ 50"},
    1000: {"open": "6: ≤ 3500", "drag at 100 %": "7: ≤ 34", "drag, all in view": "8: ≤ 84"}
    | {"pan, all in view": "8: ≤ 84", "zoom, all in view": "8: ≤ 84", "heap": "10: ≤ 120"},
}
"""What web/README.md's checks allow, by their numbers."""


class Line(NamedTuple):
    """One line of the table; what could not be measured is no number (nan), in words in `goal`."""

    name: str
    ours: float
    theirs: float
    unit: str
    goal: str

    def text(self) -> str:
        """The line as Markdown."""
        ours, theirs = (f"{value:.0f}" if math.isfinite(value) else "–" for value in (self.ours, self.theirs))
        ratio = f"{self.ours / self.theirs:.2f}" if self.ours / (self.theirs or math.nan) >= 0 else "–"
        return f"| {self.name} | {ours} {self.unit} | {theirs} | {ratio} | {self.goal} |"


def main() -> None:
    """Print the table, or why there is none."""
    if reason := missing():
        print(f"THE EDITOR IS NOT MEASURED: {reason}")
        return
    print(
        "| the editor, 95th percentile of frames | ours | official | ratio | goal |\n|---|---|---|---|---|", flush=True
    )
    for measured in table():
        print(measured.text(), flush=True)


def table() -> Iterator[Line]:
    """Every line, as it is measured."""
    theirs = official()
    with tempfile.TemporaryDirectory() as base:
        for size in SIZES:
            file = graph(size)
            nodes = len(file["nodes"])
            other = dict(_measured(base, theirs, Theirs, file)) if theirs else {}
            for name, value in _measured(base, DIST, Ours, file):
                goal = GOALS.get(size, {}).get(name, "–")
                unit = "MB" if name == "heap" else "ms"
                yield Line(f"{name}, {nodes} nodes", value, other.get(name, math.nan), unit, goal)
            for name in other:
                if name.startswith("stopped"):
                    yield Line(f"the official one {name}, {nodes} nodes", math.nan, math.nan, "", "–")
        for measure in (_search, first_screen, progress_and_failure, many_runs):
            try:
                for name, value, unit, goal in measure(base):
                    yield Line(name, value, math.nan, unit, goal)
            except _failed() as error:
                yield Line(_stopped(error), math.nan, math.nan, "", "–")


def _measured(
    base: str, front_end: Path, make: Callable[[Any, str], Side], file: dict[str, Any]
) -> Iterator[tuple[str, float]]:
    """Each figure as soon as it is there; after a failure, its words and nothing more."""
    with window(base, front_end) as (page, url):
        try:
            yield from _figures(page, make(page, url), file)
        except _failed() as error:  # the other sizes are still worth measuring
            yield _stopped(error), math.nan


def _failed() -> Any:
    """What the browser's driver raises; it is there only where editors can be measured."""
    return importlib.import_module("playwright.sync_api").Error


def _stopped(error: BaseException) -> str:
    return f"stopped ({' '.join(str(error).split())[:120]})"


def _figures(page: Any, side: Side, file: dict[str, Any]) -> Iterator[tuple[str, float]]:
    yield "open", side.open(file)
    page.wait_for_timeout(1000)
    side.look(False)
    yield "drag at 100 %", frames(page, lambda: drag(page, side.grip(), "left"))
    side.look(True)
    yield "drag, all in view", frames(page, lambda: drag(page, side.grip(), "left"))
    yield "pan, all in view", frames(page, lambda: drag(page, side.grip(), "middle"))
    yield "zoom, all in view", frames(page, lambda: zoom(page))
    side.look(False)
    yield "typing", typing(page, side.box())
    yield "heap", heap(page)
    if isinstance(side, Ours):
        side.run()
        side.look(False)
        yield "drag at 100 % while it runs", frames(page, lambda: drag(page, side.grip(), "left"))
        yield "typing while it runs", typing(page, side.box())
        side.stop()


def frames(page: Any, act: Callable[[], None]) -> float:
    """The 95th percentile of the page's frame times while something is done, in milliseconds."""
    page.evaluate(COUNT_FRAMES)
    act()
    return _percentile(page.evaluate(FRAMES))


def _percentile(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20)[-1] if len(values) > 1 else math.nan


def _steps(most: int) -> Iterator[int]:
    """Numbers from 1, until there are `most` or time is up."""
    begun = time.monotonic()
    for step in range(1, most + 1):
        if step > FEWEST and time.monotonic() - begun > SECONDS:
            return
        yield step


def drag(page: Any, at: tuple[float, float], button: str) -> None:
    """Drag there and back."""
    page.mouse.move(*at)
    page.mouse.down(button=button)
    for step in _steps(MOVES):
        page.mouse.move(at[0] + 3 * min(step, MOVES - step), at[1] + 2 * min(step, MOVES - step))
    page.mouse.up(button=button)


def zoom(page: Any) -> None:
    """Turn the wheel there and back."""
    page.mouse.move(600, 500)
    for step in _steps(MOVES // 2):
        page.mouse.wheel(0, -60 if step <= MOVES // 4 else 60)
        page.wait_for_timeout(16)


def typing(page: Any, box: Any) -> float:
    """From a key to the frame after the one that shows it, 95th percentile, in milliseconds."""
    page.wait_for_timeout(300)
    box.focus()
    page.evaluate(COUNT_KEYS)
    page.keyboard.type("a red circle on a white table ", delay=30)
    page.wait_for_timeout(200)
    return _percentile(page.evaluate("() => window.__keys"))


def _search(base: str) -> Iterator[Figure]:
    """Finding a node among many types."""
    with window(base, DIST) as (page, url):
        with urllib.request.urlopen(f"{url.rstrip('/')}/object_info") as answer:
            types = json.load(answer)
        names = list(types)
        for number in range(DEFINITIONS - len(names)):
            copied = types[names[number % len(names)]]
            types[f"Copy{number}"] = copied | {"name": f"Copy{number}", "display_name": f"{copied['name']} {number}"}
        page.route("**/object_info", lambda route: route.fulfill(json=types))
        side = Ours(page, url)
        side.canvas().focus()
        page.keyboard.press("a")
        page.locator(".palette").wait_for()
        page.evaluate(COUNT_KEYS)
        page.keyboard.type("sampler custom", delay=60)
        page.wait_for_timeout(200)
        yield f"search, {len(types)} types", _percentile(page.evaluate("() => window.__keys")), "ms", "11: ≤ 50"


if __name__ == "__main__":
    main()
