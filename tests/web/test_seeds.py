"""The seed on the screen is the one that made the picture on the screen, and rows of jobs say what they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.web.conftest import Editor, open_editor
from tests.web.test_queue import post

SEED = '[aria-label="seed, 3"]'


@pytest.fixture
def paused(server: str) -> Iterator[str]:
    """The server with a queue that stands still, and an empty one afterwards."""
    post(server, "queue/pause", {})
    yield server
    post(server, "queue", {"clear": True})
    post(server, "queue/resume", {})


def _label(editor: Editor) -> str:
    """The seed under the picture."""
    label = editor.page.locator(".about-shot .seed")
    return label.inner_text().strip().split()[-1] if label.count() else ""


def _first(editor: Editor) -> str:
    """Make one picture, of seed 4000000000000000001; its file's name."""
    page = editor.page
    page.fill('[aria-label="steps, 3"]', "1")
    page.fill(SEED, "4000000000000000001")
    page.keyboard.press("Control+Enter")
    editor.until(lambda: _label(editor) == "4000000000000000001")
    return str(page.locator(".thumb").first.get_attribute("title"))


def test_a_batch_shows_the_seed_of_each_picture_with_it(editor: Editor, server: str) -> None:
    page = editor.page
    _first(editor)
    post(server, "queue/pause", {})
    try:
        page.fill('[aria-label="How many runs"]', "3")
        sent: list[int] = []

        def hear(asked: Any) -> None:
            if asked.url.endswith("/prompt"):
                sent.append(json.loads(asked.post_data)["prompt"]["3"]["inputs"]["seed"])

        page.on("request", hear)
        page.locator("#run").click()
        editor.until(lambda: len(sent) == 3)
        assert len(set(sent)) == 3
        assert page.input_value(SEED) == "4000000000000000001" == _label(editor)
    finally:
        post(server, "queue/resume", {})
    editor.until(lambda: _label(editor) == str(sent[2]) == page.input_value(SEED))
    page.locator(".thumb").nth(1).click()
    editor.until(lambda: _label(editor) == str(sent[1]))
    editor.open(page.reload)
    assert page.input_value(SEED) == str(sent[2])


def test_a_run_without_a_picture_leaves_the_seed(editor: Editor, paused: str) -> None:
    page = editor.page
    post(paused, "queue/resume", {})
    _first(editor)
    post(paused, "queue/pause", {})
    page.keyboard.press("Control+Enter")
    page.locator("#tab-queue").click()
    row = page.locator("[aria-label='Waiting'] .job")
    row.wait_for()
    row.focus()
    page.keyboard.press("Delete")
    row.wait_for(state="detached")
    assert page.input_value(SEED) == "4000000000000000001"
    page.fill(SEED, "17")  # what somebody types is used
    with page.expect_request("**/prompt") as sent:
        page.keyboard.press("Control+Enter")
    assert json.loads(sent.value.post_data)["prompt"]["3"]["inputs"]["seed"] == 17


def test_the_seed_is_copied_whole(editor: Editor) -> None:
    page = editor.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    _first(editor)
    page.locator(".about-shot .seed").click()
    editor.until(lambda: page.evaluate("navigator.clipboard.readText()") == "4000000000000000001")


def test_rows_say_what_they_are_in_every_window_and_waiting_ones_open(
    editor: Editor, browser: Any, paused: str
) -> None:
    page = editor.page
    page.fill('[aria-label="text, 6"]', "a lighthouse in fog")
    page.fill(SEED, "4242")
    page.keyboard.press("Control+Enter")
    page.locator("#tab-queue").click()
    page.locator("[aria-label='Waiting'] .job").wait_for()
    with open_editor(browser, paused) as other:
        other.page.locator("#tab-queue").click()
        row = other.page.locator("[aria-label='Waiting'] .job")
        row.wait_for()
        assert row.locator(".job-name").inner_text() == "a lighthouse in fog"
        assert row.locator(".job-about").inner_text() == "Text to image · seed 4242"
        row.hover()
        row.get_by_role("button", name="Open workflow").click()
        other.page.locator(".tab").nth(1).wait_for()
        other.until(lambda: other.page.input_value(SEED) == "4242")
        row.focus()
        other.page.keyboard.press("Delete")
        stopped = other.page.locator("[aria-label='Done'] .job").first
        other.until(lambda: stopped.locator(".job-name").inner_text() == "a lighthouse in fog")
        stopped.hover()
        stopped.get_by_role("button", name="Run it again").click()
        row.wait_for()
        assert row.locator(".job-name").inner_text() == "a lighthouse in fog"


def test_what_a_node_left_out_is_told_at_it(editor: Editor) -> None:
    page = editor.page
    page.fill('[aria-label="text, 6"]', "a cat, embedding:known_to_none")
    page.fill('[aria-label="steps, 3"]', "1")
    page.keyboard.press("Control+Enter")
    told = page.locator('[data-id="6"] .card-notice.warning')
    told.wait_for()
    assert "known_to_none" in told.inner_text()
    page.locator("#tab-queue").click()
    row = page.locator("[aria-label='Done'] .job", has_text="known_to_none")
    row.wait_for()
    row.focus()
    page.keyboard.press("Enter")
    page.locator(".costs .warning").wait_for()
    page.fill('[aria-label="text, 6"]', "a cat")
    page.keyboard.press("Control+Enter")
    told.wait_for(state="detached")
