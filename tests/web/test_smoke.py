"""The first minutes with the editor, in a real browser against the real server."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from bench.editors import graph
from tests.web.conftest import MODEL, Editor
from tests.web.workflows import SUBGRAPH, subgraph

FIXTURES = Path(__file__).resolve().parents[2] / "web" / "tests" / "fixtures"
SEED = '[aria-label="seed, 3"]'
STEPS = '[aria-label="steps, 3"]'


def test_the_first_screen_fits(editor: Editor) -> None:
    page = editor.page
    editor.shows(7, 9)
    page.wait_for_timeout(300)
    canvas = page.locator("#canvas").bounding_box()
    boxes = [card.bounding_box() for card in page.locator(".card").all()]
    for box in boxes:
        assert box["x"] >= canvas["x"] and box["x"] + box["width"] <= canvas["x"] + canvas["width"]
        assert box["y"] >= canvas["y"] and box["y"] + box["height"] <= canvas["y"] + canvas["height"]
    for one in boxes:
        for other in boxes:
            assert one is other or not _overlap(one, other)
    assert page.locator("dialog[open]").count() == 0


TWO_THUMBS = """() => {
    const boxes = [...document.querySelectorAll('.thumb')].map(thumb => thumb.getBoundingClientRect().toJSON())
    return boxes.length > 1 && boxes[0].width > 0 && boxes[1].width > 0 && boxes.slice(0, 2)
}"""


MIDDLE_OF_LINK = """id => {
    const path = document.querySelector(`.react-flow__edge[data-id="${id}"] .react-flow__edge-path`)
    const at = path.getPointAtLength(path.getTotalLength() / 2).matrixTransform(path.getScreenCTM())
    return [at.x, at.y]
}"""


WAY_OF_LINK = "document.querySelector('.react-flow__edge[data-id=\"4\"] .react-flow__edge-path').getAttribute('d')"


STARTS = """which => [...document.querySelectorAll(which)].flatMap(path =>
    [...path.getAttribute('d').matchAll(/M(-?[0-9.]+),(-?[0-9.]+)/g)].map(at => [Number(at[1]), Number(at[2])]))"""


def test_a_picture_appears_and_its_seed_is_shown(editor: Editor) -> None:
    page = editor.page
    page.fill(STEPS, "2")
    page.fill(SEED, "18446744073709551615")
    page.keyboard.press("Control+Enter")
    page.locator('[data-id="9"] .card-picture button').wait_for()
    assert page.input_value(SEED) == "18446744073709551615"
    with page.expect_request("**/prompt") as sent:
        page.keyboard.press("Control+Enter")
    asked = json.loads(sent.value.post_data)
    seed = asked["prompt"]["3"]["inputs"]["seed"]
    assert seed != 18446744073709551615
    editor.until(lambda: page.input_value(SEED) == str(seed))  # once its picture is there
    assert asked["extra_data"]["extra_pnginfo"]["workflow"]["nodes"]
    first, second = page.wait_for_function(TWO_THUMBS).json_value()  # both at one moment: new pictures move the others
    assert not _overlap(first, second)


def test_undo_and_redo(editor: Editor) -> None:
    page = editor.page
    page.fill(SEED, "7")
    page.locator('[data-id="8"] .card-head').click()
    page.keyboard.press("Delete")
    editor.shows(6, 6)
    page.keyboard.press("Control+z")
    editor.shows(7, 9)
    page.keyboard.press("Control+z")
    assert page.input_value(SEED) == "42"
    page.keyboard.press("Control+Shift+z")
    assert page.input_value(SEED) == "7"


def test_files_come_back_as_they_were(editor: Editor) -> None:
    page = editor.page
    spaced = (FIXTURES / "odd_0.4.json").read_bytes().replace(b"[", b"[ ")
    kept = {name: (FIXTURES / name).read_bytes() for name in ("odd_0.4.json", "schema_1.json", "subgraph.json")}
    for name, content in (kept | {"spaced.json": spaced}).items():
        editor.drop(name, content, "application/json")
        page.locator(".tab.active", has_text=name.removesuffix(".json")).wait_for()
        with page.expect_download() as download:
            editor.command("Download the file")
        assert Path(download.value.path()).read_bytes() == content


def test_nothing_is_lost_by_a_reload(editor: Editor) -> None:
    page = editor.page
    page.fill(SEED, "4711")
    page.locator('[data-id="6"] .card-head').click()
    page.keyboard.press("Control+d")
    editor.shows(8, 10)
    editor.open(page.reload)
    page.locator(".card").nth(7).wait_for()
    assert page.input_value(SEED) == "4711"


def test_a_missing_link_is_blamed_at_its_input(editor: Editor) -> None:
    page = editor.page
    page.locator('[data-id="4"] .card-head').click()
    page.keyboard.press("Delete")
    page.keyboard.press("Control+Enter")
    page.locator(".trouble-item").nth(3).wait_for()
    assert page.locator('[data-id="3"] .port.problem').inner_text() == "model"
    assert all("400" in complaint for complaint in editor.complaints)
    editor.complaints.clear()  # the refusal itself


def test_a_link_into_nothing_finds_what_takes_it(editor: Editor) -> None:
    page = editor.page
    page.wait_for_timeout(300)
    socket = page.locator('[data-id="8"] [data-handleid="o:0"]').bounding_box()
    page.mouse.move(socket["x"] + 9, socket["y"] + 9)
    page.mouse.down()
    page.mouse.move(300, 640, steps=6)
    page.mouse.up()
    page.get_by_role("combobox", name="Nodes that take IMAGE").fill("preview")
    page.keyboard.press("Enter")
    editor.shows(8, 10)
    page.keyboard.press("Control+z")
    editor.shows(7, 9)


def test_a_link_gets_a_point_that_moves_and_goes(editor: Editor) -> None:
    page = editor.page
    page.wait_for_timeout(300)
    middle = page.evaluate(MIDDLE_OF_LINK, "4")
    page.mouse.move(*middle)
    page.keyboard.down("Alt")
    page.mouse.click(*middle)
    page.keyboard.up("Alt")
    dot = page.locator(".link-dot")
    dot.wait_for()
    before = page.evaluate(WAY_OF_LINK)
    box = dot.bounding_box()
    page.mouse.move(box["x"] + 8, box["y"] + 8)
    page.mouse.down()
    page.mouse.move(box["x"] + 40, box["y"] + 90, steps=4)
    page.mouse.up()
    page.wait_for_function(f"was => {WAY_OF_LINK} != was", arg=before)
    page.keyboard.press("Control+z")
    page.wait_for_function(f"was => {WAY_OF_LINK} == was", arg=before)
    page.keyboard.press("Delete")
    dot.wait_for(state="detached")
    editor.shows(7, 9)


def test_links_of_a_large_graph_are_drawn_together_from_far(editor: Editor) -> None:
    page = editor.page
    file = graph(200)
    editor.drop("large.json", json.dumps(file).encode(), "application/json")
    page.wait_for_function(f"links => ({STARTS})('.far-links path').length === links", arg=len(file["links"]))
    assert page.locator(".react-flow__edge").count() == 0
    far = page.evaluate(STARTS, ".far-links path")
    page.locator("#canvas").focus()
    page.keyboard.press("Control+0")
    page.locator(".react-flow__edge-path").first.wait_for(state="attached")
    near = page.evaluate(STARTS, ".react-flow__edge-path")
    assert near and all(min(abs(x - fx) + abs(y - fy) for fx, fy in far) < 6 for x, y in near)
    assert page.locator(".far-links").count() == 0


def test_a_subgraph_is_made_entered_changed_and_left(editor: Editor) -> None:
    page = editor.page
    page.locator('[data-id="6"] .card-head').click()
    page.locator('[data-id="7"] .card-head').click(modifiers=["Shift"])
    page.keyboard.press("Control+Shift+E")
    editor.shows(6, 8)
    page.locator(".card.subgraph .card-head").dblclick()
    editor.shows(4, 4)  # two prompts and the two ends
    page.fill('[data-id="6"] textarea', "a green star")
    page.locator(".path button").first.click()
    editor.shows(6, 8)
    with page.expect_request("**/prompt") as sent:
        page.keyboard.press("Control+Enter")
    inputs = {key: node["inputs"] for key, node in json.loads(sent.value.post_data)["prompt"].items()}
    assert inputs["10:6"] == {"text": "a green star", "clip": ["4", 1]}
    assert inputs["3"]["positive"] == ["10:6", 0]
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    editor.shows(7, 9)


def test_fields_of_inner_nodes_are_changed_on_the_instance_that_shows_them(editor: Editor) -> None:
    page = editor.page
    workflow = subgraph(False, [])
    inner = workflow["definitions"]["subgraphs"][0]["nodes"][0]["id"]
    instances = [str(node["id"]) for node in workflow["nodes"] if node["type"] == SUBGRAPH]
    for node in workflow["nodes"]:
        if node["type"] == SUBGRAPH:
            node["properties"]["proxyWidgets"] = [[str(inner), "text"]]
        if node["type"] == "CheckpointLoaderSimple":
            node["widgets_values"] = [MODEL]
    editor.drop("proxies.json", json.dumps(workflow).encode(), "application/json")
    page.locator(".tab.active", has_text="proxies").wait_for()
    one, other = (page.locator(f'[data-id="{number}"] textarea') for number in instances)
    before = one.input_value()
    one.fill("a green star")
    assert other.input_value() == "a green star"  # the value is the subgraph's
    with page.expect_request("**/prompt") as sent:
        page.keyboard.press("Control+Enter")
    prompt = json.loads(sent.value.post_data)["prompt"]
    assert [prompt[f"{number}:{inner}"]["inputs"]["text"] for number in instances] == ["a green star"] * 2
    page.locator(".canvas").focus()
    page.keyboard.press("Control+z")
    page.wait_for_function("was => document.querySelector('.subgraph textarea').value === was", arg=before)


def test_what_the_server_would_refuse_is_shown_before_anything_runs(editor: Editor) -> None:
    """The editor's list is old: the server no longer has a checkpoint that it offers."""
    page = editor.page

    def offer(route: Any) -> None:
        types = route.fetch().json()
        types["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0].append("gone.safetensors")
        route.fulfill(json=types)

    page.route("**/object_info", offer)
    editor.open(page.reload)
    page.get_by_role("combobox", name="checkpoint, 4").click()
    page.get_by_role("combobox").last.fill("gone")
    page.keyboard.press("Enter")
    page.locator('[data-id="4"] .field-problem', has_text="gone.safetensors").wait_for()
    page.keyboard.press("Control+z")
    page.locator(".field-problem").wait_for(state="detached")


def _overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    across = one["x"] < other["x"] + other["width"] and other["x"] < one["x"] + one["width"]
    down = one["y"] < other["y"] + other["height"] and other["y"] < one["y"] + one["height"]
    return across and down


def test_a_run_that_ends_before_its_request_is_answered_is_shown(editor: Editor, server: str) -> None:
    page = editor.page

    def late(route: Any) -> None:
        answer = route.fetch()
        job = f"{server}api/jobs/{answer.json()['prompt_id']}"
        while page.request.get(job).json()["status"] != "completed":
            time.sleep(0.05)
        time.sleep(0.2)  # for what is told of it to be there before the answer
        route.fulfill(response=answer)

    page.route("**/prompt", late)
    page.locator('[data-id="3"] .value').nth(1).fill("1")
    with page.expect_response("**/prompt"):
        page.keyboard.press("Control+Enter")
    page.locator('[data-id="9"] .card-picture img').wait_for()
