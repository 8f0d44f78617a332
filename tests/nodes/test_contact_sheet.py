"""ContactSheet: where the cells of a sweep stand on the sheet, what is written beside them, and what is held of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from numpy.typing import NDArray

from graph.errors import NodeError
from graph.events import NodeStarted
from graph.sweep import Gathered
from models.types import Image
from nodes.contact_sheet import contact_sheet
from nodes.sheet_cell import Thumbnail, contact_sheet_cell
from nodes.sheet_drawing import Drawing, Page
from tests.engine import Engine, open_engine
from tests.nodes.conftest import Workplace

COLOURS = [0xFF0000, 0x00FF00, 0x0000FF, 0xFFFF00, 0x00FFFF, 0xFF00FF]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with open_engine(tmp_path) as engine:
        yield engine


def workflow(color: object, batch: object = 1, **sheet: object) -> str:
    """Pictures of one colour -> a sheet -> a file."""
    nodes: dict[str, Any] = {
        "1": ("EmptyImage", {"width": 64, "height": 48, "batch_size": batch, "color": color}),
        "2": ("ContactSheet", {"images": ["1", 0], "cell_size": 64, **sheet}),
        "9": ("SaveImage", {"images": ["2", 0], "filename_prefix": "sheet"}),
    }
    return json.dumps({key: {"class_type": type_, "inputs": inputs} for key, (type_, inputs) in nodes.items()})


def sheets(engine: Engine, text: str) -> list[NDArray[np.uint8]]:
    """The pages that a workflow saves."""
    return [np.array(PIL.Image.open(path)) for path in engine.pictures(engine.run(text))]


def blocks(sheet: NDArray[np.uint8]) -> dict[int, tuple[int, int]]:
    """Where each of COLOURS begins on a sheet: (top, left)."""
    found = {}
    for colour in COLOURS:
        bytes_ = [colour >> 16, colour >> 8 & 255, colour & 255]
        at = np.argwhere((sheet == bytes_).all(axis=-1))
        if len(at):
            found[colour] = int(at[:, 0].min()), int(at[:, 1].min())
    return found


def test_cells_stand_in_the_order_of_their_values(engine: Engine) -> None:
    (sheet,) = sheets(engine, workflow({"__sweep__": COLOURS[:3]}))
    found = blocks(sheet)
    tops, lefts = zip(*(found[colour] for colour in COLOURS[:3]), strict=True)
    assert len(set(tops)) == 1
    assert lefts == tuple(sorted(lefts)) and len(set(lefts)) == 3
    started = [event for event in engine.events if isinstance(event, NodeStarted)]
    assert [event.node_id for event in started].count("9") == 1
    assert [event.node_id for event in started].count("2") == 4  # three cells and the sheet


def test_the_file_has_the_whole_sweep(engine: Engine) -> None:
    text = workflow({"__sweep__": COLOURS[:2]})
    (path,) = engine.pictures(engine.run(text))
    with PIL.Image.open(path) as picture:
        assert json.loads(picture.info["prompt"]) == json.loads(text)


def test_many_values_of_one_axis_make_a_square(engine: Engine) -> None:
    (sheet,) = sheets(engine, workflow({"__sweep__": [*range(20), *COLOURS]}))
    found = blocks(sheet)
    assert len({top for top, _ in found.values()}) == 2, "26 cells are rows of 6: the last six stand in two"


def grid(*sizes: int) -> Gathered[Thumbnail]:
    """Cells whose colour is their number."""
    axes = tuple((f"axis{k}", tuple(f"value{i}" for i in range(size))) for k, size in enumerate(sizes))
    places = tuple(product(*map(range, sizes)))
    values = tuple(Thumbnail(torch.full((8, 8, 3), 10 + i, dtype=torch.uint8)) for i in range(len(places)))
    return Gathered(axes, places, values)


def at(sheet: NDArray[np.uint8], number: int) -> tuple[int, int]:
    """Where a cell is: pixels that are all of its colour, in a block of its size."""
    same = (sheet == 10 + number).all(axis=-1)
    whole = np.lib.stride_tricks.sliding_window_view(same, (8, 8)).all(axis=(-1, -2))
    ((top, left),) = np.argwhere(whole)
    return int(top), int(left)


def draw(place: Workplace, cells: Gathered[Thumbnail], **axes: str) -> list[NDArray[np.uint8]]:
    pages = contact_sheet(place.ctx(), images=cells, **axes)
    return [(page * 255).round().byte().numpy() for page in pages.pixels]


def test_the_fastest_axis_runs_to_the_right_the_next_down_and_others_are_pages(place: Workplace) -> None:
    pages = draw(place, grid(2, 3, 4))
    assert len(pages) == 2
    for page, first in zip(pages, (0, 12), strict=True):
        places = [[at(page, first + 4 * j + i) for i in range(4)] for j in range(3)]
        for row in places:
            assert len({top for top, _ in row}) == 1
            assert [left for _, left in row] == sorted(left for _, left in row)
        assert [row[0][0] for row in places] == sorted({row[0][0] for row in places})
        assert len({row[0][1] for row in places}) == 1


def test_axes_are_chosen_by_name(place: Workplace) -> None:
    pages = draw(place, grid(2, 3, 4), x_axis="axis0", y_axis="axis2")
    assert len(pages) == 3
    right, below = at(pages[0], 12), at(pages[0], 1)
    origin = at(pages[0], 0)
    assert right[0] == origin[0] and right[1] > origin[1]
    assert below[1] == origin[1] and below[0] > origin[0]
    with pytest.raises(Exception, match=r"there is no axis 'cgf': the axes are 'axis0', 'axis1', 'axis2'"):
        draw(place, grid(2, 3, 4), x_axis="cgf")
    with pytest.raises(Exception, match="runs from left to right already"):
        draw(place, grid(2, 3, 4), x_axis="axis1", y_axis="axis1")


def test_labels_are_beside_what_they_name(place: Workplace) -> None:
    (with_labels,) = draw(place, grid(2, 3))
    top, left = at(with_labels, 0)
    assert (with_labels[:top, left : left + 8] < 128).any(), "the first column has its value above"
    assert (with_labels[top - 8 : top + 16, : left - 2] < 128).any(), "the first row has its value to the left"
    (alone,) = draw(place, grid())
    assert at(alone, 0) == (8, 8) and alone.shape == (24, 24, 3)


def test_long_labels_are_wrapped_and_cut() -> None:
    picture = PIL.Image.new("RGB", (100, 100))
    long = "word " * 200
    drawing = Drawing([Page("", "prompt", "", [long, "short", "w" * 500], [], [[picture] * 3])])
    sheet = drawing.draw(Page("", "prompt", "", [long, "short", "w" * 500], [], [[picture] * 3]))
    assert sheet.width == 3 * 108 + 8
    assert sheet.height < 250


def test_a_sheet_that_no_program_opens_is_refused(engine: Engine) -> None:
    with pytest.raises(NodeError, match="at most 16384 a side") as caught:
        engine.run(workflow({"__sweep__": list(range(10))}, cell_size=2048).replace('"width": 64', '"width": 2048'))
    assert (caught.value.node_id, caught.value.input_name) == ("2", "cell_size")


def test_a_cell_is_small_and_a_batch_shares_it(place: Workplace) -> None:
    one = contact_sheet_cell(place.ctx(), images=Image(torch.rand(1, 512, 1024, 3)), cell_size=128)
    assert one.pixels.shape == (64, 128, 3)
    four = contact_sheet_cell(place.ctx(), images=Image(torch.rand(4, 100, 100, 3)), cell_size=128)
    assert four.pixels.shape == (128, 128, 3)
    small = contact_sheet_cell(place.ctx(), images=Image(torch.ones(1, 16, 16, 4)), cell_size=128)
    assert small.pixels.shape == (16, 16, 3) and (small.pixels == 255).all()
