"""What makes people trust an editor: nothing is lost, undo is exact, refusals say why, seeds are what they say."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.web.conftest import Editor

pytestmark = pytest.mark.acceptance
SEED = '[aria-label="seed, 3"]'
SLOTS = "Object.entries(localStorage).filter(([key]) => key.startsWith('darkroom.doc.')).map(([, text]) => JSON.parse(text).file)"


def download(editor: Editor) -> bytes:
    """The open workflow as a file."""
    with editor.page.expect_download() as file:
        editor.command("Download the file")
    return Path(file.value.path()).read_bytes()


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag with the mouse."""
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=8)
    page.mouse.up()


def middle(page: Any, selector: str) -> tuple[float, float]:
    """The middle of something on the page."""
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_mouse_and_keys_are_undone_alike_to_the_last_byte(editor: Editor) -> None:
    page = editor.page
    page.wait_for_timeout(300)
    start = download(editor)
    x, y = middle(page, '[data-id="3"] .card-head')
    drag(page, (x, y), (x + 40, y - 90))
    page.locator('[data-node="3"]').focus()
    for _ in range(3):
        page.keyboard.press("Alt+ArrowRight")
    page.wait_for_timeout(1100)  # moves by keys within a second are one step
    page.keyboard.press("Alt+ArrowDown")
    page.locator('[data-id="8"] .card-head').click()
    page.keyboard.press("Control+b")
    page.keyboard.press("Control+d")
    page.fill('[aria-label="CFG, 3"]', "7.5")
    end = download(editor)
    assert end != start
    for _ in range(6):
        page.locator("#canvas").focus()
        page.keyboard.press("Control+z")
    assert download(editor) == start
    for _ in range(6):
        page.locator("#canvas").focus()
        page.keyboard.press("Control+Shift+z")
    assert download(editor) == end


def test_a_killed_browser_loses_nothing(editor: Editor) -> None:
    page = editor.page
    page.fill(SEED, "123")
    page.wait_for_timeout(600)
    assert [file["nodes"][-1] for file in page.evaluate(SLOTS)]
    seeds = [node["widgets_values"][0] for file in page.evaluate(SLOTS) for node in file["nodes"] if node["id"] == 3]
    assert seeds == [123]  # written without leaving the page


def test_two_windows_do_not_overwrite_each_other(editor: Editor, browser: Any, server: str) -> None:
    page = editor.page
    page.keyboard.press("Control+Shift+S")
    page.get_by_label("Name", exact=True).fill("shared")
    page.keyboard.press("Enter")
    page.locator(".tab.active", has_text="shared").wait_for()
    page.wait_for_timeout(300)
    other = page.context.new_page()
    other.set_default_timeout(20_000)
    other.goto(server)
    other.locator(".card").nth(6).wait_for()
    other.locator("#canvas").focus()
    other.keyboard.press("w")
    other.get_by_text("shared", exact=True).last.click()
    other.locator(".tab.active", has_text="shared").wait_for()
    other.fill(SEED, "1")
    other.keyboard.press("Control+s")
    other.locator(".tab.active .dot").wait_for(state="detached")
    page.bring_to_front()
    page.fill(SEED, "2")
    page.keyboard.press("Control+s")
    page.locator(".toast.error").wait_for()
    with urllib.request.urlopen(f"{server}api/userdata/workflows%2Fshared.json") as answer:
        stored = json.load(answer)
    assert next(node for node in stored["nodes"] if node["id"] == 3)["widgets_values"][0] == 1


def test_opening_never_replaces_what_is_open(editor: Editor) -> None:
    page = editor.page
    page.fill(SEED, "99")
    file = (Path(__file__).resolve().parents[2] / "web/tests/fixtures/everything.json").read_bytes()
    editor.drop("another.json", file, "application/json")
    page.locator(".tab.active", has_text="another").wait_for()
    assert page.locator(".tab").count() == 2
    page.locator(".tab-name", has_text="Text to image").click()
    assert page.input_value(SEED) == "99"


def test_odd_values_reach_the_file_and_the_server(editor: Editor) -> None:
    page = editor.page
    workflow = json.loads(download(editor))
    workflow["unheard"] = {"of": [1]}
    for node in workflow["nodes"]:
        node["unheard"] = node["id"]
        if node["id"] == 3:
            node["widgets_values"][0] = 18446744073709551615
    text = json.dumps(workflow, separators=(",", ":")).replace('"cfg"', '"cfg"').replace(",20,4,", ",20,8.0,")
    assert ",8.0," in text
    editor.drop("odd.json", text.encode(), "application/json")
    page.locator(".tab.active", has_text="odd").wait_for()
    assert download(editor).decode() == text
    with page.expect_request("**/prompt") as sent:
        page.keyboard.press("Control+Enter")
    assert '"seed":18446744073709551615' in sent.value.post_data and '"cfg":8.0' in sent.value.post_data


def test_a_refused_link_says_why(editor: Editor) -> None:
    page = editor.page
    page.wait_for_timeout(300)
    drag(
        page,
        middle(page, '[data-id="4"] [data-handleid="o:2"]'),
        middle(page, '[data-id="3"] [data-handleid="i:model"]'),
    )
    page.locator(".toast.error").wait_for(timeout=1000)
    said = page.locator(".toast.error").inner_text()
    assert "VAE" in said and "MODEL" in said
    assert page.locator('[role="status"]').inner_text() == said
    editor.shows(7, 9)


def test_fitting_sockets_light_up(editor: Editor) -> None:
    page = editor.page
    page.wait_for_timeout(300)
    page.mouse.move(*middle(page, '[data-id="6"] [data-handleid="o:0"]'))
    page.mouse.down()
    page.mouse.move(500, 600, steps=3)
    page.locator('[data-id="3"] [data-handleid="i:positive"].yes').wait_for()
    assert page.locator('[data-id="3"] [data-handleid="i:model"].no').count() == 1
    page.mouse.up()


def test_nodes_go_from_window_to_window_as_text(editor: Editor, server: str) -> None:
    page = editor.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator('[data-id="3"] .card-head').click()
    page.locator('[data-id="8"] .card-head').click(modifiers=["Shift"])
    page.keyboard.press("Control+c")
    text = page.evaluate("() => navigator.clipboard.readText()")
    assert [node["id"] for node in json.loads(text)["nodes"]] == [3, 8]
    other = page.context.new_page()
    other.set_default_timeout(20_000)
    other.goto(server)
    other.locator(".card").nth(6).wait_for()
    other.locator("#canvas").focus()
    other.keyboard.press("Control+v")
    other.locator(".card").nth(8).wait_for()
    assert other.locator(".react-flow__edge").count() == 10
    other.keyboard.press("Control+z")
    other.keyboard.press("Control+Shift+v")
    other.locator(".react-flow__edge").nth(14).wait_for()


def test_the_seed_on_screen_makes_the_picture_again(editor: Editor, server: str) -> None:
    page = editor.page
    for field, value in (("steps, 3", "1"), ("width, 5", "64"), ("height, 5", "64")):
        page.fill(f'[aria-label="{field}"]', value)
    pictures = []
    for _ in range(2):
        with page.expect_response("**/prompt") as answer:
            page.keyboard.press("Control+Enter")
        pictures.append(picture_of(server, answer.value.json()["prompt_id"]))
    editor.until(lambda: page.input_value(SEED) != "42")  # the second picture is there
    seed = page.input_value(SEED)
    page.get_by_label("seed: after a run").select_option("fixed")
    page.fill('[aria-label="file name prefix, 9"]', "again")  # so that it is saved once more
    with page.expect_response("**/prompt") as answer:
        page.keyboard.press("Control+Enter")
    again = picture_of(server, answer.value.json()["prompt_id"])
    assert page.input_value(SEED) == seed
    assert pictures[0] != pictures[1] == again


def picture_of(server: str, job: str) -> str:
    """The digest of the pixels that a job has made; it waits for them."""
    import io
    import time

    from PIL import Image

    for _ in range(600):
        with urllib.request.urlopen(f"{server}api/jobs/{job}") as answer:
            record = json.load(answer)
        if record["status"] == "completed":
            break
        time.sleep(0.1)
    shown = next(iter(record["outputs"].values()))["images"][0]
    query = f"filename={shown['filename']}&subfolder={shown['subfolder']}&type={shown['type']}"
    with urllib.request.urlopen(f"{server}api/view?{query}") as answer:
        return hashlib.sha256(Image.open(io.BytesIO(answer.read())).tobytes()).hexdigest()


def test_a_definition_that_grew_in_the_middle_shifts_nothing_silently(editor: Editor) -> None:
    page = editor.page
    with_names = json.loads(download(editor))
    for node in with_names["nodes"]:
        if node["id"] == 3:
            names = ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise")
            values = [node["widgets_values"][0], *node["widgets_values"][2:]]
            node["widgets_values_named"] = dict(zip(names, values, strict=True))
    plain = download(editor)

    def grown(route: Any) -> None:
        types = route.fetch().json()
        sampler = types["KSampler"]
        sampler["input"]["required"] = {"added": ["STRING", {}]} | sampler["input"]["required"]
        sampler["input_order"]["required"] = ["added", *sampler["input_order"]["required"]]
        route.fulfill(json=types)

    page.route("**/object_info", grown)
    editor.open(page.reload)
    editor.drop("named.json", json.dumps(with_names).encode(), "application/json")
    page.locator(".tab.active", has_text="named").wait_for()
    assert page.input_value('[aria-label="steps, 3"]') == "20"
    editor.drop("plain.json", plain, "application/json")
    page.locator(".tab.active", has_text="plain").wait_for()
    page.locator('[data-id="3"] .card-notice.bad').wait_for()


def test_a_hundred_runs_with_previews_leave_no_heap_behind(editor: Editor, server: str) -> None:
    page = editor.page
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def heap() -> float:
        session.send("HeapProfiler.collectGarbage")
        metrics = session.send("Performance.getMetrics")["metrics"]
        return float(next(each["value"] for each in metrics if each["name"] == "JSHeapUsedSize")) / 1e6

    page.fill('[aria-label="steps, 3"]', "2")
    page.fill(".batch", "10")
    before = heap()
    for _ in range(10):
        page.locator("#run").click()
        page.wait_for_function("() => !document.querySelector('.progress-line')", timeout=120_000)
        page.wait_for_function(
            "() => fetch('api/queue').then(a => a.json()).then(q => !q.queue_pending.length && !q.queue_running.length)",
            timeout=180_000,
        )
    assert heap() - before < 20
