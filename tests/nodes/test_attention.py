"""Nodes that change how a model looks: each changes the picture, and nothing where it is told to do nothing."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from models.types import Clip, Cond, Conditioning, Latent, Model
from nodes import attention, shortcuts
from nodes.conditioning import clip_text_encode
from nodes.loaders import checkpoint_loader_simple
from nodes.sampling import ksampler
from tests.nodes.conftest import CHECKPOINT, Workplace


@pytest.fixture
def loaded(place: Workplace) -> Any:
    return checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT))


def drawn(place: Workplace, model: Model) -> Tensor:
    texts = [
        Conditioning((Cond(torch.randn(1, 77, 8, generator=torch.manual_seed(i)), torch.zeros(1, 8)),)) for i in (0, 1)
    ]
    made: Latent = ksampler(
        place.ctx(), model=model, positive=texts[0], negative=texts[1], seed=1, steps=4, cfg=4.0, sampler_name="euler",
        scheduler="normal", latent_image=Latent(torch.zeros(1, 4, 16, 16)),
    )  # fmt: skip
    return made.samples


WHOLE = {"start_percent": 0.0, "end_percent": 1.0}
PATCHES: list[tuple[Any, dict[str, Any], dict[str, Any] | None]] = [
    (attention.perturbed_attention_guidance, {}, {"scale": 0.0}),
    (attention.self_attention_guidance, {}, {"scale": 0.0}),
    (attention.freeu, {}, None),
    (attention.freeu_v2, {}, None),
    (shortcuts.hyper_tile, {"tile_size": 32}, {"tile_size": 128, "swap_size": 1}),
    (shortcuts.tome_patch_model, {}, {"ratio": 0.0}),
    (shortcuts.todo_patch_model, {}, {"factor": 1}),
    (shortcuts.deep_cache, {}, {"cache_interval": 1}),
    (shortcuts.easy_cache, WHOLE | {"reuse_threshold": 3.0}, {"reuse_threshold": 0.0}),
    (shortcuts.lazy_cache, WHOLE | {"reuse_threshold": 3.0}, {"reuse_threshold": 0.0}),
    (attention.unet_self_attention_multiply, {"k": 3.0}, {}),
    (attention.unet_cross_attention_multiply, {"v": 2.0}, {}),
]


@pytest.mark.parametrize(("patch", "some", "none"), PATCHES, ids=[patch.type for patch, _, _ in PATCHES])
def test_a_patch_changes_the_picture(
    place: Workplace, loaded: Any, patch: Any, some: dict[str, Any], none: dict[str, Any] | None
) -> None:
    plain = drawn(place, loaded.model)
    assert not torch.allclose(drawn(place, patch(place.ctx(), model=loaded.model, **some)), plain)
    if none is not None:
        assert torch.allclose(drawn(place, patch(place.ctx(), model=loaded.model, **none)), plain, atol=1e-5)
    assert torch.equal(drawn(place, loaded.model), plain), "the model that came is as it was"


def test_several_patches_of_one_model(place: Workplace, loaded: Any) -> None:
    one = attention.freeu(place.ctx(), model=loaded.model)
    both = attention.perturbed_attention_guidance(place.ctx(), model=one)
    assert len(both.steering) == 2 and len(one.steering) == 1
    pictures = [drawn(place, model) for model in (loaded.model, one, both)]
    assert not any(torch.allclose(a, b) for a, b in pairwise(pictures))


def test_a_text_encoder_with_multiplied_attention(place: Workplace, loaded: Any) -> None:
    def tokens(clip: Clip) -> Tensor:
        encoded: Conditioning = clip_text_encode(place.ctx(), text="a house", clip=clip)
        return encoded.conds[0].tokens

    changed = attention.clip_attention_multiply(place.ctx(), clip=loaded.clip, v=2.0)
    assert not torch.allclose(tokens(changed), tokens(loaded.clip))
    assert attention.clip_attention_multiply(place.ctx(), clip=loaded.clip) == loaded.clip
