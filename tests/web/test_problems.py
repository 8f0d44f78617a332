"""What is missing, what is in the way, and where a link goes: said once, in words, and gone with its cause."""

from __future__ import annotations

import json
from typing import Any

from tests.web.conftest import MODEL, Editor
from tests.web.test_hands import _still


def _file(copies: int) -> dict[str, Any]:
    """Many nodes of types that nobody here knows, and loaders of a file that is not here."""
    nodes: list[dict[str, Any]] = []
    shape: dict[str, Any] = {"size": [240, 60], "flags": {}, "order": 0, "mode": 0, "inputs": [], "outputs": []}
    for _ in range(copies):
        for kind, pack in (("UpscaleWithMagic", "magic-pack"), ("FaceWithMagic", "magic-pack"), ("Lonely", "")):
            nodes.append({"type": kind, "properties": {"cnr_id": pack} if pack else {}, "widgets_values": []})
        models = [{"name": "dream.safetensors", "url": "https://example.org/dream", "directory": "checkpoints"}]
        nodes.append(
            {
                "type": "CheckpointLoaderSimple",
                "properties": {"models": models},
                "widgets_values": ["sd/dream.safetensors"],
            }
        )
    placed = [shape | node | {"id": at + 1, "pos": [300 * (at % 8), 120 * (at // 8)]} for at, node in enumerate(nodes)]
    return {"last_node_id": len(placed), "last_link_id": 0, "nodes": placed, "links": [], "groups": [], "version": 0.4}


def test_a_file_full_of_what_is_not_here_opens_with_one_summary(editor: Editor) -> None:
    page = editor.page
    editor.drop("magic.json", json.dumps(_file(15)).encode(), "application/json")
    page.locator(".missing").first.wait_for()
    assert page.locator(".missing").count() == 3
    pack = page.get_by_role("group", name="magic-pack")
    assert pack.locator(".missing-row").all_inner_texts() == ["FaceWithMagic\n× 15", "UpscaleWithMagic\n× 15"]
    assert page.locator("#tab-problems .count").inner_text() == "4"
    model = page.get_by_role("group", name="sd/dream.safetensors")
    assert model.get_by_role("link").get_attribute("href") == "https://example.org/dream"
    button, side = (
        model.get_by_role("button", name="Replace everywhere").bounding_box(),
        page.locator(".side").bounding_box(),
    )
    assert button["x"] + button["width"] <= side["x"] + side["width"]
    model.get_by_role("combobox").select_option(MODEL)
    model.get_by_role("button", name="Replace everywhere").click()
    model.wait_for(state="detached")
    assert page.locator("#tab-problems .count").inner_text() == "3"
    page.locator("#canvas").focus()
    page.keyboard.press("Control+z")
    model.wait_for()


def test_problems_go_with_their_cause(editor: Editor) -> None:
    page = editor.page
    page.locator('[data-id="8"] .card-head').click()
    page.keyboard.press("Delete")
    editor.shows(6, 6)
    page.locator("#canvas").focus()
    page.keyboard.press("Control+Enter")
    page.locator('[data-id="9"] .port.problem').wait_for()
    page.locator('[data-id="9"] .card-head').click()
    page.keyboard.press("Control+b")  # what is bypassed is in nobody's way
    page.locator('[data-id="9"] .port.problem').wait_for(state="detached")
    page.locator("#tab-problems").click()
    page.get_by_text("No problems").wait_for()
    assert all("400" in complaint for complaint in editor.complaints)
    editor.complaints.clear()  # the refusal itself


def test_a_link_onto_a_card_whose_inputs_are_taken_asks_which_goes(editor: Editor) -> None:
    page = editor.page
    _still(editor)
    page.locator('[data-id="6"] .card-head').click()
    page.keyboard.press("Control+d")
    editor.shows(8, 10)
    before = page.evaluate(
        "() => [...document.querySelectorAll('.react-flow__edge')].map(each => each.dataset.id).sort()"
    )
    socket = page.locator('[data-id="10"] [data-handleid="o:0"]').bounding_box()
    target = page.locator('[data-id="3"] .card-head').bounding_box()
    page.mouse.move(socket["x"] + 9, socket["y"] + 9)
    page.mouse.down()
    page.mouse.move(target["x"] + 60, target["y"] + 12, steps=8)
    page.mouse.up()
    choices = page.locator(".palette li")
    choices.nth(1).wait_for()
    assert [text.split("\n")[0] for text in choices.all_inner_texts()] == ["positive", "negative"]
    now = page.evaluate("() => [...document.querySelectorAll('.react-flow__edge')].map(each => each.dataset.id).sort()")
    assert now == before
    choices.nth(1).click()
    with page.expect_request("**/prompt") as sent:
        page.keyboard.press("Control+Enter")
    inputs = json.loads(sent.value.post_data)["prompt"]["3"]["inputs"]
    assert inputs["positive"] == ["6", 0] and inputs["negative"] == ["10", 0]


def test_what_the_network_says_is_said_in_words(editor: Editor) -> None:
    page = editor.page
    page.route("**/api/userdata/**", lambda route: route.abort())
    page.keyboard.press("Control+Shift+s")
    page.get_by_label("Name", exact=True).fill("mine")
    page.keyboard.press("Enter")
    toast = page.locator(".toast.error")
    toast.wait_for()
    assert "The server does not answer" in toast.inner_text()
    assert all("Failed to load resource" in complaint for complaint in editor.complaints)
    editor.complaints.clear()  # the cut connection itself


def test_undo_stays_where_it_is_while_something_runs(editor: Editor) -> None:
    page = editor.page
    page.fill('[aria-label="steps, 3"]', "3")
    undo = page.get_by_role("button", name="Undo")
    before = undo.bounding_box()
    page.keyboard.press("Control+Enter")
    while not page.locator(".thumb").count():
        assert undo.bounding_box() == before


def test_many_tabs_scroll_to_the_active_one_are_listed_and_moved(editor: Editor) -> None:
    page = editor.page
    for _ in range(8):
        editor.command("New workflow")
    page.locator(".tab").nth(8).wait_for()
    inside = """() => {
        const [box, tab] = ['.tabs', '.tab.active'].map(which => document.querySelector(which).getBoundingClientRect())
        return tab.left >= box.left - 1 && tab.right <= box.right + 1
    }"""
    page.wait_for_function(inside)
    page.get_by_role("button", name="All open workflows").click()
    page.get_by_role("combobox", name="Go to an open workflow").fill("text to")
    page.keyboard.press("Enter")
    page.locator(".tab.active", has_text="Text to image").wait_for()
    page.wait_for_function(inside)
    page.locator(".tab.active .tab-name").focus()
    page.keyboard.press("Alt+ArrowRight")
    page.keyboard.press("Alt+ArrowRight")
    order = "() => [...document.querySelectorAll('.tab-name')].findIndex(each => each.textContent === 'Text to image')"
    page.wait_for_function(f"() => ({order})() === 2")
    page.locator(".tab").nth(2).drag_to(page.locator(".tab").first, target_position={"x": 4, "y": 10})
    page.wait_for_function(f"() => ({order})() === 0")
