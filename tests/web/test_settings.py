"""Settings and keys of one's own: they act at once, and are there after a reload."""

from __future__ import annotations

from tests.web.conftest import Editor


def test_a_command_gets_other_keys_and_keeps_them(editor: Editor) -> None:
    page = editor.page
    page.keyboard.press("?")
    page.get_by_role("button", name="Show the queue: Q").click()
    page.keyboard.press("w")  # belongs to another command
    page.get_by_text("W belongs to “Workflows on the server” already.").wait_for()
    page.get_by_role("button", name="Show the queue: Q").click()
    page.keyboard.press("F9")
    page.get_by_role("button", name="Show the queue: F9").wait_for()
    page.keyboard.press("Escape")
    editor.open(page.reload)
    page.keyboard.press("q")
    assert page.locator("#tab-queue").get_attribute("aria-selected") == "false"
    page.keyboard.press("F9")
    page.locator("#tab-queue[aria-selected=true]").wait_for()


def test_sizes_letters_and_previews_are_as_set(editor: Editor) -> None:
    page = editor.page
    before = page.locator(".topbar").bounding_box()["height"]
    page.keyboard.press("Control+,")
    page.get_by_role("button", name="130 %").click()
    page.get_by_role("group", name="Letters in prompts").get_by_role("button", name="18").click()
    page.get_by_label("Single-letter shortcuts").uncheck()
    page.keyboard.press("Escape")
    assert round(page.locator(".topbar").bounding_box()["height"] / before, 1) == 1.3
    assert page.evaluate("getComputedStyle(document.querySelector('.field.text textarea')).fontSize") == "18px"
    page.locator("#canvas").focus()
    page.keyboard.press("a")
    assert page.locator(".palette").count() == 0


def test_a_node_explains_itself_from_its_menu(editor: Editor) -> None:
    page = editor.page
    page.locator('[data-id="3"] .card-head').click(button="right")
    page.get_by_role("menuitem", name="Explain").click()
    page.locator(".help h2", has_text="KSampler").wait_for()
    assert page.locator(".help dt", has_text="denoise").count() == 1
