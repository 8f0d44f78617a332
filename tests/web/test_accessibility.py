"""Everyone: no rule of WCAG 2.0 to 2.2 A and AA is broken on any screen, in both themes and both languages."""

from __future__ import annotations

import importlib.resources
import io
import json
from typing import Any

import PIL.Image
import pytest

from tests.web.conftest import open_editor
from tests.web.workflows import primitive

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
RUN = """async rules => {
    const found = await axe.run(document, { runOnly: rules })
    return found.violations.flatMap(rule => rule.nodes.map(node =>
        `${rule.id}: ${node.target.join(' ')}: ${(node.failureSummary ?? '').replace(/\\s+/g, ' ')}`))
}"""
SMALL_TARGETS = """() => [...document.querySelectorAll('button, input, select, a, [tabindex="0"]')].filter(each => {
    const box = each.getBoundingClientRect()
    const shown = box.width > 0 && !each.closest('.hidden, .react-flow, .canvas') && getComputedStyle(each).visibility !== 'hidden'
    return shown && each.type !== 'checkbox' && (box.width < 24 || box.height < 24)
}).map(each => `${each.tagName}.${each.className} ${each.getAttribute('aria-label') ?? each.textContent}`)"""

LOOKS = [
    pytest.param("dark", "en-US"),
    pytest.param("light", "en-US", marks=pytest.mark.acceptance),
    pytest.param("dark", "zh-CN", marks=pytest.mark.acceptance),
    pytest.param("light", "zh-CN", marks=pytest.mark.acceptance),
]


@pytest.mark.parametrize(("theme", "language"), LOOKS)
def test_no_screen_breaks_a_rule(browser: Any, server: str, theme: str, language: str) -> None:
    with open_editor(browser, server, color_scheme=theme, locale=language) as editor:
        page = editor.page
        page.evaluate(importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text())
        broken: list[str] = []

        def look(screen: str) -> None:
            page.wait_for_timeout(250)  # what fades in has come
            broken.extend(f"{screen}: {each}" for each in page.evaluate(RUN, RULES))
            broken.extend(f"{screen}: smaller than 24 pixels: {each}" for each in page.evaluate(SMALL_TARGETS))

        look("canvas")
        draw(page)
        look("gallery")
        for key, screen, waits in SCREENS:
            page.locator("#canvas").focus()
            page.keyboard.press(key)
            page.locator(waits).first.wait_for()
            look(screen)
            page.keyboard.press("Escape")
        page.locator('[data-id="3"] .card-head').click(button="right")
        page.locator(".menu").wait_for()
        look("menu")
        page.keyboard.press("Escape")
        page.locator('[data-id="4"] .card-head').click()
        page.keyboard.press("Delete")
        page.locator("#tab-problems").click()
        page.locator(".trouble-item").first.wait_for()
        look("problems")
        editor.drop("ground.png", blank(), "image/png")
        page.locator(".field.pick button").nth(1).click()
        page.locator(".mask-stack canvas").wait_for()
        look("mask editor")
        assert broken == []


SCREENS = [
    ("a", "search", ".palette li"),
    ("Control+k", "commands", ".palette li"),
    ("q", "queue", ".job"),
    ("w", "workflows", ".examples img"),
    ("Control+,", "settings", ".settings"),
    ("?", "shortcuts", ".keys-grid"),
]


def draw(page: Any) -> None:
    """Have the default workflow make a picture."""
    page.locator('[data-id="3"] .value').nth(1).fill("1")
    page.keyboard.press("Control+Enter")
    page.locator('[data-id="9"] .card-picture button').wait_for()
    page.locator(".about-shot .seed").wait_for()


def blank() -> bytes:
    """A grey picture."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (64, 48), (128, 128, 128)).save(buffer, "PNG")
    return buffer.getvalue()


def test_nothing_is_out_of_reach_at_200_percent(browser: Any, server: str) -> None:
    """A window of 1280x720 at 200 % of browser zoom is one of 640x360 pixels of CSS."""
    with open_editor(browser, server, viewport={"width": 640, "height": 360}) as editor:
        page = editor.page
        for name in ("#run", ".side-tabs button >> nth=0"):
            box = page.locator(name).bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= 640 and box["y"] + box["height"] <= 360, name
        page.keyboard.press("Control+,")
        box = page.locator("dialog[open]").bounding_box()
        assert box["x"] >= 0 and box["y"] >= 0 and box["x"] + box["width"] <= 640 and box["y"] + box["height"] <= 360
        page.keyboard.press("Escape")
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("media", [{"reduced_motion": "reduce"}, {"forced_colors": "active"}])
def test_wishes_of_the_system_are_heeded(browser: Any, server: str, media: dict[str, str]) -> None:
    with open_editor(browser, server, **media) as editor:
        page = editor.page
        page.keyboard.press("a")
        page.locator(".palette input").wait_for()
        moving = page.evaluate("document.getAnimations().filter(each => each.playState === 'running').length")
        if "reduced_motion" in media:
            assert moving == 0
        else:
            outline = page.evaluate("getComputedStyle(document.querySelector('.palette')).borderTopWidth")
            assert outline != "0px"


CONTRAST = """async () => {
    const found = await axe.run(document, { runOnly: { type: 'rule', values: ['color-contrast'] } })
    return found.violations.flatMap(rule => rule.nodes.map(node =>
        `${node.target.join(' ')}: ${(node.failureSummary ?? '').replace(/\\s+/g, ' ')}`))
}"""


@pytest.mark.parametrize("theme", ["dark", pytest.param("light", marks=pytest.mark.acceptance)])
@pytest.mark.parametrize("width", [1280, pytest.param(1440, marks=pytest.mark.acceptance), 2560])
def test_contrast_holds_at_every_width_and_in_every_state(browser: Any, server: str, theme: str, width: int) -> None:
    size = {"width": width, "height": width * 9 // 16}
    with open_editor(browser, server, color_scheme=theme, viewport=size) as editor:
        page = editor.page
        page.evaluate(importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text())
        page.fill('[aria-label="text, 6"]', "a dragon")
        for node, key in (("7", "Control+b"), ("5", "Control+m")):
            page.locator(f'[data-id="{node}"] .card-head').click()
            page.keyboard.press(key)
            page.locator(f'[data-id="{node}"] .card-badge.mode').wait_for()
        page.locator('[aria-label="CFG, 3"]').focus()
        page.keyboard.press("Alt+s")
        page.locator(".field .several").wait_for()
        assert page.evaluate(CONTRAST) == []
        editor.drop("linked.json", json.dumps(primitive("INT")).encode(), "application/json")
        page.locator(".field.linked").first.wait_for()
        page.locator(".missing").first.wait_for()
        assert page.evaluate(CONTRAST) == []
