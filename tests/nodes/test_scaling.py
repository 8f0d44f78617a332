"""Pictures and latents in other sizes: against recorded pictures, and by what a size must do."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
import torch
from torch import Tensor

from graph.errors import InputError
from models.scaling import LATENT_METHODS, PICTURE_METHODS, bislerp, center_crop
from models.types import Image, Latent
from nodes.image import image_batch, load_image
from nodes.scaling import image_scale, image_scale_by, latent_upscale, latent_upscale_by
from tests.models.golden import GOLDEN, recorded
from tests.models.oracles import relative_error
from tests.nodes.conftest import Workplace

SCALED: dict[str, dict[str, Any]] = {
    case["name"]: case["workflow"]["31"]["inputs"]
    for case in json.loads((GOLDEN / "cases.json").read_text())["cases"]
    if case["name"].startswith("imagescale")
}


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SCALED)
def test_a_picture_becomes_the_recorded_one(place: Workplace, name: str) -> None:
    shutil.copy(GOLDEN / "golden_input.png", place.folders.input_dir)
    image: Image = load_image(place.ctx(), image=place.file("input", "golden_input.png")).image
    scaled: Image = image_scale(place.ctx(), **{**SCALED[name], "image": image})
    assert relative_error(scaled.pixels, recorded(name)["image"]) < 1e-6


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(30, 10, (30, 10)), (0, 10, (20, 10)), (50, 0, (50, 25)), (0, 0, (40, 20)), (0, 1, (2, 1))],
)
def test_a_side_of_zero_keeps_the_shape(place: Workplace, width: int, height: int, size: tuple[int, int]) -> None:
    image = Image(noise(2, 20, 40, 3))
    scaled: Image = image_scale(
        place.ctx(), image=image, upscale_method="bilinear", width=width, height=height, crop="disabled"
    )
    assert scaled.pixels.shape == (2, size[1], size[0], 3)


def test_by_a_factor_both_sides_are_rounded(place: Workplace) -> None:
    image: Image = image_scale_by(place.ctx(), image=Image(noise(1, 15, 10, 3)), upscale_method="lanczos", scale_by=0.3)
    assert image.pixels.shape == (1, 4, 3, 3)
    latent: Latent = latent_upscale_by(
        place.ctx(), samples=Latent(noise(1, 4, 5, 7)), upscale_method="area", scale_by=1.5
    )
    assert latent.samples.shape == (1, 4, 8, 10)


@pytest.mark.parametrize(
    ("width", "height", "cells"), [(192, 160, (24, 20)), (8, 100, (8, 12)), (0, 256, (64, 32)), (0, 0, (16, 8))]
)
def test_latents_are_sized_in_pixels_of_which_a_side_has_64_at_least(
    place: Workplace, width: int, height: int, cells: tuple[int, int]
) -> None:
    latent: Latent = latent_upscale(
        place.ctx(),
        samples=Latent(noise(1, 4, 8, 16)),
        upscale_method="bislerp",
        width=width,
        height=height,
        crop="disabled",
    )
    assert latent.samples.shape == (1, 4, cells[1], cells[0])


@pytest.mark.parametrize("method", [*LATENT_METHODS, *PICTURE_METHODS])
def test_a_plain_colour_stays_that_colour(method: str) -> None:
    resize = {**LATENT_METHODS, **PICTURE_METHODS}[method]
    plain = torch.tensor([51, 102, 204]).reshape(1, 3, 1, 1).expand(2, 3, 6, 9) / 255
    torch.testing.assert_close(resize(plain, 14, 5), plain[:, :, :1, :1].expand(2, 3, 5, 14), atol=1e-6, rtol=0)


def test_between_two_vectors_bislerp_keeps_the_length_that_a_straight_line_would_lose() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).T.reshape(1, 2, 1, 2)  # a right angle
    turned = bislerp(x, 4, 1)
    torch.testing.assert_close(turned.norm(dim=1), torch.ones(1, 1, 4))
    straight = LATENT_METHODS["bilinear"](x, 4, 1)
    assert straight.norm(dim=1).min() < 0.8
    opposite = bislerp(torch.tensor([1.0, -1.0]).reshape(1, 1, 1, 2), 4, 1)
    torch.testing.assert_close(opposite.flatten(), torch.tensor([1.0, 0.5, -0.5, -1.0]))
    assert bislerp(torch.zeros(1, 4, 2, 2), 4, 4).eq(0).all()


def test_the_middle_is_cut_in_the_new_shape() -> None:
    x = noise(1, 1, 6, 12)
    torch.testing.assert_close(center_crop(x, 5, 5), x[..., 3:9])
    torch.testing.assert_close(center_crop(x, 40, 10), x[:, :, 2:4])  # 1.5 rows from each side, rounded to even
    torch.testing.assert_close(center_crop(x, 20, 10), x)


def test_what_cannot_be_scaled_is_said(place: Workplace) -> None:
    image = Image(noise(1, 8, 8, 3))
    with pytest.raises(InputError, match="no middle in the shape of 1x16000"):
        image_scale(place.ctx(), image=image, upscale_method="area", width=1, height=16000, crop="center")
    with pytest.raises(InputError, match="more than anybody has memory for"):
        latent_upscale_by(
            place.ctx(), samples=Latent(torch.zeros(1).expand(1, 4, 4096, 4096)), upscale_method="area", scale_by=8.0
        )


def test_what_cannot_join_a_batch_is_said(place: Workplace) -> None:
    with pytest.raises(InputError, match="no middle in the shape of 1000x1"):
        image_batch(place.ctx(), image1=Image(noise(1, 1, 1000, 3)), image2=Image(noise(1, 64, 64, 3)))
    with pytest.raises(InputError, match="has 4 channels, image1 has 3"):
        image_batch(place.ctx(), image1=Image(noise(1, 8, 8, 3)), image2=Image(noise(1, 8, 8, 4)))


def test_pictures_of_another_size_join_a_batch_in_the_size_of_the_first(place: Workplace) -> None:
    first, second = Image(noise(1, 8, 8, 3)), Image(noise(2, 8, 16, 3))
    joined: Image = image_batch(place.ctx(), image1=first, image2=second)
    assert joined.pixels.shape == (3, 8, 8, 3)
    assert torch.equal(joined.pixels, torch.cat([first.pixels, second.pixels[:, :, 4:12]]))
