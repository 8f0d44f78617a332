"""A program edits a workflow that is open: each edit shows at once, and is one step that names who made it."""

from __future__ import annotations

from tests.web.conftest import Editor
from tests.web.test_queue import post

SEED = '[aria-label="seed, 3"]'


def test_an_open_editor_follows_a_programs_edits(editor: Editor, server: str) -> None:
    page = editor.page
    page.keyboard.press("Control+Shift+S")
    page.get_by_label("Name", exact=True).fill("shared with a program")
    page.keyboard.press("Enter")
    page.locator(".tab.active", has_text="shared with a program").wait_for()
    nodes = page.locator(".card").count()
    page.fill(SEED, "5")  # not saved

    def edit(*edits: dict[str, object]) -> None:
        body = {"file": "workflows/shared with a program.json", "by": "Draughtsman", "edits": edits}
        post(server, "workflow/edit", body)

    edit({"set": "3", "inputs": {"seed": 77}})
    page.wait_for_function("() => document.querySelector('[aria-label=\"seed, 3\"]').value === '77'")
    page.get_by_text("Draughtsman changed shared with a program").first.wait_for()
    edit({"add": "PreviewImage", "inputs": {"images": ["8", 0]}})
    page.locator(".card").nth(nodes).wait_for()
    page.locator("#canvas").focus()
    page.keyboard.press("Control+z")
    page.locator(".card").nth(nodes).wait_for(state="detached")
    page.keyboard.press("Control+z")
    assert page.input_value(SEED) == "5", "what was there before comes back, also what was not saved"
    page.keyboard.press("Control+Shift+z")
    assert page.input_value(SEED) == "77"
    assert page.locator(".tab").count() == 1
