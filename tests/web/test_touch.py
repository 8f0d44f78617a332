"""The editor under a finger: a long press, a tap on a socket and one on another, pan, pinch, and a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.web.conftest import Editor

VIEW = "document.querySelector('.react-flow__viewport').style.transform"
Points = list[tuple[float, float]]


class Fingers:
    """Touches the page as fingers do, all of them moving together."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.session = page.context.new_cdp_session(page)

    def _send(self, kind: str, points: Points) -> None:
        touches = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    def drag(self, start: Points, end: Points, steps: int = 6) -> None:
        self._send("touchStart", start)
        for step in range(1, steps + 1):
            part = step / steps
            self._send(
                "touchMove",
                [(a + (c - a) * part, b + (d - b) * part) for (a, b), (c, d) in zip(start, end, strict=True)],
            )
        self._send("touchEnd", [])

    def rest(self, at: tuple[float, float]) -> None:
        self._send("touchStart", [at])
        self.page.locator(".menu").wait_for()
        self._send("touchEnd", [])


@pytest.fixture
def touched(server: str, browser: Any) -> Iterator[Editor]:
    """The editor on a screen that is touched."""
    context = browser.new_context(viewport={"width": 1280, "height": 720}, locale="en-US", has_touch=True)
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(server)
    page.locator(".card").nth(6).wait_for()
    page.wait_for_timeout(300)
    yield Editor(page)
    context.close()


def test_everything_with_fingers(touched: Editor) -> None:
    page, fingers = touched.page, Fingers(touched.page)
    fingers.rest((200, 600))
    page.get_by_role("menuitem", name="Add a node here").tap()
    page.get_by_role("combobox", name="Find a node").fill("preview image")
    page.locator(".palette [role=option]").first.tap()
    touched.shows(8, 9)
    page.locator('[data-id="8"] [data-handleid="o:0"]').tap()
    page.locator(".canvas.linking").wait_for()
    page.locator('[data-id="10"] [data-handleid="i:images"]').tap()
    touched.shows(8, 10)
    before = page.evaluate(VIEW)
    fingers.drag([(700, 640)], [(640, 600)])
    page.wait_for_function(f"was => {VIEW} != was", arg=before)
    scale = f"() => Number(/scale\\((.*)\\)/.exec({VIEW})[1])"
    was = page.evaluate(scale)
    fingers.drag([(600, 640), (700, 640)], [(500, 640), (800, 640)])
    page.wait_for_function(f"was => ({scale})() > was * 1.2", arg=was)
    page.fill('[aria-label="steps, 3"]', "1")
    page.locator("#run").tap()
    page.locator('[data-id="10"] .card-picture button').wait_for(state="attached")
