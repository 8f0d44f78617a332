"""ComfyUI's third protocol, in the details that came to it later."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from graph.errors import GraphErrors, NodeError
from graph.events import Progress
from graph.files import Folders
from graph.object_info import describe
from tests.nodes.pack_bench import Bench, open_bench

PACK = Path(__file__).parents[1] / "data" / "third_packs"
SAID = {"mode": "loud", "many": {"__value__": ["x", "z"]}, "number": 2, "n": 3, "s": "it", "file": "a.png"}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    folders = Folders.standard(tmp_path / "base")
    shutil.copytree(PACK, folders.base / "custom_nodes", dirs_exist_ok=True)
    with open_bench(folders) as opened:
        assert [it.problem for it in opened.packs.loaded] == [""]
        yield opened


def said(bench: Bench, **given: Any) -> Any:
    return bench.run({"x": ("LaterSay", {**SAID, **given})})["x"].ui["text"][0]


def test_several_may_be_chosen_and_numbers_stay_numbers(bench: Bench) -> None:
    assert said(bench).startswith("('loud', ['x', 'z'], 2, 3)")
    assert said(bench, many="y").startswith("('loud', ['y'], 2, 3)")
    with pytest.raises(GraphErrors, match=r"many.*got 'q', expected one of 'x', 'y', 'z'"):
        said(bench, many={"__value__": ["q"]})


def test_a_class_cannot_keep_anything_between_calls(bench: Bench) -> None:
    assert said(bench).endswith("Say keeps nothing between calls: 'said' cannot be set on it")


def test_a_class_that_checks_a_number_itself_is_not_held_to_its_bounds(bench: Bench) -> None:
    assert said(bench, n=6).startswith("('loud', ['x', 'z'], 2, 6)")
    with pytest.raises(GraphErrors, match="seven is too many"):
        said(bench, n=7)


def test_clients_read_options_by_the_names_that_they_know(bench: Bench) -> None:
    whole: Any = describe(bench.registry["LaterSay"], bench.folders)["input"]
    options = {name: entry[1] for name, entry in whole["required"].items()}
    assert options["n"]["display"] == "slider" and options["n"]["advanced"] and options["n"]["max"] == 5
    assert options["s"]["dynamicPrompts"] and options["s"]["forceInput"] and options["file"]["image_upload"]
    assert options["many"]["multiselect"] and options["many"]["default"] == ["x"]
    assert options["mode"] == {"default": "loud", "options": ["loud", "quiet"]} and options["number"]["options"] == [
        1,
        2,
    ]


@pytest.mark.parametrize("how", ["png", "webp"])
def test_moving_pictures_are_saved_as_our_nodes_save_them(bench: Bench, how: str) -> None:
    nodes: Any = {
        "a": ("EmptyImage", {"width": 8, "height": 8, "batch_size": 1, "color": 255}),
        "b": ("EmptyImage", {"width": 8, "height": 8, "batch_size": 1, "color": 0}),
        "i": ("ImageBatch", {"image1": ["a", 0], "image2": ["b", 0]}),
        "x": ("LaterMove", {"image": ["i", 0], "how": how}),
    }
    ui: Any = bench.run(nodes)["x"].ui
    assert ui["animated"] == [True]
    with Image.open(bench.folders.output_dir / ui["images"][0]["filename"]) as made:
        assert (made.format, made.n_frames) == (how.upper(), 2)  # type: ignore[attr-defined]  # of moving pictures alone


def test_what_a_class_returns_too_much_is_said(bench: Bench) -> None:
    with pytest.raises(NodeError, match="returned 2 outputs, declared 1"):
        bench.run({"x": ("LaterWrong", {})})


def test_how_far_a_node_is_may_be_told_with_and_without_promises(bench: Bench) -> None:
    image: Any = ("EmptyImage", {"width": 8, "height": 6, "batch_size": 1, "color": 255})
    bench.run({"i": image, "x": ("LaterAsk", {"image": ["i", 0], "more": False})})
    told = [event for event in bench.events if isinstance(event, Progress) and event.node_id == "x"]
    assert [(it.done, it.total) for it in told] == [(1, 3), (2, 3), (3, 3)]
    pictures: list[Any] = [it.preview() for it in told if it.preview is not None]
    assert [(it.size, it.getpixel((0, 0))) for it in pictures] == [((8, 6), (0, 0, 255))] * 2
    with pytest.raises(NodeError, match=r"Darkroom has no comfy_api\.latest\.ComfyAPI\.caching"):
        bench.run({"i": image, "x": ("LaterAsk", {"image": ["i", 0], "more": True})})
    assert bench.packs.host.missed["comfy_api.latest.ComfyAPI.caching"] == 1
