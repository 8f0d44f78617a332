"""Filters of pictures, against kornia and Pillow."""

from __future__ import annotations

import kornia
import pytest
import torch
from torch import Tensor

from models.filters import MORPHOLOGY, bayer
from models.types import Image
from nodes.effects import (
    DITHERS,
    canny_edges,
    image_add_noise,
    image_blur,
    image_invert,
    image_quantize,
    image_rgb_to_yuv,
    image_sharpen,
    image_yuv_to_rgb,
    morphology,
)
from tests.nodes.conftest import Workplace


def smooth(*shape: int, seed: int = 0) -> Tensor:
    """Noise with slopes of every steepness: [B, H, W, 3]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(shape[0], 3, shape[1] // 4, shape[2] // 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=shape[1:3], mode="bicubic").clamp(0, 1).movedim(1, -1)


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.2), (0.4, 0.8), (0.05, 0.9)])
def test_edges_are_those_of_kornia_s_canny(place: Workplace, low: float, high: float) -> None:
    image = Image(smooth(2, 64, 48))
    edges: Image = canny_edges(place.ctx(), image=image, low_threshold=low, high_threshold=high)
    _, expected = kornia.filters.canny(image.pixels.movedim(-1, 1), low, high)
    assert 0 < edges.pixels.mean() < 0.5
    assert torch.equal(edges.pixels.movedim(-1, 1), expected.repeat(1, 3, 1, 1))


@pytest.mark.parametrize("size", [3, 4, 7])
@pytest.mark.parametrize("operation", MORPHOLOGY)
def test_morphology_is_kornia_s(place: Workplace, operation: str, size: int) -> None:
    image = Image(smooth(1, 24, 20))
    made: Image = morphology(place.ctx(), image=image, operation=operation, kernel_size=size)
    peers = {"erode": "erosion", "dilate": "dilation", "open": "opening", "close": "closing"}
    peer = getattr(kornia.morphology, peers.get(operation, operation))
    torch.testing.assert_close(made.pixels.movedim(-1, 1), peer(image.pixels.movedim(-1, 1), torch.ones(size, size)))


def test_brightness_and_colour_are_kornia_s_ycbcr_and_come_back(place: Workplace) -> None:
    image = Image(smooth(2, 16, 16))
    planes = image_rgb_to_yuv(place.ctx(), image=image)
    expected = kornia.color.rgb_to_ycbcr(image.pixels.movedim(-1, 1))
    for plane, channel in zip(planes, expected.unbind(1), strict=True):
        torch.testing.assert_close(plane.pixels, channel[..., None].repeat(1, 1, 1, 3), atol=1e-6, rtol=0)
    back: Image = image_yuv_to_rgb(place.ctx(), Y=planes.Y, U=planes.U, V=planes.V)
    torch.testing.assert_close(back.pixels.movedim(-1, 1), kornia.color.ycbcr_to_rgb(expected), atol=2e-3, rtol=0)
    torch.testing.assert_close(back.pixels, image.pixels, atol=2e-3, rtol=0)


def test_a_blur_keeps_what_is_even_and_spreads_a_point_by_a_bell(place: Workplace) -> None:
    even = Image(torch.full((1, 9, 9, 3), 0.3))
    torch.testing.assert_close(image_blur(place.ctx(), image=even, blur_radius=3, sigma=1.0).pixels, even.pixels)
    point = torch.zeros(1, 9, 9, 3)
    point[:, 4, 4] = 1
    blurred = image_blur(place.ctx(), image=Image(point), blur_radius=2, sigma=0.5).pixels[0, ..., 0]
    assert blurred.sum() == pytest.approx(1) and (blurred[:2] == 0).all()
    assert blurred[4, 3] / blurred[4, 4] == pytest.approx(
        torch.exp(torch.tensor(-0.5)).item()
    )  # half a radius, one sigma


def test_a_picture_smaller_than_the_blur_is_blurred_too(place: Workplace) -> None:
    assert image_blur(place.ctx(), image=Image(smooth(1, 4, 4)), blur_radius=31, sigma=1.0).pixels.shape == (1, 4, 4, 3)


def test_sharpening_takes_off_ten_times_what_a_blur_adds(place: Workplace) -> None:
    image = Image(smooth(1, 16, 16) * 0.2 + 0.4)
    blurred = image_blur(place.ctx(), image=image, blur_radius=2, sigma=1.0).pixels
    sharp: Image = image_sharpen(place.ctx(), image=image, sharpen_radius=2, sigma=1.0, alpha=0.3)
    expected = (image.pixels + 3 * (image.pixels - blurred)).clamp(0, 1)
    torch.testing.assert_close(sharp.pixels, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dither", DITHERS)
def test_few_colours_are_left_and_dithering_keeps_the_mean(place: Workplace, dither: str) -> None:
    ramp = torch.linspace(0, 1, 64).expand(64, 64)[None, ..., None].repeat(1, 1, 1, 3)
    few: Image = image_quantize(place.ctx(), image=Image(ramp), colors=4, dither=dither)
    assert len(few.pixels.reshape(-1, 3).unique(dim=0)) <= 4
    assert few.pixels.mean().item() == pytest.approx(0.5, abs=0.05)
    if dither != "none":  # between two colours both appear
        assert len(few.pixels[0, :, 20, 0].unique()) > 1


def test_the_pattern_of_thresholds_is_bayer_s() -> None:
    assert (bayer(2) * 4).tolist() == [[0, 2], [3, 1]]
    assert (bayer(4)[0] * 16).tolist() == [0, 8, 2, 10]


def test_grain_hangs_on_the_seed_and_negatives_come_back(place: Workplace) -> None:
    image = Image(torch.full((1, 64, 64, 3), 0.5))
    one, same, other = (image_add_noise(place.ctx(), image=image, seed=seed, strength=0.1).pixels for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert one.std().item() == pytest.approx(0.1, rel=0.05)
    inverted: Image = image_invert(place.ctx(), image=Image(one))
    torch.testing.assert_close(image_invert(place.ctx(), image=inverted).pixels, one)
