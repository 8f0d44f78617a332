"""What a safety checker said of pictures is shown as it is: hidden or not, and with which score."""

from __future__ import annotations

import io
import json
import urllib.request
from typing import Any

import PIL.Image
import PIL.ImageStat
import pytest

from nodes.pictures import to_pil
from tests.web.conftest import BAD, GOOD, Editor, noise


def checked(picture: str) -> bytes:
    """A request that checks a picture and saves what may be seen of it."""
    nodes: dict[str, Any] = {
        "1": {"class_type": "LoadImage", "inputs": {"image": picture}},
        "2": {"class_type": "SafetyCheckerLoader", "inputs": {"safety_checker": "model.safetensors"}},
        "3": {"class_type": "SafetyCheck", "inputs": {"image": ["1", 0], "safety_model": ["2", 0], "mode": "blur"}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "SafetyCheck"}},
    }
    return json.dumps(nodes).encode()


def upload(editor: Editor, server: str, seed: int) -> PIL.Image.Image:
    """Put a picture into the server's input folder, as SEED.png."""
    picture, buffer = to_pil(noise(seed)), io.BytesIO()
    picture.save(buffer, "PNG")
    sent = {"name": f"{seed}.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
    assert editor.page.request.post(f"{server}upload/image", multipart={"image": sent, "overwrite": "true"}).ok
    return picture


@pytest.mark.parametrize(("seed", "says"), [(BAD, "1 of 1 hidden"), (GOOD, "Nothing found in 1")])
def test_what_was_hidden_is_blurred_and_says_with_which_score(
    editor: Editor, server: str, seed: int, says: str
) -> None:
    page, original = editor.page, upload(editor, server, seed)
    editor.drop(f"judged_{seed}.json", checked(f"{seed}.png"), "application/json")
    editor.shows(nodes=4, links=3)
    with page.expect_response("**/prompt") as sent:
        page.keyboard.press("Control+Enter")
    verdict = page.locator('[data-id="3"] .card-notice', has_text=says)
    verdict.wait_for()
    page.wait_for_function("() => document.querySelector('[data-id=\"4\"] .card-picture img')?.naturalWidth === 96")
    with urllib.request.urlopen(f"{server}api/jobs/{json.loads(sent.value.text())['prompt_id']}") as answer:
        outputs = json.load(answer)["outputs"]
    score = f"{max(outputs['3']['scores'][0]['concepts']):.1f}"
    assert score in verdict.inner_text()
    with urllib.request.urlopen(page.locator('[data-id="4"] .card-picture img').get_attribute("src")) as answer:
        shown = PIL.Image.open(io.BytesIO(answer.read())).convert("RGB")
    if seed == GOOD:
        assert shown.tobytes() == original.tobytes()
        assert page.locator(".judged").count() == 0
    else:
        deviations = [max(PIL.ImageStat.Stat(each).stddev) for each in (shown, original)]
        assert deviations[0] < deviations[1] / 2, "no detail of the noise is left"
        assert score in page.locator(".judged").inner_text()
