"""The pictures of the README, as the editor looks with the embedded model.

`PICTURES=web/pictures pytest tests/web/test_readme_pictures.py` writes them anew.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from tests.web.conftest import open_editor, serving

SIZE = {"width": 1440, "height": 810}
KEPT = Path(__file__).resolve().parents[2] / "web" / "pictures"
MOST_BYTES = 100_000
LANGUAGES = {"en": "en-US", "zh": "zh-CN"}

pytestmark = pytest.mark.acceptance


@pytest.fixture
def drawing(playwright: Any, tmp_path: Path) -> Iterator[str]:
    """A server with nothing but what a clone has."""
    with serving(tmp_path) as address:
        yield address


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pictures_show_the_editor_at_work(browser: Any, drawing: str, language: str) -> None:
    with open_editor(browser, drawing, viewport=SIZE, locale=LANGUAGES[language]) as editor:
        page = editor.page
        page.set_default_timeout(120_000)
        page.keyboard.press("Control+Enter")
        page.locator('[data-id="9"] .card-picture button').wait_for()
        page.locator(".about-shot .seed").wait_for()
        page.locator(".card-badge").nth(6).wait_for()
        keep("editor", language, page)
        page.keyboard.press("q")
        page.locator(".job").first.press("Enter")
        page.locator(".costs li").nth(6).wait_for()
        keep("queue", language, page)
    with open_editor(browser, drawing, viewport=SIZE, locale=LANGUAGES[language], color_scheme="light") as editor:
        page = editor.page
        page.keyboard.press("w")
        page.wait_for_function(
            "() => { const all = [...document.querySelectorAll('.examples img')]; return all.length && all.slice(0, 8).every(each => each.complete && each.naturalWidth) }"
        )
        keep("examples", language, page)


def keep(name: str, language: str, page: Any) -> None:
    """Take the picture, and write it where that is wanted; the one in the repository is of the same size."""
    page.mouse.move(700, 790)
    page.wait_for_timeout(400)
    shot = PIL.Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    colours = shot.getcolors(SIZE["width"] * SIZE["height"])
    assert shot.size == (SIZE["width"], SIZE["height"]) and colours and len(colours) > 500, "an empty screen"
    file = f"{name}.{language}.webp"
    if folder := os.environ.get("PICTURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        shot.save(Path(folder) / file, quality=82, method=6)
    kept = KEPT / file
    assert PIL.Image.open(kept).size == shot.size and kept.stat().st_size <= MOST_BYTES
