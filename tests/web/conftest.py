"""A real server with a tiny model, and a browser that looks at it."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny_checker import write_tiny_checker
from tests.tiny_checkpoint import write_tiny_checkpoint

SOURCE = Path(__file__).resolve().parents[2]
MODEL = "darkroom-world-256.safetensors"
START_SECONDS = 60.0
WAIT_SECONDS = 20
THREE_FRAMES = (
    "() => new Promise(go => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(go))))"
)
BAD, GOOD = 1, 2
"""Seeds of a picture that the server's safety checker flags, and of one that it lets pass."""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Editor:
    """The open page; `complaints` is what the browser's console said in anger."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    connected: bool = False

    def open(self, go: Callable[[], Any]) -> None:
        """Go to the editor, until the default workflow is shown and the server has sent its first message.

        A page that is left or cut off before, complains of a connection that was never made.
        """
        self.connected = False
        go()
        self.page.locator(".card, .far").nth(6).wait_for()  # a small window shows names alone
        self.until(lambda: self.connected)

    def hear(self, socket: Any) -> None:
        """Watch a connection of the page for the server's first message."""

        def live(_: Any) -> None:
            self.connected = True

        socket.once("framereceived", live)

    def shows(self, nodes: int, links: int) -> None:
        """Wait until so many nodes and links are drawn."""
        expect = importlib.import_module("playwright.sync_api").expect
        expect(self.page.locator(".card")).to_have_count(nodes)
        expect(self.page.locator(".react-flow__edge")).to_have_count(links)

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds that the page alone does not show."""
        end = time.monotonic() + WAIT_SECONDS
        while not holds():
            assert time.monotonic() < end, "it never came to hold"
            self.page.wait_for_timeout(20)

    def drop(self, name: str, content: bytes, kind: str) -> None:
        """Drop a file on the graph."""
        script = """([bytes, name, type]) => {
            const carried = new DataTransfer()
            carried.items.add(new File([new Uint8Array(bytes)], name, { type }))
            const graph = document.querySelector('.canvas')
            for (const what of ['dragover', 'drop'])
                graph.dispatchEvent(new DragEvent(what, { bubbles: true, cancelable: true, dataTransfer: carried,
                                                          clientX: 300, clientY: 300 }))
        }"""
        self.page.evaluate(script, [list(content), name, kind])

    def command(self, words: str) -> None:
        """Run a command by its name."""
        self.page.keyboard.press("Control+k")
        self.page.get_by_role("combobox", name="What do you want to do?").fill(words)
        self.page.keyboard.press("Enter")


def _missing() -> str:
    if not (SOURCE / "web" / "dist" / "index.html").is_file():
        return "web/dist is not built"
    if _chromium() is None:
        return "Chromium is not installed (apt-get install chromium)"
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed (pip install playwright)"
    return ""


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running server; tests are left out where no browser can look at it."""
    if reason := _missing():
        warnings.warn(f"THE EDITOR IS NOT TESTED: {reason}", stacklevel=1)
        pytest.skip(reason)
    base = tmp_path_factory.mktemp("base")
    write_tiny_checkpoint(base / "models" / "checkpoints" / MODEL)
    write_tiny_checker(base / "models" / "safety_checker" / "model.safetensors", *(noise(seed) for seed in (BAD, GOOD)))
    with serving(base) as address:
        yield address


def noise(seed: int) -> Tensor:
    """A picture, [64, 96, 3], of 8 bits so that a PNG keeps it."""
    values = torch.randint(0, 256, (64, 96, 3), generator=torch.Generator().manual_seed(seed))
    return values.to(torch.uint8).float() / 255


@contextmanager
def serving(base: Path) -> Iterator[str]:
    """A server on `base`; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "main.py", "serve", "--base-directory", str(base), "--port", str(port), "--cpu"]
    process = subprocess.Popen(command, cwd=SOURCE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}/"
        _wait_for(address)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(address: str) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{address}object_info", timeout=START_SECONDS):
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


@pytest.fixture(scope="session")
def playwright(server: str) -> Iterator[Any]:
    """What drives browsers."""
    with importlib.import_module("playwright.sync_api").sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def browser(playwright: Any) -> Iterator[Any]:
    """A headless Chromium."""
    chromium = playwright.chromium.launch(executable_path=_chromium(), args=FLAGS)
    yield chromium
    chromium.close()


def open_profile(playwright: Any, folder: Path) -> Any:
    """A browser of its own that keeps what it stores in `folder`, as a user's does."""
    return playwright.chromium.launch_persistent_context(
        folder, executable_path=_chromium(), args=FLAGS, viewport={"width": 1280, "height": 720}, locale="en-US"
    )


@pytest.fixture
def editor(server: str, browser: Any) -> Iterator[Editor]:
    """The editor as somebody sees it who opens it for the first time."""
    with open_editor(browser, server) as shown:
        yield shown


@contextmanager
def open_editor(browser: Any, server: str, **look: Any) -> Iterator[Editor]:
    """A window of the editor that knows nothing of others; nothing may be wrong in the console when it closes."""
    usual = {"viewport": {"width": 1280, "height": 720}, "locale": "en-US", "color_scheme": "dark"}
    context = browser.new_context(**usual | look)
    page = context.new_page()
    page.set_default_timeout(1000 * WAIT_SECONDS)
    shown = Editor(page)

    def heard(message: Any) -> None:
        if message.type in ("error", "warning"):
            shown.complaints.append(message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: shown.complaints.append(str(error)))
    page.on("request", lambda request: _stays_here(request.url, server, shown))
    page.on("websocket", shown.hear)
    shown.open(lambda: page.goto(server))
    yield shown
    page.title()  # what the console said before has been heard when this answers
    complaints = shown.complaints.copy()  # closing cuts off whatever is under way, which is no fault
    context.close()
    assert complaints == []


def _stays_here(url: str, server: str, shown: Editor) -> None:
    if not url.startswith((server, server.replace("http", "ws"), "blob:", "data:")):
        shown.complaints.append(f"asked another host: {url}")
