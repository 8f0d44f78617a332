"""What suits the model of a chosen file: said at the field, taken with one click, and never set by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.published_files import write_published
from tests.web.conftest import MODEL, open_editor, serving

XL = "sd_xl_base_1.0.safetensors"


def workflow(file: str) -> bytes:
    """Text to image with settings of Stable Diffusion 1."""
    sampling = {"seed": 1, "steps": 8, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    wires = {"model": ["1", 0], "positive": ["5", 0], "negative": ["5", 0], "latent_image": ["4", 0]}
    nodes: dict[str, Any] = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": file}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
        "5": {"class_type": "CLIPTextEncode", "inputs": {"text": "a", "clip": ["1", 1]}},
        "6": {"class_type": "KSampler", "inputs": sampling | wires},
        "7": {"class_type": "VAEDecode", "inputs": {"samples": ["6", 0], "vae": ["1", 2]}},
        "8": {"class_type": "SaveImage", "inputs": {"images": ["7", 0], "filename_prefix": "x"}},
    }
    return json.dumps(nodes).encode()


def test_what_suits_is_said_at_the_field_and_taken_with_one_click(browser: Any, server: str, tmp_path: Path) -> None:
    write_published(tmp_path / "models" / "checkpoints" / XL, "xl")
    with serving(tmp_path) as address, open_editor(browser, address) as editor:
        page = editor.page
        editor.drop("old.json", workflow(MODEL), "application/json")
        page.get_by_label("width, 4").wait_for()
        page.locator(".field-note", has_text="other").first.wait_for()  # that of the model in the box
        editor.drop("xl.json", workflow(XL), "application/json")
        size = page.get_by_role("button", name="Use 832 × 1280: it suits SDXL")
        size.wait_for()
        assert page.get_by_label("width, 4").input_value() == "512", "a hint changes nothing"
        assert page.locator(".field-note").all_inner_texts() == [
            "Use 832 × 1280: it suits SDXL",
            "Use 25: it suits SDXL",
        ]
        size.click()
        size.wait_for(state="detached")
        assert page.get_by_label("width, 4").input_value() == "832"
        assert page.get_by_label("height, 4").input_value() == "1280"
        page.locator("#canvas").focus()
        page.keyboard.press("Control+z")
        size.wait_for()
        assert page.get_by_label("height, 4").input_value() == "768", "one step takes both back"


def test_it_is_said_in_chinese(browser: Any, server: str, tmp_path: Path) -> None:
    write_published(tmp_path / "models" / "checkpoints" / XL, "xl")
    with serving(tmp_path) as address, open_editor(browser, address, locale="zh-CN") as editor:
        editor.drop("xl.json", workflow(XL), "application/json")
        editor.page.get_by_role("button", name="改用 832 × 1280：更适合 SDXL").wait_for()
