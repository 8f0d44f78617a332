"""What hands do on the graph: selecting, pasting, dragging copies, looking about."""

from __future__ import annotations

import json
from pathlib import Path

from tests.web.conftest import Editor

SEED = '[aria-label="seed, 3"]'
SELECTED = "() => [...document.querySelectorAll('.react-flow__node.selected')].map(each => each.dataset.id).sort()"
VIEW = "() => document.querySelector('.react-flow__viewport').style.transform"


def _selects(editor: Editor, *ids: str) -> None:
    editor.until(lambda: editor.page.evaluate(SELECTED) == sorted(ids))


def _still(editor: Editor) -> str:
    """Where the graph is looked at from, once it no longer moves."""
    seen = [""]

    def rests() -> bool:
        before, seen[0] = seen[0], editor.page.evaluate(VIEW)
        return before == seen[0] != ""

    editor.until(rests)
    return seen[0]


def _place(editor: Editor, id_: str) -> tuple[float, float]:
    box = editor.page.locator(f'[data-id="{id_}"] .card').bounding_box()
    return box["x"], box["y"]


def test_a_click_narrows_the_selection_and_escape_clears_it(editor: Editor) -> None:
    page = editor.page
    page.locator("#canvas").focus()
    page.keyboard.press("Control+a")
    _selects(editor, "3", "4", "5", "6", "7", "8", "9")
    page.locator('[data-id="8"] .card-head').click()
    _selects(editor, "8")
    page.keyboard.press("Delete")
    editor.shows(6, 6)
    page.keyboard.press("Control+z")
    editor.shows(7, 9)
    page.keyboard.press("Control+a")
    page.keyboard.press("Escape")
    _selects(editor)
    page.keyboard.press("Delete")
    editor.shows(7, 9)


def test_copies_land_at_the_pointer_and_cascade(editor: Editor) -> None:
    page = editor.page
    _still(editor)
    page.locator('[data-id="8"] .card-head').click()
    page.keyboard.press("Control+c")
    page.mouse.move(200, 600)
    page.keyboard.press("Control+v")
    editor.shows(8, 9)
    page.keyboard.press("Control+v")
    editor.shows(9, 9)
    first, second = _place(editor, "10"), _place(editor, "11")
    assert abs(first[0] - 200) < 40 and abs(first[1] - 600) < 60
    assert second[0] > first[0] + 8 and second[1] > first[1] + 8
    page.mouse.move(700, 620)
    editor.command("Add a note")
    editor.command("Add a note")
    editor.shows(11, 9)
    one, other = _place(editor, "12"), _place(editor, "13")
    assert abs(one[0] - 700) < 40 and other[0] > one[0] + 8


def test_pictures_as_inputs_do_not_hide_each_other(editor: Editor) -> None:
    page = editor.page
    page.fill('[aria-label="steps, 3"]', "1")
    page.keyboard.press("Control+Enter")
    page.locator(".thumb").first.wait_for()
    for nodes in (8, 9):
        page.get_by_role("button", name="Use as input").click()
        editor.shows(nodes, 9)
    assert _place(editor, "10") != _place(editor, "11")


def test_alt_and_drag_drags_the_copy(editor: Editor) -> None:
    page = editor.page
    _still(editor)
    before = _place(editor, "8")
    head = page.locator('[data-id="8"] .card-head').bounding_box()
    page.keyboard.down("Alt")
    page.mouse.move(head["x"] + 20, head["y"] + 8)
    page.mouse.down()
    page.mouse.move(head["x"] + 60, head["y"] + 120, steps=5)
    page.mouse.move(head["x"] + 90, head["y"] + 200, steps=5)
    page.mouse.up()
    page.keyboard.up("Alt")
    editor.shows(8, 11)
    _selects(editor, "10")
    assert _place(editor, "8") == before
    x, y = _place(editor, "10")
    assert abs(x - before[0] - 70) < 30 and abs(y - before[1] - 192) < 30
    page.keyboard.press("Control+z")
    editor.shows(7, 9)


def test_undoing_a_weight_selects_nothing(editor: Editor) -> None:
    page = editor.page
    box = page.locator('[aria-label="text, 6"]')
    box.fill("three black cats")
    box.press("End")
    box.press("Control+ArrowUp")
    assert box.input_value() == "three black (cats:1.05)"
    box.press("Control+z")
    assert box.input_value() == "three black cats"
    box.press("x")
    assert "three black" in box.input_value() and len(box.input_value()) == 17


def test_the_place_is_kept_per_tab_over_reloads_and_in_the_file(editor: Editor, tmp_path: Path) -> None:
    page = editor.page
    fitted = _still(editor)
    page.mouse.move(400, 400)
    page.mouse.wheel(0, -240)
    editor.until(lambda: page.evaluate(VIEW) != fitted)
    there = _still(editor)
    page.get_by_role("button", name="New workflow").click()
    page.locator(".tab.active", has_text="Untitled").wait_for()
    page.locator(".tab-name").first.click()
    editor.until(lambda: page.evaluate(VIEW) == there)
    editor.until(
        lambda: page.evaluate(
            "k => Object.keys(localStorage).some(each => each.startsWith(k) && JSON.parse(localStorage[each]).cameras[''])",
            "darkroom.doc.",
        )
    )
    editor.open(page.reload)
    assert _still(editor) == there
    with page.expect_download() as download:
        editor.command("Download the file")
    saved = Path(download.value.path()).read_text()
    ds = json.loads(saved)["extra"]["ds"]
    editor.drop("again.json", saved.encode(), "application/json")
    page.locator(".tab.active", has_text="again").wait_for()
    assert _numbers(_still(editor)) == [
        round(part, 2) for part in (ds["offset"][0] * ds["scale"], ds["offset"][1] * ds["scale"], ds["scale"])
    ]
    with page.expect_download() as download:
        editor.command("Download the file")
    assert Path(download.value.path()).read_text() == saved


def _numbers(transform: str) -> list[float]:
    """translate(1px, 2px) scale(3) -> 1, 2, 3."""
    return [
        round(float(part), 2)
        for part in transform.replace("px", "")
        .replace("translate(", "")
        .replace(") scale(", ",")
        .rstrip(")")
        .split(",")
    ]


def test_clearing_the_list_asks_and_leaves_the_gallery(editor: Editor) -> None:
    page = editor.page
    page.fill('[aria-label="steps, 3"]', "1")
    page.keyboard.press("Control+Enter")
    page.locator(".thumb").first.wait_for()
    page.locator("#tab-queue").click()
    page.locator("[data-job]").first.wait_for()
    page.get_by_role("button", name="Clear the list").click()
    dialog = page.locator("dialog[open]")
    dialog.get_by_role("button", name="Cancel").click()
    assert page.locator("[data-job]").count() > 0
    page.get_by_role("button", name="Clear the list").click()
    dialog.get_by_role("button", name="Clear the list").click()
    page.locator("[data-job]").first.wait_for(state="detached")
    page.locator("#tab-gallery").click()
    page.locator(".thumb").first.wait_for()
    editor.open(page.reload)
    page.locator(".thumb").first.wait_for()
    page.locator("#tab-queue").click()
    page.get_by_text("Nothing waits").wait_for()
    assert page.locator("[data-job]").count() == 0


def test_a_switch_shows_the_type_that_its_first_link_decides(editor: Editor) -> None:
    """And takes no link of another type."""
    page = editor.page
    switch = {"class_type": "ComfySwitchNode", "inputs": {"switch": True, "on_true": ["1", 0]}}
    graph = {
        "1": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "2": switch,
        "3": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
    }
    editor.drop("switch.json", json.dumps(graph).encode(), "application/json")
    editor.shows(3, 1)

    def types(side: str) -> list[str]:
        handles = page.locator(f'[data-id="2"] .port.{side} .socket')
        return [handles.nth(i).get_attribute("title") for i in range(handles.count())]

    editor.until(lambda: (types("in"), types("out")) == (["LATENT", "LATENT"], ["LATENT"]))
    _still(editor)
    page.locator('[data-id="3"] .port.out .socket').drag_to(page.locator('[data-id="2"] .port.in .socket').first)
    page.locator(".toast", has_text="gives IMAGE").wait_for()
    editor.shows(3, 1)
