"""Rectangles of pictures, room around them, subjects cut out and words upon them."""

from __future__ import annotations

import json

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

from graph.build import Graph, build
from graph.document import parse
from graph.errors import InputError
from graph.flatten import flatten
from graph.litegraph import read_editor
from graph.node_shapes import shapes_of
from models.types import Image, Mask
from nodes.framing import (
    Mirrored,
    NextMultiple,
    PerSide,
    Plain,
    TimesSize,
    image_crop_to_mask,
    image_crop_v2,
    pad_image,
    primitive_bounding_box,
    text_overlay,
)
from nodes.registry import builtin
from tests.nodes.conftest import Workplace


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_rectangle_is_cut_out_as_far_as_the_picture_goes(place: Workplace) -> None:
    image, ctx = Image(noise(2, 6, 8, 3)), place.ctx()
    region = primitive_bounding_box(ctx, x=2, y=1, width=4, height=3)
    assert torch.equal(image_crop_v2(ctx, image=image, crop_region=region).pixels, image.pixels[:, 1:4, 2:6])
    assert not ctx.warnings
    region = primitive_bounding_box(ctx, x=99, y=4, width=4, height=9)
    assert torch.equal(image_crop_v2(ctx, image=image, crop_region=region).pixels, image.pixels[:, 4:, 7:])
    assert "1x2 instead of 4x9" in ctx.warnings[0].message


BOX = {"x": 1, "y": 2, "width": 3, "height": 4}


@pytest.mark.parametrize("value", [BOX, "1, 2, 3, 4", {**BOX, "width": 3.0}])
def test_a_rectangle_may_be_an_object_or_four_numbers(place: Workplace, value: object) -> None:
    assert _built(place, value) == BOX


@pytest.mark.parametrize("value", [{"x": 1}, "1, 2, 3", 7, {**BOX, "x": -1}, {**BOX, "width": 0}, {**BOX, "y": 0.5}])
def test_what_is_no_rectangle_is_told(place: Workplace, value: object) -> None:
    [problem] = [each for each in _graph(place, value).problems if each.input_name == "crop_region"]
    assert problem.node_id == "2" and "a rectangle" in problem.message


def test_a_colour_is_read_in_both_cases_and_a_wrong_one_told(place: Workplace) -> None:
    assert _built(place, "#FF8000", "TextOverlay", "color") == "#ff8000"
    [problem] = [
        each for each in _graph(place, "reddish", "TextOverlay", "color").problems if each.input_name == "color"
    ]
    assert "a colour such as" in problem.message


def _built(place: Workplace, value: object, kind: str = "ImageCropV2", name: str = "crop_region") -> object:
    return _graph(place, value, kind, name).nodes["2"].inputs[name]


def _graph(place: Workplace, value: object, kind: str = "ImageCropV2", name: str = "crop_region") -> Graph:
    given: dict[str, object] = {"image": ["1", 0]}
    if kind == "TextOverlay":
        given = {"images": ["1", 0], "text": "x", "font_size": 5, "position": "top", "align": "left", "outline": True}
    document = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": kind, "inputs": {**given, name: value}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }
    return build(parse(json.dumps(document)), builtin(), place.folders)


@pytest.mark.parametrize(
    ("amount", "edges"),
    [
        (PerSide(1, 2, 3, 4), (1, 2, 3, 4)),
        (TimesSize(1.5), (2, 1, 2, 2)),  # 8 -> 12, 6 -> 9: the pixel that is left over goes to the bottom
        (NextMultiple(5), (1, 2, 1, 2)),  # 8 -> 10, 6 -> 10
        (PerSide(20, 0, 0, 30), (20, 0, 0, 30)),  # further than the picture is long
    ],
)
def test_mirror_images_are_numpys(place: Workplace, amount: PerSide, edges: tuple[int, int, int, int]) -> None:
    image = Image(noise(1, 6, 8, 3))
    left, top, right, bottom = edges
    padded: Image = pad_image(place.ctx(), image=image, padding_type=amount, padding_style=Mirrored())
    expected = np.pad(image.pixels.numpy(), ((0, 0), (top, bottom), (left, right), (0, 0)), mode="reflect")
    assert np.array_equal(padded.pixels.numpy(), expected)


def test_a_picture_fades_into_the_colour_on_the_sides_that_are_new(place: Workplace) -> None:
    image = Image(torch.ones(1, 6, 8, 3))
    style = Plain("#ff0000", 3)
    padded: Image = pad_image(place.ctx(), image=image, padding_type=PerSide(left=2), padding_style=style)
    expected = torch.ones(6, 10, 3)
    expected[:, :2] = torch.tensor([1.0, 0.0, 0.0])
    for column, share in ((2, 0.25), (3, 0.5), (4, 0.75)):
        expected[:, column, 1:] = share
    assert torch.equal(padded.pixels[0], expected)
    hard: Image = pad_image(place.ctx(), image=image, padding_type=PerSide(left=2), padding_style=Plain())
    assert torch.equal(hard.pixels[0, :, 2:], image.pixels[0]) and not hard.pixels[0, :, :2].any()
    assert pad_image(place.ctx(), image=image, padding_type=PerSide(), padding_style=style) is image
    with pytest.raises(InputError, match="16384 a side"):
        pad_image(place.ctx(), image=image, padding_type=PerSide(left=16384), padding_style=style)


@pytest.mark.parametrize("inverted", [False, True])
def test_a_subject_is_put_in_the_middle(place: Workplace, inverted: bool) -> None:
    picture = (noise(40, 60, 3) * 255).to(torch.uint8)
    mask = torch.zeros(40, 60)
    mask[10:30, 12:22] = 1  # 10 wide, 20 high
    cut: Image = image_crop_to_mask(
        place.ctx(), images=Image(picture[None] / 255), masks=Mask((1 - mask if inverted else mask)[None]),
        width=64, height=64, pad_factor=1.5, background="#00ff00",
    )  # fmt: skip
    masked = np.where(mask.numpy()[..., None] > 0, picture.numpy(), np.array([0, 255, 0], np.uint8))
    sheet = PIL.Image.new("RGB", (30, 30), (0, 255, 0))  # 20 high times 1.5, and as wide
    sheet.paste(PIL.Image.fromarray(masked), (-(17 - 15), -(20 - 15)))  # around the middle (17, 20)
    expected = np.asarray(sheet.resize((64, 64), PIL.Image.Resampling.LANCZOS)) / 255
    assert np.abs(cut.pixels[0].numpy() - expected).max() <= 1 / 255 + 1e-6


def test_an_empty_mask_takes_the_whole_picture_and_a_wrong_number_is_told(place: Workplace) -> None:
    image = Image(torch.full((2, 32, 64, 3), 0.5))
    cut: Image = image_crop_to_mask(place.ctx(), images=image, masks=Mask(torch.zeros(1, 8, 8)), width=128, height=64)
    assert cut.pixels.shape == (2, 64, 128, 3) and (cut.pixels - 0.5).abs().max() < 1 / 255
    with pytest.raises(InputError, match="3 masks for 2 pictures"):
        image_crop_to_mask(place.ctx(), images=image, masks=Mask(torch.zeros(3, 8, 8)), width=64, height=64)


@pytest.mark.parametrize("position", ["top", "bottom"])
@pytest.mark.parametrize("align", ["left", "center", "right"])
def test_words_stand_where_they_are_wanted(place: Workplace, position: str, align: str) -> None:
    image = Image(torch.full((2, 100, 200, 3), 0.5))
    drawn: Image = text_overlay(
        place.ctx(), images=image, text="one", font_size=20, color="#ff0000", position=position, align=align
    )
    assert torch.equal(drawn.pixels[0], drawn.pixels[1])
    changed = (drawn.pixels[0] - 0.5).abs().amax(-1) > 0
    rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
    assert (rows.max() < 50) if position == "top" else (rows.min() >= 50)
    middle = float(columns.float().mean())
    assert {"left": middle < 60, "center": abs(middle - 100) < 6, "right": middle > 140}[align]
    red, black = torch.tensor([1.0, 0.0, 0.0]), torch.zeros(3)
    assert (drawn.pixels[0] == red).all(-1).any(), "the letters"
    assert (drawn.pixels[0] == black).all(-1).any(), "the edge"


def test_long_lines_go_on_and_too_many_become_smaller(place: Workplace) -> None:
    image = Image(torch.zeros(1, 100, 120, 3))
    text = "many words that have no room in a single line\\nand one more"
    drawn: Image = text_overlay(place.ctx(), images=image, text=text, font_size=30, outline=False)
    lit = drawn.pixels[0].amax(-1) > 0.5
    assert lit.any() and not lit[:, 0].any() and not lit[:, -1].any() and not lit[-1].any()
    gaps = lit.any(1).int().diff()
    assert int((gaps == 1).sum()) + int(lit[0].any()) >= 3, "three lines or more"
    assert text_overlay(place.ctx(), images=image, text=" \n", font_size=30) is image


def test_what_the_editor_saves_of_a_rectangle_is_read(place: Workplace) -> None:
    """Editors write the four numbers once more behind the rectangle."""
    region = {"x": 4, "y": 0, "width": 16, "height": 26}
    file = {
        "version": 0.4, "last_node_id": 1, "last_link_id": 0, "links": [],
        "nodes": [{"id": 1, "type": "ImageCropV2", "pos": [0, 0], "inputs": [{"name": "image", "type": "IMAGE", "link": None}],
                   "outputs": [], "widgets_values": [region, 0, 0, 512, 512]}],
    }  # fmt: skip
    document = flatten(read_editor(file), shapes_of(builtin(), place.folders)).document
    assert document.nodes["1"].inputs["crop_region"] == region
