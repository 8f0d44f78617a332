"""Models that are guided otherwise than their sampler says."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from graph.errors import InputError
from models.guidance import NEGATIVE, POSITIVE, Cfg, DualCfg, Override, overridden
from models.noise import Noise
from models.samplers import SAMPLERS
from models.types import ChosenSampler, Conditioning, Guider, Latent, Model
from nodes.attention import na_guidance, patch_model_add_downscale
from nodes.custom_sampling import basic_guider, basic_scheduler, cfg_guider, sampler_custom_advanced
from nodes.guidance import cfg_override, dual_model_guider, perp_neg, perp_neg_guider
from nodes.loaders import checkpoint_loader_simple
from nodes.prompt_ranges import conditioning_zero_out
from nodes.sampling import ksampler, ksampler_advanced
from nodes.shortcuts import lazy_cache
from tests.models.oracles import relative_error
from tests.nodes.conftest import CHECKPOINT, Workplace
from tests.nodes.one_step import CFG, LATENT, drawn, text
from tests.nodes.one_step import NEGATIVE as AWAY
from tests.nodes.one_step import POSITIVE as TOWARDS
from tests.tiny_checkpoint import write_tiny_checkpoint
from tests.tiny_families import Kind, family_state


@pytest.fixture
def model(place: Workplace) -> Model:
    loaded: Model = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT)).model
    return loaded


def test_a_cfg_of_the_model_s_own_counts_and_the_nearest_of_several(place: Workplace, model: Model) -> None:
    two = cfg_override(place.ctx(), model=model, cfg=2.0)
    nearest = cfg_override(place.ctx(), model=two, cfg=1.0)
    assert torch.equal(drawn(place, two, TOWARDS, AWAY), drawn(place, model, TOWARDS, AWAY, cfg=2.0))
    assert torch.equal(drawn(place, nearest, TOWARDS, AWAY), drawn(place, model, TOWARDS, AWAY, cfg=1.0))
    assert torch.equal(drawn(place, two, TOWARDS, AWAY, cfg=1.0), drawn(place, two, TOWARDS, AWAY, cfg=9.0))


def test_a_part_of_the_way_has_its_own_cfg(place: Workplace, model: Model) -> None:
    """The same as two samplers with a cfg each, one behind the other."""
    given: dict[str, Any] = {
        "positive": TOWARDS, "negative": AWAY, "steps": 4, "sampler_name": "euler", "scheduler": "normal",
    }  # fmt: skip
    early = cfg_override(place.ctx(), model=model, cfg=6.0, end_percent=0.5)  # levels 14.6 and 2.9; 1.6 is half way
    found: Latent = ksampler(place.ctx(), model=early, seed=5, cfg=1.0, latent_image=LATENT, **given)
    half: Latent = ksampler_advanced(
        place.ctx(), model=model, cfg=6.0, latent_image=LATENT, add_noise="enable", noise_seed=5, start_at_step=0,
        end_at_step=2, return_with_leftover_noise="enable", **given,
    )  # fmt: skip
    whole: Latent = ksampler_advanced(
        place.ctx(), model=model, cfg=1.0, latent_image=half, add_noise="disable", noise_seed=5, start_at_step=2,
        end_at_step=10, return_with_leftover_noise="disable", **given,
    )  # fmt: skip
    torch.testing.assert_close(found.samples, whole.samples, rtol=1e-4, atol=1e-4)


def test_only_what_counts_at_a_level_is_evaluated() -> None:
    levels = {0.0: math.inf, 0.5: 1.6, 1.0: 0.0}
    late = overridden(Cfg(7.0), [Override(1.0, 0.5, 1.0)], levels.__getitem__)
    assert late.needed == {POSITIVE, NEGATIVE} and late.strength == 7.0
    assert late.at(14.0).needed == {POSITIVE, NEGATIVE} and late.at(0.5).needed == {POSITIVE}
    early = overridden(Cfg(1.0), [Override(3.0, 0.0, 0.5)], levels.__getitem__)
    assert early.needed == {POSITIVE, NEGATIVE} and early.at(0.5).needed == {POSITIVE}
    assert pickle.loads(pickle.dumps(early)) == early
    assert overridden(Cfg(2.0), [], levels.__getitem__) == Cfg(2.0)
    assert DualCfg(2.0, 3.0).with_scale(9.0) == DualCfg(2.0, 3.0), "which of its two would it be?"


def test_perp_neg_of_the_model_is_that_of_the_guider(place: Workplace, model: Model) -> None:
    empty: Conditioning = text(7)
    patched = perp_neg(place.ctx(), model=model, empty_conditioning=empty, neg_scale=1.5)
    guider = perp_neg_guider(
        place.ctx(), model=model, positive=TOWARDS, negative=AWAY, empty_conditioning=empty, cfg=CFG, neg_scale=1.5
    )
    by_guider = sampler_custom_advanced(
        place.ctx(), noise=Noise(5), guider=guider, sampler=ChosenSampler(SAMPLERS["euler"], "euler"),
        sigmas=basic_scheduler(place.ctx(), model=model, scheduler="normal", steps=1), latent_image=LATENT,
    ).output  # fmt: skip
    found = drawn(place, patched, TOWARDS, AWAY)
    torch.testing.assert_close(found, by_guider.samples, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found, drawn(place, model, TOWARDS, AWAY), atol=1e-3)
    at_two = cfg_override(place.ctx(), model=patched, cfg=2.0)
    assert torch.equal(drawn(place, at_two, TOWARDS, AWAY), drawn(place, patched, TOWARDS, AWAY, cfg=2.0))


def test_another_model_may_estimate_for_the_negative_prompt(place: Workplace, model: Model) -> None:
    """In one step of euler to 0, what comes out is the guided estimate."""
    root = place.folders.roots("checkpoints")[0]
    write_tiny_checkpoint(root / "weak.safetensors", seed=7)
    weak = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", "weak.safetensors")).model

    def one_step(guider: Guider) -> Tensor:
        ended: Latent = sampler_custom_advanced(
            place.ctx(), noise=Noise(5), guider=guider, sampler=ChosenSampler(SAMPLERS["euler"], "euler"),
            sigmas=basic_scheduler(place.ctx(), model=model, scheduler="normal", steps=1), latent_image=LATENT,
        ).output  # fmt: skip
        return ended.samples

    def led(**given: Any) -> Tensor:
        return one_step(dual_model_guider(place.ctx(), model=model, positive=TOWARDS, cfg=CFG, **given))

    towards = one_step(basic_guider(place.ctx(), model=model, conditioning=TOWARDS))
    away = one_step(basic_guider(place.ctx(), model=weak, conditioning=AWAY))
    assert relative_error(led(model_negative=weak, negative=AWAY), away + CFG * (towards - away)) < 1e-5
    plain = one_step(cfg_guider(place.ctx(), model=model, positive=TOWARDS, negative=AWAY, cfg=CFG))
    assert torch.equal(led(negative=AWAY), plain)
    assert relative_error(led(model_negative=model, negative=AWAY), plain) < 1e-5
    zeros = conditioning_zero_out(place.ctx(), conditioning=TOWARDS)
    assert torch.equal(led(model_negative=weak), led(model_negative=weak, negative=zeros))
    cached = lazy_cache(place.ctx(), model=weak, reuse_threshold=0.0)
    assert torch.equal(led(model_negative=cached, negative=AWAY), led(model_negative=weak, negative=AWAY))


@pytest.mark.parametrize(("kind", "name"), [("xl", "SDXL"), ("sd2", "Stable Diffusion 2")])
def test_models_of_two_families_do_not_guide_each_other(place: Workplace, model: Model, kind: Kind, name: str) -> None:
    state = {name: tensor.contiguous() for name, tensor in family_state(kind).items()}
    save_file(state, place.folders.roots("checkpoints")[0] / "other.safetensors")
    other = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", "other.safetensors")).model
    with pytest.raises(InputError, match=f"a model of {name}, but Stable Diffusion 1 draws"):
        dual_model_guider(place.ctx(), model=model, positive=TOWARDS, model_negative=other)


def test_normalized_attention_needs_a_negative_prompt_but_no_guidance(place: Workplace, model: Model) -> None:
    guided = na_guidance(place.ctx(), model=model)
    plain = drawn(place, model, TOWARDS, AWAY, cfg=1.0)
    found = drawn(place, guided, TOWARDS, AWAY, cfg=1.0)
    assert not torch.allclose(found, plain, atol=1e-4)
    assert not torch.allclose(found, drawn(place, guided, TOWARDS, text(9), cfg=1.0), atol=1e-4)
    assert torch.equal(drawn(place, guided, TOWARDS, Conditioning(()), cfg=1.0), plain)


def test_a_block_that_is_not_there_changes_nothing_and_is_told(place: Workplace, model: Model) -> None:
    ctx = place.ctx()
    patched = patch_model_add_downscale(
        ctx, model=model, block_number=32, downscale_method="bicubic", upscale_method="bicubic"
    )
    assert "changes nothing" in ctx.warnings[0].message and ctx.warnings[0].input_name == "block_number"
    assert torch.equal(drawn(place, patched, TOWARDS, AWAY), drawn(place, model, TOWARDS, AWAY))
