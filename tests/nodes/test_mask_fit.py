"""A mask that has to be resized is told, and one that fits is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from models.types import Image, Latent, Mask
from nodes import compositing, inpainting, prompt_ranges
from nodes.conditioning import clip_text_encode
from nodes.loaders import checkpoint_loader_simple
from nodes.sampling import ksampler
from tests.nodes.conftest import CHECKPOINT, Workplace


def mask(width: int, height: int, value: float = 1.0) -> Mask:
    return Mask(torch.full((1, height, width), value))


PICTURE = Image(torch.rand(1, 48, 64, 3))
LATENT = Latent(torch.zeros(1, 4, 6, 8))


def set_noise_mask(place: Workplace, where: Mask) -> object:
    return inpainting.set_latent_noise_mask(place.ctx(), samples=LATENT, mask=where)


def join(place: Workplace, where: Mask) -> object:
    return compositing.join_image_with_alpha(place.ctx(), image=PICTURE, alpha=where)


def composite(place: Workplace, where: Mask) -> object:
    return compositing.image_composite_masked(place.ctx(), destination=PICTURE, source=PICTURE, mask=where)


def inpaint(place: Workplace, where: Mask) -> object:
    vae = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT)).vae
    return inpainting.vae_encode_for_inpaint(place.ctx(), pixels=PICTURE, vae=vae, mask=where)


NODES: dict[str, Any] = {"mask": set_noise_mask, "alpha": join, "composite": composite, "inpaint": inpaint}


@pytest.mark.parametrize("name", NODES)
def test_a_mask_of_another_size_is_told(place: Workplace, name: str) -> None:
    NODES[name](place, mask(64, 48))
    assert place.warnings == []
    NODES[name](place, mask(128, 96))
    assert [warning.message for warning in place.warnings] == ["the mask of 128x96 is resized to 64x48"]
    place.warnings.clear()
    NODES[name](place, mask(64, 64))
    assert "stretched" in place.warnings[0].message
    assert place.warnings[0].input_name == ("alpha" if name == "alpha" else "mask")


def test_a_mask_in_cells_of_the_latent_fits(place: Workplace) -> None:
    set_noise_mask(place, mask(8, 6))
    assert place.warnings == []


def test_of_a_blank_mask_nothing_is_lost(place: Workplace) -> None:
    """A picture without transparency comes with one of 64x64."""
    join(place, mask(64, 64, 0.0))
    assert place.warnings == []


def test_the_mask_of_a_prompt_is_told_where_it_is_used(place: Workplace) -> None:
    loaded = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT))
    prompt = clip_text_encode(place.ctx(), text="a cat", clip=loaded.clip)

    def sample(where: Mask) -> None:
        place.warnings.clear()
        masked = prompt_ranges.conditioning_set_mask(
            place.ctx(), conditioning=prompt, mask=where, set_cond_area="default"
        )
        ksampler(
            place.ctx(), model=loaded.model, steps=1, cfg=2.0, sampler_name="euler", scheduler="normal",
            positive=masked, negative=prompt, latent_image=Latent(torch.zeros(1, 4, 8, 8)),
        )  # fmt: skip

    sample(mask(64, 64))
    assert place.warnings == []
    sample(mask(8, 8))
    assert place.warnings == []
    sample(mask(96, 64))
    assert [warning.input_name for warning in place.warnings] == ["positive"]
