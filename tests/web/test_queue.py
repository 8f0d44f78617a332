"""The queue in the user's hands: search, order, pause, cancel, each in two actions or fewer and by keyboard."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.web.conftest import THREE_FRAMES, Editor

WORKFLOW = Path(__file__).resolve().parents[2] / "workflows" / "text_to_image.json"
ROWS = "[aria-label='Waiting'] .job"
EMPTY = """async () => {
    while ((await (await fetch('api/queue')).json()).queue_pending.length) await new Promise(go => setTimeout(go, 50))
}"""
ORDER = "() => [...document.querySelectorAll(\"[aria-label='Waiting'] .job\")].map(row => row.dataset.job)"

WATCH = f"""() => {{
    window.seen = []
    new MutationObserver(() => window.seen.push(({ORDER})())).observe(document.body, {{ childList: true, subtree: true }})
}}"""


def post(server: str, route: str, body: object) -> Any:
    """Send JSON to the server."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{server}api/{route}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def submit(server: str, seed: int, words: str = "a red circle") -> str:
    """Queue the default workflow, made small."""
    prompt = json.loads(WORKFLOW.read_text())
    prompt["3"]["inputs"] |= {"seed": seed, "steps": 1}
    prompt["6"]["inputs"]["text"] = words
    return str(post(server, "prompt", {"prompt": prompt})["prompt_id"])


@pytest.fixture
def paused(server: str) -> Iterator[str]:
    """The server with a queue that stands still, and an empty one afterwards."""
    post(server, "queue/pause", {})
    yield server
    post(server, "queue", {"clear": True})
    post(server, "queue/resume", {})


def test_a_hundred_jobs_are_cancelled_moved_and_cleared(editor: Editor, paused: str) -> None:
    page = editor.page
    ids = [submit(paused, seed) for seed in range(100)]
    page.keyboard.press("q")
    page.wait_for_function(f"() => document.querySelectorAll({json.dumps(ROWS)}).length === 100")
    assert page.evaluate(ORDER) == ids
    page.locator(ROWS).first.focus()
    page.keyboard.press("End")
    page.keyboard.press("Alt+Home")  # the last one to the front: two keys
    page.wait_for_function(f"id => ({ORDER})()[0] === id", arg=ids[-1])
    page.wait_for_function("id => document.activeElement.dataset.job === id", arg=ids[-1])
    page.keyboard.press("Alt+ArrowDown")
    page.wait_for_function(f"id => ({ORDER})()[1] === id", arg=ids[-1])
    page.keyboard.press("Delete")  # one of a hundred: one key
    page.wait_for_function(f"id => !({ORDER})().includes(id)", arg=ids[-1])
    page.wait_for_function("id => document.activeElement.dataset.job === id", arg=ids[1])
    page.wait_for_function(f"() => ({ORDER})().length === 99")
    page.locator(ROWS).nth(3).drag_to(page.locator(ROWS).first, target_position={"x": 20, "y": 3})
    page.wait_for_function(f"id => ({ORDER})()[0] === id", arg=ids[3])
    moved = [ids[3], *ids[:3], *ids[4:-1]]
    editor.until(lambda: queued(paused) == moved)  # the list is ahead of the server
    page.keyboard.press("Alt+Shift+Q")
    page.wait_for_function(f"() => ({ORDER})().length === 0")
    page.evaluate(EMPTY)
    page.keyboard.press("Alt+Q")
    page.locator(".list h3 [aria-pressed='false']").wait_for()
    page.keyboard.press("Alt+Q")
    page.locator(".list h3 [aria-pressed='true']").wait_for()


def queued(server: str) -> list[str]:
    """The waiting jobs in the server's order."""
    with urllib.request.urlopen(f"{server}api/queue") as answer:
        return [item[1] for item in json.load(answer)["queue_pending"]]


def test_an_answer_from_before_a_move_does_not_undo_it(editor: Editor, paused: str) -> None:
    page = editor.page
    ids = [submit(paused, seed) for seed in range(3)]
    page.keyboard.press("q")
    page.wait_for_function(f"() => document.querySelectorAll({json.dumps(ROWS)}).length === 3")
    late: list[tuple[Any, Any]] = []
    page.route("**/api/queue", lambda route: late.append((route, route.fetch())), times=1)
    ids.append(submit(paused, 3))  # which the list asks for
    editor.until(lambda: bool(late))
    page.locator(ROWS).last.focus()
    page.keyboard.press("Alt+Home")
    moved = [ids[2], *ids[:2], ids[3]]
    editor.until(lambda: queued(paused) == moved)
    page.wait_for_function(f"() => document.querySelectorAll({json.dumps(ROWS)}).length === 4")
    page.evaluate(WATCH)
    with page.expect_event("requestfinished", lambda request: request.url.endswith("/api/queue")):
        late[0][0].fulfill(response=late[0][1])
    page.evaluate(THREE_FRAMES)
    assert [order for order in page.evaluate("seen") if order[:3] != moved[:3]] == []


def test_what_ran_is_found_by_its_prompt_and_says_what_it_cost(editor: Editor, server: str) -> None:
    page = editor.page
    submit(server, 1, "a lonely lighthouse")
    submit(server, 2, "a green triangle")
    page.keyboard.press("q")
    done = page.locator("[aria-label='Done'] .job")
    done.nth(1).wait_for()
    page.get_by_role("searchbox").fill("LIGHTHOUSE lonely")
    page.wait_for_function("() => document.querySelectorAll(\"[aria-label='Done'] .job\").length === 1")
    done.first.focus()
    page.keyboard.press("Enter")
    page.locator(".costs li", has_text="KSampler").wait_for()
    assert page.locator(".costs li").count() == 7
    page.get_by_role("searchbox").fill("nothing has these words")
    page.locator(".quiet", has_text="Nothing found").wait_for()
    page.get_by_role("searchbox").fill("")
    page.get_by_label("Which ones").select_option("failed")
    editor.until(lambda: done.filter(has_text="lonely lighthouse").count() == 0)


def test_a_lost_connection_is_said_and_caught_up_with(editor: Editor, server: str) -> None:
    page, held = editor.page, []
    reachable = True

    def between(socket: Any) -> None:
        if reachable:
            socket.connect_to_server()
            held.append(socket)
        else:
            socket.close()

    page.route_web_socket("**/ws*", between)
    editor.open(page.reload)
    reachable = False
    held[-1].close()
    page.locator(".lost").wait_for()
    job = submit(server, 3, "while nobody listened")
    reachable = True
    page.locator(".lost").wait_for(state="detached")
    page.keyboard.press("q")
    page.locator(f"[data-job='{job}']").wait_for()
