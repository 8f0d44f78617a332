"""Masks that are painted, and pictures that are compared, to the pixel."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import re
import urllib.request
from typing import Any

import PIL.Image

from tests.web.conftest import SOURCE, Editor
from tests.web.test_queue import submit

STROKES = 20
ALPHA = """() => {
    const sheet = document.querySelector('.mask-stack canvas')
    const { data } = sheet.getContext('2d').getImageData(0, 0, sheet.width, sheet.height)
    return Array.from({ length: data.length / 4 }, (_, at) => data[4 * at + 3])
}"""


def gradient(width: int, height: int) -> bytes:
    """A picture in which every pixel differs from its neighbours."""
    picture = PIL.Image.new("RGB", (width, height))
    picture.putdata([(x * 3 % 256, y * 5 % 256, (x + y) % 256) for y in range(height) for x in range(width)])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def open_mask(page: Any) -> list[int]:
    """Open the mask editor of the only picture field, and give what its mask holds."""
    page.get_by_role("button", name="Edit mask").click()
    page.locator(".mask-stack canvas").wait_for()
    page.wait_for_function("() => document.querySelector('.mask-stack img').complete")
    return list(page.evaluate(ALPHA))


def test_twenty_strokes_go_back_and_forth_and_are_stored_to_the_pixel(editor: Editor, server: str) -> None:
    page = editor.page
    editor.drop("strokes.png", gradient(120, 80), "image/png")
    page.locator(".field.pick").wait_for()
    before = open_mask(page)
    assert set(before) == {0}
    room = page.locator(".mask-stack img").bounding_box()
    for stroke in range(STROKES):
        x, y = room["x"] + (stroke % 5) * room["width"] / 5 + 30, room["y"] + (stroke // 5) * room["height"] / 4 + 20
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 40, y + 25, steps=3)
        page.mouse.up()
    painted = page.evaluate(ALPHA)
    assert max(painted) == 255 and min(painted) == 0
    for _ in range(STROKES):
        page.keyboard.press("Control+z")
    assert page.evaluate(ALPHA) == before
    assert page.get_by_role("button", name="Undo").last.is_disabled()
    for _ in range(STROKES):
        page.keyboard.press("Control+Shift+z")
    assert page.evaluate(ALPHA) == painted
    page.keyboard.press("Control+s")
    page.locator(".mask-stack").wait_for(state="detached")
    value = page.get_by_role("combobox", name="image, 10").get_attribute("value")
    assert value.startswith("strokes-mask")
    with urllib.request.urlopen(f"{server}view?type=input&filename={value.replace(' ', '%20')}") as answer:
        stored = PIL.Image.open(io.BytesIO(answer.read())).convert("RGBA")
    ground = PIL.Image.open(io.BytesIO(gradient(120, 80)))
    assert stored.convert("RGB").tobytes() == ground.tobytes()
    assert [255 - alpha for alpha in stored.getchannel("A").tobytes()] == painted
    assert open_mask(page) == painted
    only_our_own_reading(editor)


def test_a_dropped_picture_is_a_card_once_the_server_has_it(editor: Editor) -> None:
    page = editor.page
    held: list[Any] = []
    page.route("**/upload/image", lambda route: held.append(route))
    editor.drop("late.png", gradient(64, 64), "image/png")
    editor.until(lambda: len(held) == 1)
    assert page.locator(".field.pick").count() == 0  # no card shows another picture meanwhile
    held[0].continue_()
    page.locator(".field.pick").wait_for()
    assert page.get_by_role("combobox", name="image, 10").get_attribute("value").startswith("late")
    page.keyboard.press("Control+z")  # one step, like any card
    page.locator(".field.pick").wait_for(state="detached")


def test_a_mask_is_painted_with_keys_alone(editor: Editor) -> None:
    page = editor.page
    editor.drop("keys.png", gradient(64, 64), "image/png")
    page.locator(".field.pick").wait_for()
    open_mask(page)
    for key in (" ", "ArrowRight", "ArrowRight", "ArrowDown", " "):
        page.keyboard.press(key)
    assert max(page.evaluate(ALPHA)) == 255
    page.keyboard.press("Escape")  # it asks before it throws the strokes away
    page.locator(".mask [role=alert]").wait_for()
    page.keyboard.press("Control+z")
    page.keyboard.press("Escape")
    page.locator(".mask").wait_for(state="detached")
    only_our_own_reading(editor)


def only_our_own_reading(editor: Editor) -> None:
    """The browser remarks that the test reads the canvas often; nothing else may be wrong."""
    assert all("getImageData" in each for each in editor.complaints)
    editor.complaints.clear()


def test_compared_pictures_lie_on_each_other_to_the_pixel(editor: Editor, server: str) -> None:
    page = editor.page
    for job in [submit(server, seed) for seed in (11, 12)]:
        page.evaluate(DONE, job)
    first, second = made_by(page, 2)
    page.locator(f'.thumb[title="{first}"]').wait_for()
    page.locator(
        f'.thumb[title="{second}"]'
    ).click()  # it is laid over the one before it, not over those of other tests
    page.get_by_role("button", name="Compare", exact=True).click()
    boxes = "() => [...document.querySelectorAll('.compare-frame img')].map(each => JSON.stringify(each.getBoundingClientRect()))"
    page.wait_for_function(f"() => {{ const all = ({boxes})(); return all.length === 2 && all[0] === all[1] }}")
    slider = page.get_by_role("slider")
    slider.fill("100")
    only_a = picture_of(page)
    slider.fill("0")
    only_b = picture_of(page)
    assert only_a != only_b
    slider.fill("50")
    assert picture_of(page) not in (only_a, only_b)
    page.get_by_role("button", name="A or B").click()
    page.get_by_role("button", name="Shows A").click()
    page.get_by_role("button", name="Shows B").wait_for()
    page.get_by_role("button", name="Swap").click()
    page.get_by_role("button", name="Slider").click()
    page.get_by_role("slider").fill("0")
    assert picture_of(page) == only_a, "B is what A was"
    page.keyboard.press("Escape")
    page.locator(".compare").wait_for(state="detached")


def made_by(page: Any, count: int) -> list[str]:
    """The names of the newest pictures, the oldest of them first."""
    names = page.evaluate(
        "n => fetch(`api/jobs?limit=${n}`).then(answer => answer.json()).then(page => page.jobs.map(job => job.preview_output.filename))",
        count,
    )
    return list(reversed(names))


def picture_of(page: Any) -> str:
    """What the middle of the compared pictures looks like, without the labels and the split line."""
    box = page.locator(".compare-frame").bounding_box()
    clip = {"x": box["x"] + 60, "y": box["y"] + 60, "width": box["width"] - 120, "height": box["height"] - 160}
    return hashlib.sha256(page.screenshot(clip=clip)).hexdigest()


def test_keeping_the_seed_of_a_picture_gives_the_same_picture_again(editor: Editor) -> None:
    page = editor.page
    page.fill('[aria-label="steps, 3"]', "1")
    page.fill('[aria-label="seed, 3"]', "18446744073709551615")
    made = []
    for _ in range(2):
        with page.expect_response("**/prompt") as sent:
            page.keyboard.press("Control+Enter")
        made.append(json.loads(sent.value.text())["prompt_id"])
        page.evaluate(DONE, made[-1])
    editor.until(lambda: page.input_value('[aria-label="seed, 3"]') != "18446744073709551615")
    first, second = (page.evaluate(HASH, job) for job in made)
    assert first != second
    page.locator(".thumb").nth(1).click()
    page.locator(".about-shot .seed", has_text="18446744073709551615").wait_for()
    page.get_by_role("button", name="Keep this seed").click()
    assert page.input_value('[aria-label="seed, 3"]') == "18446744073709551615"
    with page.expect_response("**/prompt") as sent:
        page.keyboard.press("Control+Enter")
    again = json.loads(sent.value.text())["prompt_id"]
    page.evaluate(DONE, again)
    assert page.evaluate(HASH, again) == first


DONE = """async id => {
    while ((await (await fetch(`api/jobs/${id}`)).json()).status !== 'completed') await new Promise(go => setTimeout(go, 50))
}"""
HASH = """async id => {
    const job = await (await fetch(`api/jobs/${id}`)).json()
    if (!job.preview_output) throw new Error(`no picture: ${JSON.stringify(job)}`)
    const { filename, subfolder, type } = job.preview_output
    const bytes = await (await fetch(`api/view?${new URLSearchParams({ filename, subfolder, type })}`)).arrayBuffer()
    return [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))].join()
}"""


def test_what_a_node_has_measured_is_shown_at_it(editor: Editor) -> None:
    expect = importlib.import_module("playwright.sync_api").expect
    example = SOURCE / "workflows" / "there_and_back.json"
    editor.drop(example.name, example.read_bytes(), "application/json")
    editor.shows(nodes=11, links=17)
    editor.page.keyboard.press("Control+Enter")
    shown = editor.page.locator(".card-text")
    expect(shown).to_have_text(re.compile(r"PSNR \d+\.\d\d dB, SSIM -?0\.\d{4}"), timeout=60_000)
