"""Pictures cut, turned, padded, joined and counted."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

from models.types import Image
from nodes.batches import empty_image, get_image_size, image_from_batch, repeat_image_batch
from nodes.scaling import image_scale_to_max_dimension, image_scale_to_total_pixels
from nodes.transforms import (
    image_crop,
    image_flip,
    image_pad_for_outpaint,
    image_rotate,
    image_stitch,
    resize_and_pad_image,
)
from tests.nodes.conftest import Workplace


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_crop_stays_inside_and_says_when_it_is_less(place: Workplace) -> None:
    image = Image(noise(1, 6, 8, 3))
    ctx = place.ctx()
    cut: Image = image_crop(ctx, image=image, width=4, height=3, x=2, y=1)
    assert torch.equal(cut.pixels, image.pixels[:, 1:4, 2:6]) and not ctx.warnings
    cut = image_crop(ctx, image=image, width=4, height=3, x=99, y=1)
    assert torch.equal(cut.pixels, image.pixels[:, 1:4, 7:])
    [warning] = ctx.warnings
    assert "1x3 instead of 4x3" in warning.message


@pytest.mark.parametrize(
    ("rotation", "pillow"),
    [
        ("90 degrees", PIL.Image.Transpose.ROTATE_270),  # Pillow turns the other way
        ("180 degrees", PIL.Image.Transpose.ROTATE_180),
        ("270 degrees", PIL.Image.Transpose.ROTATE_90),
    ],
)
def test_pictures_turn_clockwise(place: Workplace, rotation: str, pillow: PIL.Image.Transpose) -> None:
    levels = (noise(1, 6, 8, 3) * 255).to(torch.uint8)
    expected = np.array(PIL.Image.fromarray(levels[0].numpy()).transpose(pillow))
    turned: Image = image_rotate(place.ctx(), image=Image(levels / 255), rotation=rotation)
    assert np.array_equal((turned.pixels[0] * 255).round().numpy(), expected)


def test_pictures_are_mirrored(place: Workplace) -> None:
    image = Image(noise(1, 6, 8, 3))
    upside: Image = image_flip(place.ctx(), image=image, flip_method="x-axis: vertically")
    assert torch.equal(upside.pixels[:, 0], image.pixels[:, -1])
    mirrored: Image = image_flip(place.ctx(), image=image, flip_method="y-axis: horizontally")
    assert torch.equal(mirrored.pixels[:, :, 0], image.pixels[:, :, -1])


def test_outpainting_gets_grey_room_and_a_mask_that_fades_into_the_picture(place: Workplace) -> None:
    image = Image(noise(2, 20, 16, 3))
    padded, mask = image_pad_for_outpaint(place.ctx(), image=image, left=8, top=0, right=0, bottom=8, feathering=5)
    assert padded.pixels.shape == (2, 28, 24, 3) and mask.values.shape == (1, 28, 24)
    assert torch.equal(padded.pixels[:, :20, 8:], image.pixels) and (padded.pixels[:, 20:] == 0.5).all()
    inside = mask.values[0, :20, 8:]
    assert (mask.values[0, 20:] == 1).all() and (mask.values[0, :, :8] == 1).all()
    torch.testing.assert_close(inside[0, :6], torch.tensor([1.0, 0.64, 0.36, 0.16, 0.04, 0.0]))  # from the left: 0 to 5
    torch.testing.assert_close(inside[-4:, -1], torch.tensor([0.04, 0.16, 0.36, 0.64]))  # from below: 4 to 1
    assert (inside[:15, 5:] == 0).all()


def test_feathering_wider_than_half_the_picture_is_none(place: Workplace) -> None:
    _, mask = image_pad_for_outpaint(
        place.ctx(), image=Image(noise(1, 20, 16, 3)), left=8, top=0, right=0, bottom=0, feathering=8
    )
    assert (mask.values[0, :, 8:] == 0).all()


@pytest.mark.parametrize("direction", ["right", "down", "left", "up"])
def test_pictures_are_put_side_by_side(place: Workplace, direction: str) -> None:
    one, two = Image(noise(1, 8, 8, 3)), Image(noise(2, 4, 4, 3, seed=1))
    made: Image = image_stitch(
        place.ctx(),
        image1=one,
        direction=direction,
        match_image_size=True,
        spacing_width=2,
        spacing_color="red",
        image2=two,
    )
    pixels = made.pixels if direction in ("right", "left") else made.pixels.transpose(1, 2)
    assert pixels.shape == (2, 8, 18, 3)
    first = pixels[:, :, :8] if direction in ("right", "down") else pixels[:, :, 10:]
    there = one.pixels if direction in ("right", "left") else one.pixels.transpose(1, 2)
    assert torch.equal(first[1], there[0])
    assert pixels[0, 3, 8].tolist() == [1.0, 0.0, 0.0]


def test_pictures_that_are_not_made_to_match_get_black_around_them(place: Workplace) -> None:
    one, two = Image(noise(1, 8, 8, 3)), Image(torch.ones(1, 4, 4, 4))
    made: Image = image_stitch(
        place.ctx(), image1=one, direction="right", match_image_size=False, spacing_width=0, image2=two
    )
    assert made.pixels.shape == (1, 8, 12, 4)
    assert (made.pixels[0, 2:6, 8:] == 1).all() and (made.pixels[0, :2, 8:] == 0).all()
    assert image_stitch(place.ctx(), image1=one, image2=None) is one


def test_a_picture_is_fitted_into_a_frame(place: Workplace) -> None:
    image = Image(torch.full((1, 10, 20, 3), 0.25))
    made: Image = resize_and_pad_image(
        place.ctx(), image=image, target_width=10, target_height=9, padding_color="white", interpolation="area"
    )
    assert made.pixels.shape == (1, 9, 10, 3)
    assert (made.pixels[0, 2:7] == 0.25).all() and (made.pixels[0, :2] == 1).all() and (made.pixels[0, 7:] == 1).all()


def test_sizes_by_area_and_by_the_longer_side(place: Workplace) -> None:
    image = Image(noise(1, 100, 300, 3))
    by_area: Image = image_scale_to_total_pixels(place.ctx(), image=image, upscale_method="area", megapixels=0.01)
    assert by_area.pixels.shape == (1, 59, 177, 3)
    by_side: Image = image_scale_to_max_dimension(place.ctx(), image=image, upscale_method="area", largest_size=50)
    assert by_side.pixels.shape == (1, 17, 50, 3)


def test_batches_are_made_repeated_and_taken_apart(place: Workplace) -> None:
    empty: Image = empty_image(place.ctx(), width=3, height=2, batch_size=2, color=0xFF8000)
    torch.testing.assert_close(empty.pixels[1, 1, 2], torch.tensor([1.0, 128 / 255, 0.0]))
    assert tuple(get_image_size(place.ctx(), image=empty)) == (3, 2, 2)
    image, ctx = Image(noise(3, 2, 2, 3)), place.ctx()
    assert torch.equal(image_from_batch(ctx, image=image, batch_index=1, length=9).pixels, image.pixels[1:])
    assert torch.equal(image_from_batch(ctx, image=image, batch_index=7, length=1).pixels, image.pixels[2:])
    assert [warning.input_name for warning in ctx.warnings] == ["batch_index"]
    repeated: Image = repeat_image_batch(ctx, image=image, amount=2)
    assert torch.equal(repeated.pixels, torch.cat([image.pixels, image.pixels]))
