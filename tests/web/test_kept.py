"""Nothing leaves the machine, a killed browser loses nothing, pictures give their workflows back."""

from __future__ import annotations

import gzip
import io
import json
import re
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import PIL.Image
import psutil
from PIL.PngImagePlugin import PngInfo

from tests.web.conftest import Editor, open_editor, open_profile

SEED = '[aria-label="seed, 3"]'
MOST_BYTES = 250_000
MOST_REQUESTS = 12
KILLED_AFTER_MS = 2000
AFTER_MS = 300
"""Several times as long as the page waits before it asks again."""
STATUS = json.dumps({"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "me"}})
SOURCE = Path(__file__).resolve().parents[2]


def test_the_first_load_is_small_and_asks_nobody_else(browser: Any, server: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []

    def heard(request: Any) -> None:
        if not re.search(r"/view\?|/api/jobs/", request.url):  # of earlier jobs, of which a clone has none
            asked.append(request.url)

    page.on("request", heard)
    page.goto(server)
    page.locator(".card").nth(6).wait_for()
    context.close()
    assert len(asked) <= MOST_REQUESTS, asked
    assert all(url.startswith(server) for url in asked)
    files = [url for url in asked if re.search(r"\.(js|css)$", url)]
    sizes = {url: len(gzip.compress(read(url), 6)) for url in files}
    assert files and sum(sizes.values()) <= MOST_BYTES, sizes


def test_the_first_load_asks_for_jobs_and_queue_once(browser: Any, server: str) -> None:
    """The first message of a connection says that from now on nothing is missed: what is asked then need not be asked again."""
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(server).partition("?")[0]))
    page.route_web_socket("**/ws?*", lambda socket: socket.send(STATUS))  # nobody tells it of jobs that other tests run
    with page.expect_response("**/queue"), page.expect_response("**/jobs?*"):
        page.goto(server)
    page.locator(".card").nth(6).wait_for()
    page.wait_for_timeout(AFTER_MS)
    context.close()
    assert (asked.count("api/queue"), asked.count("api/jobs")) == (1, 1)


def read(url: str) -> bytes:
    """The body of an answer."""
    with urllib.request.urlopen(url) as answer:
        return bytes(answer.read())


def test_the_page_forbids_itself_foreign_code(browser: Any, server: str) -> None:
    """The policy holds while the editor works: no eval, nothing from elsewhere, and it says so nowhere in the console."""
    with open_editor(browser, server) as editor:
        page = editor.page
        policy = page.locator('meta[http-equiv="Content-Security-Policy"]').get_attribute("content")
        assert "default-src 'self'" in policy and "unsafe-eval" not in policy
        page.context.set_offline(True)  # the cable is out
        page.fill(SEED, "5")
        page.locator('[data-id="8"] .card-head').click()
        page.keyboard.press("Control+d")
        editor.shows(8, 11)
        page.context.set_offline(False)
        assert all("DISCONNECTED" in each for each in editor.complaints)  # asking for the queue, in vain
        editor.complaints.clear()


def test_pictures_give_their_workflow_back_or_become_an_input(editor: Editor, server: str) -> None:
    page = editor.page
    graph = json.loads((SOURCE / "workflows" / "text_to_image.json").read_text())
    graph["3"]["inputs"] |= {"seed": 777, "steps": 1}
    for name, keys in (("comfy.png", {"prompt": json.dumps(graph)}), ("plain.png", {})):
        editor.drop(name, picture(keys), "image/png")
        if keys:
            page.get_by_role("button", name="Open its workflow").click()
            page.locator(".tab.active", has_text="comfy").wait_for()
            assert page.input_value(SEED) == "777"
        else:
            page.locator(".field.pick").wait_for()
    page.keyboard.press("Control+Enter")
    drawn = page.locator('[data-id="9"] .card-picture img:not([src^="blob:"])')  # which a preview's is
    drawn.wait_for()
    made = drawn.get_attribute("src")
    editor.drop("ours.png", read(made), "image/png")
    page.get_by_role("button", name="Open its workflow").click()
    page.locator(".tab.active", has_text="ours").wait_for()
    assert page.input_value(SEED) == "777"
    assert page.locator(".field.pick").count() == 1


def picture(texts: dict[str, str]) -> bytes:
    """A PNG with texts in it, as ComfyUI puts them there."""
    info, buffer = PngInfo(), io.BytesIO()
    for name, text in texts.items():
        info.add_text(name, text)
    PIL.Image.new("RGB", (32, 32), (200, 30, 30)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def test_a_browser_that_is_killed_has_lost_nothing(playwright: Any, server: str, tmp_path: Path) -> None:
    """Two workflows, one changed; the browser is killed two seconds later, and all is there again."""
    context = open_profile(playwright, tmp_path)
    page = context.new_page()
    page.goto(server)
    page.locator(".card").nth(6).wait_for()
    page.get_by_role("button", name="New workflow").click()
    page.locator(".card").first.wait_for(state="detached")
    page.locator(".tab-name").first.click()
    page.fill(SEED, "4711")
    page.wait_for_timeout(KILLED_AFTER_MS)
    for process in psutil.process_iter(["cmdline"]):
        if any(str(tmp_path) in part for part in process.info["cmdline"] or ()):
            process.kill()
    with suppress(Exception):  # the driver has lost its browser
        context.close()
    again = open_profile(playwright, tmp_path)
    page = again.new_page()
    page.goto(server)
    page.locator(".tab").nth(1).wait_for()
    page.locator(".tab-name", has_text="Text to image").click()
    assert page.input_value(SEED) == "4711"
    page.locator(".tab.active .dot").wait_for()
    again.close()
