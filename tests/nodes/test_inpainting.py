"""Masks at sampling, nodes for inpainting, and networks with more channels than the latent's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from models.denoiser import Denoiser, Guided
from models.family import SD1
from models.guidance import Cfg
from models.inpainting import BLANK, Beside, Differential, Masked, channels_beside, fitted
from models.levels import NoiseLevels
from models.types import Cond, Conditioning, Image, Latent, Mask
from nodes.inpainting import (
    differential_diffusion,
    inpaint_model_conditioning,
    set_latent_noise_mask,
    vae_encode_for_inpaint,
)
from nodes.latent_batches import latent_batch, latent_batch_seed_behavior, latent_from_batch, repeat_latent_batch
from nodes.loaders import Checkpoint, checkpoint_loader_simple
from nodes.prompt_ranges import conditioning_set_mask, conditioning_set_timestep_range, conditioning_zero_out
from nodes.sampling import ksampler
from tests.models.flow import Unguided, curved
from tests.models.test_areas import Echo, both
from tests.models.test_areas import text as says
from tests.nodes.conftest import CHECKPOINT, Workplace
from tests.tiny_checkpoint import WIDTH

SIGMA = torch.tensor(2.5)


@pytest.fixture
def checkpoint(place: Workplace) -> Checkpoint:
    loaded: Checkpoint = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT))
    return loaded


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int) -> Conditioning:
    tokens = normal(1, 77, WIDTH, seed=seed)
    return Conditioning((Cond(tokens, tokens[:, 0]),))


def drawn(place: Workplace, checkpoint: Checkpoint, latent: Latent, **changed: Any) -> Latent:
    settings: dict[str, Any] = {
        "model": checkpoint.model, "seed": 1, "steps": 3, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal",
        "positive": text(1), "negative": text(2), "denoise": 1.0,
    }  # fmt: skip
    result: Latent = ksampler(place.ctx(), latent_image=latent, **settings | changed)
    return result


def half(size: int = 64) -> Mask:
    values = torch.zeros(1, size, size)
    values[..., : size // 2] = 1
    return Mask(values)


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral", "dpmpp_sde", "euler_cfg_pp"])
def test_outside_of_the_mask_the_picture_stays(place: Workplace, checkpoint: Checkpoint, sampler: str) -> None:
    latent = Latent(normal(2, 4, 8, 8) * 5)
    masked = set_latent_noise_mask(place.ctx(), samples=latent, mask=half())
    result = drawn(place, checkpoint, masked, sampler_name=sampler)
    torch.testing.assert_close(result.samples[..., 4:], latent.samples[..., 4:], rtol=1e-4, atol=1e-4)
    assert float((result.samples - latent.samples)[..., :4].abs().mean()) > 0.5
    assert result.noise_mask is not None, "the mask goes on with the latent"


def test_a_mask_of_ones_changes_nothing_of_sampling(place: Workplace, checkpoint: Checkpoint) -> None:
    latent = Latent(normal(1, 4, 8, 8))
    masked = replace(latent, noise_mask=torch.ones(1, 1, 30, 50))
    plain = drawn(place, checkpoint, latent).samples
    torch.testing.assert_close(drawn(place, checkpoint, masked).samples, plain, rtol=1e-4, atol=1e-4)


def test_inside_the_network_sees_noise_upon_the_picture_outside() -> None:
    x, latent, noise = normal(1, 4, 4, 4), normal(1, 4, 4, 4, seed=1), normal(1, 4, 4, 4, seed=2)
    mask = torch.tensor([0.0, 0.25, 0.5, 1.0]).expand(1, 1, 4, 4)
    seen = x * mask + (latent + 2.5 * noise) * (1 - mask)
    masked = Masked(Unguided(curved), latent, noise, mask)
    expected = curved(seen, SIGMA) * mask + latent * (1 - mask)
    torch.testing.assert_close(masked(x, SIGMA), expected)
    torch.testing.assert_close(masked.pair(x, SIGMA).denoised, expected)
    torch.testing.assert_close(masked.pair(x, SIGMA).away, curved(seen, SIGMA))


def test_masks_of_any_size_and_number_fit() -> None:
    assert torch.equal(fitted(torch.ones(1, 1, 8, 8), 3, 2, 5), torch.ones(3, 1, 2, 5))
    two = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    assert fitted(two, 3, 2, 2)[:, 0, 0, 0].tolist() == [0, 1, 0]


def test_differential_diffusion_lets_high_places_change_first(place: Workplace, checkpoint: Checkpoint) -> None:
    levels = NoiseLevels()
    rule = Differential(levels, levels.sigma_max, 0.0)
    mask = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    assert rule(mask, torch.tensor(levels.sigma_max)).tolist() == [0, 0, 0, 0, 1]
    assert rule(mask, levels.sigma(torch.tensor(500.0))).tolist() == [0, 0, 0, 1, 1]
    assert rule(mask, torch.tensor(levels.sigma_min)).tolist() == [1, 1, 1, 1, 1]
    mixed = replace(rule, strength=0.5)(mask, torch.tensor(levels.sigma_max))
    assert mixed.tolist() == [0, 0.125, 0.25, 0.375, 1]
    model = differential_diffusion(place.ctx(), model=checkpoint.model, strength=0.7)
    assert model.differential == 0.7
    grey = Latent(normal(1, 4, 8, 8), noise_mask=torch.full((1, 1, 8, 8), 0.5))
    plain, changed = (drawn(place, checkpoint, grey, model=m).samples for m in (checkpoint.model, model))
    assert not torch.allclose(plain, changed, rtol=1e-2)


def test_encoding_for_inpainting_greys_the_mask_and_grows_it(place: Workplace, checkpoint: Checkpoint) -> None:
    pixels, mask = Image(torch.rand(1, 67, 64, 3)), Mask(torch.zeros(1, 67, 64))
    mask.values[:, 30, 20] = 1
    results = {
        grow: vae_encode_for_inpaint(place.ctx(), pixels=pixels, vae=checkpoint.vae, mask=mask, grow_mask_by=grow)
        for grow in (0, 5, 6)
    }
    assert results[0].samples.shape == (1, 4, 8, 8) and results[0].noise_mask.shape == (1, 1, 64, 64)
    rows = {grow: results[grow].noise_mask[0, 0].any(dim=1).nonzero().flatten().tolist() for grow in results}
    assert rows[0] == [29], "the picture is cut by one row at the top"
    assert rows[5] == [27, 28, 29, 30, 31] and rows[6] == [27, 28, 29, 30, 31, 32]
    torch.testing.assert_close(results[0].samples, results[6].samples), "what is grey is not grown"


@pytest.mark.parametrize("count", [0, 4, 5])
def test_the_channels_beside_the_latent(count: int) -> None:
    like, given = normal(2, 4, 8, 8), Beside(normal(1, 4, 8, 8, seed=1), torch.full((1, 1, 64, 64), 0.7))
    found, nothing = (channels_beside(count, beside, like, 0.18215) for beside in (given, None))
    if count == 0:
        assert found is None and nothing is None
        return
    assert found is not None and nothing is not None and found.shape == nothing.shape == (2, count, 8, 8)
    assert given.latent is not None
    if count == 4:
        assert torch.equal(found[1], given.latent[0]) and not nothing.any()
    else:
        torch.testing.assert_close(found[1, 1:], given.latent[0] * 0.18215)
        assert found[:, 0].eq(1).all() and nothing[:, 0].eq(1).all()
        assert nothing[0, 1:, 3, 3].tolist() == pytest.approx(BLANK)


def test_inpainting_conditioning_holds_the_greyed_picture(place: Workplace, checkpoint: Checkpoint) -> None:
    pixels = Image(torch.rand(1, 64, 64, 3))
    positive, negative, latent = inpaint_model_conditioning(
        place.ctx(),
        positive=text(1),
        negative=text(2),
        vae=checkpoint.vae,
        pixels=pixels,
        mask=half(),
        noise_mask=False,
    )
    beside = positive.conds[0].beside
    assert beside is negative.conds[0].beside and latent.noise_mask is None
    assert torch.equal(beside.mask, half().values[:, None])
    assert not torch.allclose(beside.latent, latent.samples)


# Where and when prompts count


def found(positive: Conditioning, sigma: Tensor = SIGMA, size: int = 32) -> Tensor:
    guided = Guided(Denoiser(Echo(), SD1.diffusion, lambda: None), (positive, says(0.0)), Cfg(1.0))
    return -guided(torch.zeros(2, 4, size, size), sigma)[0, 0] / sigma


def test_a_masked_prompt_counts_by_its_mask(place: Workplace) -> None:
    mask = Mask(torch.linspace(0, 1, 32).expand(1, 32, 32))
    masked = conditioning_set_mask(
        place.ctx(), conditioning=says(5.0), mask=mask, strength=2.0, set_cond_area="default"
    )  # fmt: skip
    weight = 2 * mask.values[0]
    torch.testing.assert_close(found(both(says(1.0), masked)), (1 + 5 * weight) / (1 + weight))


def test_mask_bounds_show_the_model_the_rectangle_alone(place: Workplace) -> None:
    values = torch.zeros(1, 32, 32)
    values[:, 10:20, 4:24] = 1
    masked = conditioning_set_mask(
        place.ctx(), conditioning=says(5.0), mask=Mask(values), strength=1.0, set_cond_area="mask bounds"
    )  # fmt: skip
    echo = Echo()
    guided = Guided(Denoiser(echo, SD1.diffusion, lambda: None), (both(says(1.0), masked), says(0.0)), Cfg(1.0))
    estimate = -guided(torch.zeros(1, 4, 32, 32), SIGMA)[0, 0] / 2.5
    assert sorted(echo.asked) == [(1, 4, 10, 20), (1, 4, 32, 32)]
    torch.testing.assert_close(estimate, 1 + 2 * values[0])


def test_a_prompt_counts_in_its_part_of_the_way_only(place: Workplace) -> None:
    levels = NoiseLevels()
    early = conditioning_set_timestep_range(place.ctx(), conditioning=says(1.0), start=0.0, end=0.5)
    late = conditioning_set_timestep_range(place.ctx(), conditioning=says(5.0), start=0.5, end=1.0)
    for share, expected in ((0.1, 1.0), (0.4, 1.0), (0.6, 5.0), (0.99, 5.0)):
        estimate = found(both(early, late), torch.tensor(levels.at(share)))
        torch.testing.assert_close(estimate, torch.full((32, 32), expected))
    assert not conditioning_zero_out(place.ctx(), conditioning=says(5.0)).conds[0].tokens.any()


# Items of batches


def test_an_item_drawn_alone_is_what_it_was_in_the_batch(place: Workplace, checkpoint: Checkpoint) -> None:
    batch = Latent(torch.zeros(3, 4, 8, 8))
    together = drawn(place, checkpoint, batch).samples
    for i in range(3):
        alone = drawn(place, checkpoint, latent_from_batch(place.ctx(), samples=batch, batch_index=i, length=1))
        torch.testing.assert_close(alone.samples, together[i : i + 1], rtol=1e-3, atol=1e-3)


def test_places_in_batches() -> None:
    def places(latent: Latent) -> tuple[int, ...] | None:
        return latent.batch_index

    batch: Any = Latent(torch.zeros(2, 4, 2, 2), batch_index=(3, 5))
    ctx: Any = None
    assert places(repeat_latent_batch(ctx, samples=batch, amount=3)) == (3, 5, 6, 8, 9, 11)
    assert places(latent_from_batch(ctx, samples=batch, batch_index=9, length=5)) == (5,)
    assert places(latent_batch_seed_behavior(ctx, samples=batch, seed_behavior="fixed")) == (3, 3)
    assert places(latent_batch_seed_behavior(ctx, samples=batch, seed_behavior="random")) is None
    wide = Latent(torch.ones(1, 4, 4, 8))
    joined = latent_batch(ctx, samples1=batch, samples2=wide)
    assert places(joined) == (3, 5, 0) and joined.samples.shape == (3, 4, 2, 2)
