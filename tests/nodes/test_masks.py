"""Masks: made, cut, grown, faded and combined, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

from graph.errors import InputError
from models.types import Image, Mask
from nodes.masks import (
    crop_mask,
    feather_mask,
    grow_mask,
    image_color_to_mask,
    image_to_mask,
    invert_mask,
    mask_composite,
    mask_to_image,
    solid_mask,
    threshold_mask,
)
from tests.nodes.conftest import Workplace

PLUS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tapered", [True, False])
@pytest.mark.parametrize("cells", [0, 1, 3, 40, -1, -3])
def test_growing_is_scipy_s_grey_dilation_again_and_again(place: Workplace, cells: int, tapered: bool) -> None:
    values = noise(2, 17, 12)
    grown: Mask = grow_mask(place.ctx(), mask=Mask(values), expand=cells, tapered_corners=tapered)
    change = scipy.ndimage.grey_dilation if cells > 0 else scipy.ndimage.grey_erosion
    expected = values.numpy()
    for _ in range(abs(cells)):
        expected = np.stack([change(it, footprint=PLUS if tapered else np.ones((3, 3))) for it in expected])
    assert np.array_equal(grown.values.numpy(), expected)


def test_growing_without_end_ends(place: Workplace) -> None:
    values = torch.zeros(1, 8, 8)
    values[0, 3, 3] = 1
    grown: Mask = grow_mask(place.ctx(), mask=Mask(values), expand=16384, tapered_corners=True)
    assert (grown.values == 1).all()


def test_feathering_fades_evenly_to_the_edge_on_every_side(place: Workplace) -> None:
    faded: Mask = feather_mask(place.ctx(), mask=Mask(torch.ones(1, 4, 6)), left=3, top=0, right=2, bottom=9)
    across = torch.tensor([1 / 3, 2 / 3, 1, 1, 1, 1 / 2])
    down = torch.tensor([1, 3 / 4, 2 / 4, 1 / 4])  # no more rows than there are
    torch.testing.assert_close(faded.values[0], across * down[:, None])


@pytest.mark.parametrize(
    ("operation", "values"),
    [
        ("multiply", [0.0, 0.24, 0.4, 0.8]),
        ("add", [0.4, 1.0, 1.0, 1.0]),
        ("subtract", [0.0, 0.2, 0.0, 0.2]),
        ("and", [0.0, 0.0, 0.0, 1.0]),  # 0.5 rounds to the even 0
        ("or", [0.0, 1.0, 1.0, 1.0]),
        ("xor", [0.0, 1.0, 1.0, 0.0]),
    ],
)
def test_masks_are_combined_where_they_overlap(place: Workplace, operation: str, values: list[float]) -> None:
    destination = torch.tensor([[0.9, 0.9, 0.9, 0.9, 0.9], [0.9, 0.0, 0.6, 0.5, 1.0]])[None]
    source = torch.tensor([[0.4, 0.4, 0.8, 0.8, 0.7]])[None]
    made: Mask = mask_composite(
        place.ctx(), destination=Mask(destination), source=Mask(source), x=1, y=1, operation=operation
    )
    assert torch.equal(made.values[0, 0], destination[0, 0]) and made.values[0, 1, 0] == 0.9
    torch.testing.assert_close(made.values[0, 1, 1:], torch.tensor(values))
    assert destination[0, 1, 1] == 0, "what came in is as it was"


def test_the_smaller_batch_of_masks_is_repeated(place: Workplace) -> None:
    made: Mask = mask_composite(
        place.ctx(), destination=Mask(noise(1, 4, 4)), source=Mask(torch.zeros(3, 2, 2)), x=0, y=0, operation="multiply"
    )
    assert made.values.shape == (3, 4, 4) and (made.values[:, :2, :2] == 0).all()


def test_masks_are_cut_inverted_and_made_hard(place: Workplace) -> None:
    mask = Mask(noise(2, 6, 8))
    assert torch.equal(crop_mask(place.ctx(), mask=mask, x=3, y=2, width=99, height=3).values, mask.values[:, 2:5, 3:])
    assert torch.equal(invert_mask(place.ctx(), mask=mask).values, 1 - mask.values)
    assert torch.equal(threshold_mask(place.ctx(), mask=mask, value=0.4).values, (mask.values > 0.4).float())
    assert torch.equal(solid_mask(place.ctx(), value=0.25, width=3, height=2).values, torch.full((1, 2, 3), 0.25))
    with pytest.raises(InputError, match="8x6 pixels"):
        crop_mask(place.ctx(), mask=mask, x=8, y=0, width=1, height=1)


def test_pictures_become_masks_and_masks_pictures(place: Workplace) -> None:
    image = Image(noise(2, 3, 4, 4))
    assert torch.equal(image_to_mask(place.ctx(), image=image, channel="alpha").values, image.pixels[..., 3])
    shown: Image = mask_to_image(place.ctx(), mask=Mask(image.pixels[..., 1]))
    assert shown.pixels.shape == (2, 3, 4, 3) and torch.equal(shown.pixels[..., 2], image.pixels[..., 1])
    with pytest.raises(InputError, match="no alpha channel"):
        image_to_mask(place.ctx(), image=shown, channel="alpha")


def test_a_colour_is_found_to_the_level(place: Workplace) -> None:
    levels = torch.tensor([[[0x12, 0x34, 0x56], [0x12, 0x34, 0x57]]]) / 255
    found: Mask = image_color_to_mask(place.ctx(), image=Image(levels[None]), color=0x123456)
    assert found.values.tolist() == [[[1.0, 0.0]]]
