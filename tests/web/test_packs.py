"""Packs of nodes in the editor: asked about at first sight and when they change, shown when they fail, and there without a reload."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_checkpoint import write_tiny_checkpoint
from tests.web.conftest import MODEL, Editor, open_editor, serving

pytestmark = pytest.mark.acceptance

NODE = """
class Node:
    RETURN_TYPES = ("STRING",)
    FUNCTION = "go"
    CATEGORY = "packs"
    @classmethod
    def INPUT_TYPES(cls):
        return {{"required": {{"text": ("STRING", {{}})}}}}
    def go(self, text):
        return (text,)

NODE_CLASS_MAPPINGS = {{"{type}": Node}}
NODE_DISPLAY_NAME_MAPPINGS = {{"{type}": "{title}"}}
"""


@pytest.fixture
def base(server: str, tmp_path: Path) -> Path:
    """A base directory with a pack that loads and one that lacks a package."""
    write_tiny_checkpoint(tmp_path / "models" / "checkpoints" / MODEL)
    packs = tmp_path / "custom_nodes"
    (packs / "broken").mkdir(parents=True)
    (packs / "broken" / "__init__.py").write_text("import a_package_that_nobody_has")
    (packs / "broken" / "requirements.txt").write_text("a-package-that-nobody-has>=2")
    (packs / "mine.py").write_text(NODE.format(type="MineFirst", title="My First Node"))
    return tmp_path


@pytest.fixture
def editor(base: Path, browser: Any) -> Iterator[Editor]:
    """The editor over a server of its own."""
    with serving(base) as address, open_editor(browser, address) as shown:
        yield shown


def finds(editor: Editor, title: str) -> bool:
    """Whether a node type can be added by this name."""
    page = editor.page
    page.locator("#canvas").focus()
    page.keyboard.press("a")
    page.get_by_role("combobox").last.fill(title)
    found = page.get_by_role("option").filter(has_text=title).count() > 0
    page.keyboard.press("Escape")
    return bool(found)


def test_packs_are_asked_about_fail_in_sight_and_come_without_a_reload(base: Path, editor: Editor) -> None:
    page = editor.page
    dialog = page.get_by_role("dialog", name="Packs of nodes")
    dialog.wait_for()
    mine, broken = (dialog.get_by_role("region", name=name) for name in ("mine", "broken"))
    mine.get_by_text("New: you have not said yet whether it may run").wait_for()
    mine.get_by_role("button", name="Allow", exact=True).click()
    mine.get_by_text("Runs within the program, 1 node types").wait_for()
    broken.get_by_role("button", name="Allow", exact=True).click()
    broken.get_by_text("To install: a-package-that-nobody-has>=2 is not installed").wait_for()
    broken.get_by_role("button", name="Do not load").click()
    broken.get_by_text("Not loaded").wait_for()
    dialog.get_by_role("button", name="Done").click()
    assert (
        "enabled = true" in (base / "packs.toml").read_text() and "enabled = false" in (base / "packs.toml").read_text()
    )
    assert finds(editor, "My First Node") and not finds(editor, "My Second Node")

    (base / "custom_nodes" / "second.py").write_text(NODE.format(type="MineSecond", title="My Second Node"))
    dialog.wait_for()
    second = dialog.get_by_role("region", name="second")
    second.get_by_role("button", name="Allow", exact=True).click()
    second.get_by_text("Runs within the program, 1 node types").wait_for()
    dialog.get_by_role("button", name="Done").click()
    editor.until(lambda: finds(editor, "My Second Node"))

    (base / "custom_nodes" / "mine.py").write_text(NODE.format(type="MineFirst", title="My Other Node"))
    dialog.get_by_role("region", name="mine").get_by_text("Its files have changed since you said yes").wait_for()
    dialog.get_by_role("button", name="Done").click()
