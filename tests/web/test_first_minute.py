"""The first minute: what the model in the box can draw is said, and how another one comes in. Sweeps, reasons, and
pictures of other programs.
"""

from __future__ import annotations

import io
import json
import re
from typing import Any

import PIL.Image
import PIL.PngImagePlugin

from models.training.captions import caption
from models.training.scenes import scene
from tests.web.conftest import SOURCE, Editor

PROMPT = '[aria-label="text, 6"]'


def test_the_editor_knows_the_words_of_the_model_in_the_box() -> None:
    source = (SOURCE / "web" / "src" / "model" / "world.ts").read_text("utf-8")
    listed = re.search(r"`\n(.*?)`", source, re.S)
    signs = re.search(r"SIGNS = new Set\('(.*?)'\)", source)
    assert listed and signs
    captions = [caption(scene(0, index)) for index in range(3000)]
    words = {word for text in captions for word in re.findall(r"[a-z]+", text.lower())}
    used = {sign for text in captions for sign in re.findall(r"[\u4e00-\u9fff]", text)}
    assert words - set(listed[1].split()) == set() and used - set(signs[1]) == set()
    assert len(set(listed[1].split()) - words) < 5


def test_the_model_in_the_box_says_what_it_draws_and_what_it_has_never_heard_of(editor: Editor) -> None:
    page = editor.page
    page.locator('[data-id="4"] .field-note').click()
    dialog = page.locator("dialog[open]")
    assert "boats" in dialog.inner_text() and "models/checkpoints" in dialog.inner_text()
    page.keyboard.press("Escape")
    box = page.locator(PROMPT)
    box.fill("")
    assert "red boats" in box.get_attribute("placeholder")
    box.fill("a dragon on the sea")
    told = page.locator('[data-id="6"] .field-note.warning')
    told.wait_for()
    assert told.inner_text().endswith("dragon")
    box.fill("a boat on the sea")
    told.wait_for(state="detached")


def test_a_field_takes_several_values_and_the_cells_of_the_grid_open(editor: Editor) -> None:
    page = editor.page
    _small(editor)
    page.locator('[aria-label="CFG, 3"]').focus()
    page.keyboard.press("Alt+s")
    page.fill('[aria-label="CFG, 3: several values"]', "2..4:2")
    page.locator('[aria-label="seed, 3"]').focus()
    page.keyboard.press("Alt+s")
    page.fill('[aria-label="seed, 3: several values"]', "1..2")
    page.keyboard.press("Enter")
    with page.expect_response("**/prompt") as sent:
        page.keyboard.press("Control+Enter")
    inputs = json.loads(sent.value.request.post_data)["prompt"]["3"]["inputs"]
    assert inputs["cfg"] == {"__sweep__": [2, 4]} and inputs["seed"] == {"__sweep__": [1, 2]}
    cells = page.locator(".sweep-cell")
    _ended(editor, sent.value.json()["prompt_id"])
    cells.nth(3).wait_for()
    assert cells.count() == 4
    name = cells.nth(3).get_attribute("aria-label")
    cells.nth(3).click()
    assert page.locator(".about-shot .seed").inner_text() == "seed 2"  # the one of this cell
    cells.nth(3).dblclick()
    page.locator(".tab").nth(1).wait_for()
    seed, cfg = (page.input_value(f'[aria-label="{field}, 3"]') for field in ("seed", "CFG"))
    assert sorted(re.findall(r"\d+", name)) == sorted([seed, cfg])


def test_the_seed_of_a_cell_can_be_kept(editor: Editor) -> None:
    page = editor.page
    _small(editor)
    page.locator('[aria-label="seed, 3"]').focus()
    page.keyboard.press("Alt+s")
    page.fill('[aria-label="seed, 3: several values"]', "5..7")
    page.keyboard.press("Enter")
    with page.expect_response("**/prompt") as sent:
        page.keyboard.press("Control+Enter")
    _ended(editor, sent.value.json()["prompt_id"])
    page.locator(".sweep-cell").nth(3).wait_for(state="detached")  # the grid of another test's sweep has four
    page.locator(".sweep-cell").nth(2).click()
    page.get_by_role("button", name="Keep this seed").click()
    assert page.input_value('[aria-label="seed, 3"]') == "7"


def test_a_node_says_why_it_ran(editor: Editor) -> None:
    page = editor.page
    _small(editor)
    page.fill('[aria-label="CFG, 3"]', "3.5")
    with page.expect_response("**/prompt") as sent:
        page.keyboard.press("Control+Enter")
    _ended(editor, sent.value.json()["prompt_id"])
    page.fill('[aria-label="CFG, 3"]', "4.5")
    with page.expect_response("**/prompt") as sent:
        page.keyboard.press("Control+Enter")
    _ended(editor, sent.value.json()["prompt_id"])
    page.locator('[data-id="3"] .card-head').click()
    page.locator("#tab-help").click()
    why = page.locator(".why")
    why.get_by_text("CFG is 4.5 now, and was 3.5").wait_for()
    page.locator('[data-id="6"] .card-head').click()
    why.get_by_text("It did not have to run").wait_for()


def _ended(editor: Editor, job: str) -> None:
    done = "id => fetch(`api/jobs/${id}`).then(answer => answer.json()).then(job => job.status === 'completed')"
    editor.page.wait_for_function(done, arg=job, timeout=120_000)


def _small(editor: Editor) -> None:
    for field, value in (("steps, 3", "1"), ("width, 5", "64"), ("height, 5", "64")):
        editor.page.fill(f'[aria-label="{field}"]', value)


def _foreign() -> bytes:
    """A picture with the settings of another program."""
    about = PIL.PngImagePlugin.PngInfo()
    about.add_text(
        "parameters",
        "a lighthouse\nNegative prompt: fog\nSteps: 7, Sampler: Euler a, CFG scale: 5.5, Seed: 77, Size: 64x64",
    )
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (64, 64), (90, 90, 90)).save(buffer, "PNG", pnginfo=about)
    return buffer.getvalue()


def test_a_picture_of_another_program_asks_what_it_is_for(editor: Editor) -> None:
    page = editor.page
    editor.drop("foreign.png", _foreign(), "image/png")
    dialog = page.locator("dialog[open]")
    dialog.get_by_text("Open its settings as a workflow").click()
    page.locator(".tab.active", has_text="foreign").wait_for()
    texts: list[Any] = page.locator("textarea").evaluate_all("all => all.map(each => each.value)")
    assert {"a lighthouse", "fog"} <= set(texts)
    editor.drop("foreign.png", _foreign(), "image/png")
    before = page.locator(".card").count()
    dialog.get_by_text("Use as input image").click()
    editor.until(lambda: page.locator(".card").count() == before + 1)


def test_no_cards_of_the_first_workflow_touch(editor: Editor) -> None:
    near = """() => {
        const boxes = [...document.querySelectorAll('.card')].map(card => [card.dataset.node, card.getBoundingClientRect()])
        const apart = (a, b) => Math.max(a.left - b.right, b.left - a.right, a.top - b.bottom, b.top - a.bottom)
        return boxes.flatMap(([id, box], at) => boxes.slice(at + 1)
            .filter(([, other]) => apart(box, other) < 12).map(([other]) => [id, other]))
    }"""
    assert editor.page.evaluate(near) == []
