"""The example workflows as a fresh clone has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from graph.build import build
from graph.document import parse
from main import EXAMPLES, open_folders
from nodes.registry import builtin
from server.options import parser
from tests.tiny_families import write_family
from workflows.__main__ import MOST_BYTES, THUMBNAIL, draw_card, draw_sheet, write_thumbnail

INDEX: list[dict[str, Any]] = json.loads((EXAMPLES / "index.json").read_text("utf-8"))


def test_every_workflow_is_listed_and_described_in_both_languages() -> None:
    files = {path.stem for path in EXAMPLES.glob("*.json")} - {"index"}
    assert sorted(entry["name"] for entry in INDEX) == sorted(files)
    for entry in INDEX:
        assert all(entry[part][language] for part in ("title", "description") for language in ("en", "zh"))


@pytest.mark.parametrize("entry", INDEX, ids=[entry["name"] for entry in INDEX])
def test_an_example_runs_on_a_fresh_clone_or_says_what_it_needs_and_shows_what_it_makes(
    entry: dict[str, Any], tmp_path: Path
) -> None:
    name = entry["name"]
    folders = open_folders(parser().parse_args(["run", name, "--base-directory", str(tmp_path)]))
    document = parse((EXAMPLES / f"{name}.json").read_bytes())
    for folder, files in entry.get("needs", {}).items():
        for file in files:
            told = [str(problem) for problem in build(document, builtin(), folders).problems]
            assert any(file in line and folder in line for line in told), told
            assert all(file in entry["description"][language] for language in ("en", "zh"))
            place = folders.roots(folder)[0]
            place.mkdir(parents=True, exist_ok=True)
            write_family(place / file, "xl")
    graph = build(document, builtin(), folders)
    assert not graph.problems and graph.targets
    thumbnail = EXAMPLES / f"{name}.webp"
    assert thumbnail.stat().st_size <= MOST_BYTES
    with PIL.Image.open(thumbnail) as picture:
        assert (picture.format, picture.width) == ("WEBP", THUMBNAIL)


def test_a_thumbnail_of_noise_is_small_enough_too(tmp_path: Path) -> None:
    noise = PIL.Image.effect_noise((512, 512), 100).convert("RGB")
    for count in (1, 2, 4):
        write_thumbnail(tmp_path / "noise.webp", [noise] * count)
        assert (tmp_path / "noise.webp").stat().st_size <= MOST_BYTES


def test_the_sheet_has_a_row_for_every_four_prompts() -> None:
    cell = PIL.Image.new("RGB", (64, 64), "red")
    one, two = (draw_sheet([(cell, "a very long caption " * 5)] * count) for count in (4, 5))
    assert one.width == two.width and one.height < two.height
    assert two.getpixel((100, one.height + 50)) == (255, 0, 0)


def test_a_card_has_a_line_for_every_file_that_is_needed() -> None:
    bare, one, two = (draw_card("SDXL", ["a.safetensors"] * count).tobytes() for count in (0, 1, 2))
    assert len({bare, one, two}) == 3
