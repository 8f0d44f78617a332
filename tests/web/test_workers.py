"""The workers of a server in the queue panel: what each runs and holds, and taking one out of work."""

from __future__ import annotations

import importlib
import json
from typing import Any

from tests.web.conftest import Editor, open_editor

ROWS = "[aria-label='Workers'] li"


class Crew:
    """A server's workers, as the page hears of them."""

    def __init__(self, page: Any) -> None:
        self.workers = [worker("cuda:0", "running", job="3fa85f64-1"), worker("cuda:1", "idle", lost=2)]
        page.route("**/api/workers", lambda route: route.fulfill(json={"workers": self.workers}))
        page.route("**/api/workers/*/*", self.obey)
        page.reload()  # a page that was told of none does not ask again
        page.locator(".card").first.wait_for()
        page.locator("#tab-queue").click()

    def obey(self, route: Any) -> None:
        *_, name, what = route.request.url.split("/")
        told = next(each for each in self.workers if each["id"] == name.replace("%3A", ":"))
        told["draining"] = what == "drain"
        told["state"] = "running" if told["job"] else "drained" if told["draining"] else "idle"
        route.fulfill(body="")


def worker(name: str, state: str, job: str | None = None, lost: int = 0) -> dict[str, Any]:
    models = {"sd15.safetensors": int(2.1 * 2**30)} if job else {}
    return {"id": name, "state": state, "draining": False, "job": job, "lost": lost, "models": models, "memory": {}}


def test_workers_are_shown_and_drained_in_the_queue_panel(editor: Editor) -> None:
    page, expect = editor.page, importlib.import_module("playwright.sync_api").expect
    crew = Crew(page)
    rows = page.locator(ROWS)
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("runs 3fa85f64")
    expect(rows.nth(0)).to_contain_text("sd15.safetensors 2.1 GiB")
    expect(rows.nth(1)).to_contain_text("idle, lost 2 times")
    for at, words in ((1, "takes no more jobs"), (0, "then no more")):
        rows.nth(at).get_by_role("button").click()
        expect(rows.nth(at)).to_contain_text(words)
    assert [each["draining"] for each in crew.workers] == [True, True]
    page.get_by_role("button", name="Have cuda:1 go on").press("Enter")
    expect(rows.nth(1)).to_contain_text("idle")
    assert not crew.workers[1]["draining"]


def test_workers_are_shown_in_chinese(browser: Any, server: str) -> None:
    expect = importlib.import_module("playwright.sync_api").expect
    with open_editor(browser, server, locale="zh-CN") as editor:
        Crew(editor.page)
        rows = editor.page.locator("[aria-label='工作进程'] li")
        expect(rows.nth(0)).to_contain_text("正在运行 3fa85f64")
        expect(rows.nth(1)).to_contain_text("空闲, 已丢失 2 次")
        expect(rows.nth(1).get_by_role("button")).to_have_text("排空")


def test_a_server_that_runs_jobs_itself_shows_no_workers(editor: Editor) -> None:
    page = editor.page
    with page.expect_response("**/api/workers") as answer:
        page.keyboard.press("q")
    assert json.loads(answer.value.text())["workers"][0]["id"] == "here"
    assert page.locator(ROWS).count() == 0


def test_a_server_that_runs_jobs_itself_is_not_asked_again(editor: Editor) -> None:
    page, asked = editor.page, list[str]()
    page.clock.install()
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/api/workers") else None)
    with page.expect_response("**/api/workers"):
        page.keyboard.press("q")
    page.clock.run_for(20_000)
    assert len(asked) == 1
