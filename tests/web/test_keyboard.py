"""The whole way without a mouse: an empty canvas, the default workflow built on it, a picture drawn and opened."""

from __future__ import annotations

from typing import Any

from tests.web.conftest import MODEL, THREE_FRAMES, Editor

MOST_KEYS = 300


class Keys:
    """Presses keys and counts them."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.count = 0

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
            self.count += 1
            assert self.page.evaluate("document.activeElement !== document.body"), f"focus is lost after {key}"

    def type(self, text: str) -> None:
        self.page.keyboard.type(text)
        self.count += len(text)

    def find(self, key: str, words: str) -> None:
        """Open a list, filter it, take the first."""
        self.press(key)
        self.page.locator(".palette").wait_for()
        self.type(words)
        self.page.keyboard.press("Enter")
        self.count += 1
        self.page.locator(".palette").wait_for(state="detached")
        self.page.evaluate(THREE_FRAMES)  # in the second the new card takes the focus


def test_from_nothing_to_a_picture(editor: Editor) -> None:
    page, keys = editor.page, Keys(editor.page)
    page.locator("#canvas").focus()
    keys.find("Control+k", "new workf")
    page.locator(".card").first.wait_for(state="detached")
    for words in ("savei", "vaed", "ksampler", "emptyl", "clipt", "clipt", "ckpt"):
        keys.find("a", words if words != "ckpt" else "checkp")
    assert page.locator(".card").count() == 7
    for words in ("model", "clip 5", "clip 6", "vae"):
        keys.find("c", words)
    for name, words in (("5", "positive"), ("6", "negative"), ("4", "latent_image"), ("3", "samples"), ("2", "images")):
        keys.find("Control+f", f"· {name}")
        keys.find("c", words)
    editor.shows(7, 9)
    assert page.locator(".side-tabs .count.bad").count() == 0
    keys.find("Control+f", "· 3")
    keys.press("Enter")
    for _ in range(2):
        keys.press("Tab")
    keys.press("ArrowDown")  # fewer steps; any will do
    keys.press("Escape")
    for field, value in (("steps, 3", "2"), ("width, 4", "64"), ("height, 4", "64")):  # a small picture is a quick one
        page.fill(f'[aria-label="{field}"]', value)
    page.locator('[data-node="3"]').focus()
    keys.press("Control+Enter")
    page.locator('[data-id="1"] .card-picture button').wait_for()
    assert page.locator('[data-id="7"] .combo').inner_text() == MODEL
    assert keys.count <= MOST_KEYS, keys.count
