"""Pictures laid over pictures: against Pillow, and by the rules themselves."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

from graph.errors import InputError
from models.blending import BLENDS, PORTER_DUFF
from models.types import Image, Mask
from nodes.compositing import (
    image_blend,
    image_composite_masked,
    join_image_with_alpha,
    porter_duff_image_composite,
    split_image_with_alpha,
)
from tests.nodes.conftest import Workplace


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_picture_is_pasted_through_a_mask_of_any_size(place: Workplace) -> None:
    below, above = noise(1, 8, 10, 3), noise(2, 4, 6, 3, seed=1)
    mask = torch.zeros(1, 2, 3)
    mask[:, :, 1:] = 1
    made: Image = image_composite_masked(
        place.ctx(), destination=Image(below), source=Image(above), x=7, y=6, mask=Mask(mask)
    )
    assert made.pixels.shape == (2, 8, 10, 3)
    assert torch.equal(made.pixels[:, :6], below[:, :6].expand(2, -1, -1, -1))
    assert torch.equal(made.pixels[:, 6:, 7], below[:, 6:, 7].expand(2, -1, -1)), "where the mask is 0"
    torch.testing.assert_close(made.pixels[1, 6:, 9], 0.25 * below[0, 6:, 9] + 0.75 * above[1, :2, 2])


def test_without_a_mask_all_of_the_source_covers_and_can_be_made_to_fit(place: Workplace) -> None:
    below, above = noise(1, 8, 8, 3), noise(1, 4, 4, 4, seed=1)
    made: Image = image_composite_masked(
        place.ctx(), destination=Image(below), source=Image(above), x=0, y=0, resize_source=True
    )
    enlarged = torch.nn.functional.interpolate(above[..., :3].movedim(-1, 1), size=(8, 8), mode="bilinear")
    torch.testing.assert_close(made.pixels, enlarged.movedim(1, -1))


@pytest.mark.parametrize("mode", BLENDS)
def test_blends_are_what_other_programs_make_of_them(place: Workplace, mode: str) -> None:
    a, b = 0.3, 0.8
    light = ((16 * a - 12) * a + 4) * a if a <= 0.25 else a**0.5
    expected = {
        "normal": b,
        "multiply": a * b,
        "screen": 1 - (1 - a) * (1 - b),
        "overlay": 2 * a * b,
        "soft_light": a + (2 * b - 1) * (light - a),
        "difference": a - b,
    }[mode]
    below, above = Image(torch.full((1, 2, 2, 3), a)), Image(torch.full((1, 2, 2, 3), b))
    made: Image = image_blend(place.ctx(), image1=below, image2=above, blend_factor=0.6, blend_mode=mode)
    torch.testing.assert_close(made.pixels, torch.full((1, 2, 2, 3), max(0.0, 0.4 * a + 0.6 * expected)))


def test_what_is_blended_in_is_fitted_from_its_middle_and_batches_are_repeated(place: Workplace) -> None:
    below, above = Image(noise(3, 4, 4, 3)), Image(noise(1, 4, 12, 3, seed=1))
    made: Image = image_blend(place.ctx(), image1=below, image2=above, blend_factor=1.0, blend_mode="normal")
    torch.testing.assert_close(made.pixels, above.pixels[:, :, 4:8].expand(3, -1, -1, -1))


def test_alpha_goes_on_and_comes_off(place: Workplace) -> None:
    image, mask = Image(noise(2, 6, 8, 3)), Mask(noise(1, 6, 8, seed=1))
    joined: Image = join_image_with_alpha(place.ctx(), image=image, alpha=mask)
    torch.testing.assert_close(joined.pixels[1, ..., 3], 1 - mask.values[0])
    colours, transparent = split_image_with_alpha(place.ctx(), image=joined)
    assert torch.equal(colours.pixels, image.pixels)
    torch.testing.assert_close(transparent.values, mask.values.expand(2, -1, -1))
    assert (split_image_with_alpha(place.ctx(), image=image).mask.values == 0).all()


def composed(place: Workplace, mode: str, source: Tensor, destination: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures with alpha -> colour and alpha."""
    over, under = (split_image_with_alpha(place.ctx(), image=Image(it)) for it in (source, destination))
    colour, mask = porter_duff_image_composite(
        place.ctx(),
        source=over.image,
        source_alpha=over.mask,
        destination=under.image,
        destination_alpha=under.mask,
        mode=mode,
    )
    return colour.pixels, 1 - mask.values


def test_over_is_pillow_s_alpha_composite(place: Workplace) -> None:
    levels = [(noise(1, 8, 8, 4, seed=seed) * 255).to(torch.uint8) for seed in (0, 1)]
    over, under = (PIL.Image.fromarray(it[0].numpy()) for it in levels)
    expected = torch.from_numpy(np.array(PIL.Image.alpha_composite(under, over))) / 255
    colour, alpha = composed(place, "SRC_OVER", levels[0] / 255, levels[1] / 255)
    torch.testing.assert_close(colour[0], expected[..., :3], atol=1.5 / 255, rtol=0)
    torch.testing.assert_close(alpha[0], expected[..., 3], atol=1.5 / 255, rtol=0)


ALPHAS = {  # what remains of opacity: source 0.75, destination 0.5
    "ADD": 1.0, "CLEAR": 0.0, "DARKEN": 0.875, "DST": 0.5, "DST_ATOP": 0.75, "DST_IN": 0.375, "DST_OUT": 0.125,
    "DST_OVER": 0.875, "LIGHTEN": 0.875, "MULTIPLY": 0.375, "OVERLAY": 0.875, "SCREEN": 0.875, "SRC": 0.75,
    "SRC_ATOP": 0.5, "SRC_IN": 0.375, "SRC_OUT": 0.375, "SRC_OVER": 0.875, "XOR": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("mode", PORTER_DUFF)
def test_every_rule_keeps_its_opacity_and_colour(place: Workplace, mode: str) -> None:
    over, under = torch.full((1, 2, 2, 4), 0.6), torch.full((1, 2, 2, 4), 0.6)
    over[..., 3], under[..., 3] = 0.75, 0.5
    colour, alpha = composed(place, mode, over, under)
    torch.testing.assert_close(alpha, torch.full_like(alpha, ALPHAS[mode]))
    if mode in (
        "DST",
        "DST_ATOP",
        "DST_IN",
        "DST_OUT",
        "DST_OVER",
        "SRC",
        "SRC_ATOP",
        "SRC_IN",
        "SRC_OUT",
        "SRC_OVER",
        "XOR",
    ):
        torch.testing.assert_close(colour, torch.full_like(colour, 0.6))  # one colour with itself is itself


def test_pictures_of_other_channels_are_refused(place: Workplace) -> None:
    mask = Mask(torch.zeros(1, 4, 4))
    with pytest.raises(InputError, match="4 channels, the destination has 3") as caught:
        porter_duff_image_composite(
            place.ctx(),
            source=Image(noise(1, 4, 4, 4)),
            source_alpha=mask,
            destination=Image(noise(1, 4, 4, 3)),
            destination_alpha=mask,
            mode="SRC_OVER",
        )
    assert caught.value.input_name == "source"
