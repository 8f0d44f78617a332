"""Nodes that compute with latents, cut, turn and join them."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch

from graph.errors import InputError
from models.latent_operations import Sharpen, Tonemap, interpolated
from models.types import Latent, Mask, Model
from nodes import latent_batches, latent_math, latent_transforms
from nodes.loaders import checkpoint_loader_simple
from tests.nodes.conftest import CHECKPOINT, Workplace


def latent(seed: int, batch: int = 2, height: int = 16, width: int = 12) -> Latent:
    samples = torch.randn(batch, 4, height, width, generator=torch.Generator().manual_seed(seed))
    return Latent(samples, {"kept": 1})


def test_sums_keep_what_the_first_has(place: Workplace) -> None:
    a, b = latent(1), replace(latent(2, batch=1), extra={})
    cycled = b.samples.repeat(2, 1, 1, 1)
    added = latent_math.latent_add(place.ctx(), samples1=a, samples2=b)
    torch.testing.assert_close(added.samples, a.samples + cycled)
    assert added.extra == {"kept": 1}
    taken = latent_math.latent_subtract(place.ctx(), samples1=a, samples2=b).samples
    torch.testing.assert_close(taken, a.samples - cycled)
    torch.testing.assert_close(
        latent_math.latent_multiply(place.ctx(), samples=a, multiplier=-2.0).samples, a.samples * -2
    )
    blend = latent_math.latent_blend(place.ctx(), samples1=a, samples2=b, blend_factor=0.25).samples
    torch.testing.assert_close(blend, a.samples * 0.25 + cycled * 0.75)


def test_latents_of_another_size_are_brought_to_that_of_the_first(place: Workplace) -> None:
    wide = Latent(torch.ones(1, 4, 8, 20))
    added = latent_math.latent_add(place.ctx(), samples1=latent(1), samples2=wide).samples
    torch.testing.assert_close(added, latent(1).samples + 1)


def test_interpolation_turns_and_stretches_each_cell() -> None:
    a = torch.zeros(1, 4, 1, 1)
    b = a.clone()
    a[0, 0], b[0, 1] = 2.0, 6.0
    halfway = interpolated(a, b, 0.5)[0, :, 0, 0]
    torch.testing.assert_close(halfway, torch.tensor([4.0, 4.0, 0.0, 0.0]) / 2**0.5)
    torch.testing.assert_close(interpolated(latent(1).samples, latent(2).samples, 1.0), latent(1).samples)
    assert interpolated(torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2, 2), 0.5).isfinite().all()


def test_tone_mapping_presses_lengths_and_keeps_directions() -> None:
    x = latent(3).samples * 3
    found = Tonemap(1.0)(x)
    length = x.norm(dim=1, keepdim=True)
    top = length.mean(dim=(1, 2, 3), keepdim=True) + 5 * length.std(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(found, x / length * (length / top / (length / top + 1)) * top)


def test_sharpening_leaves_what_is_even_and_widens_edges() -> None:
    flat = torch.full((1, 4, 12, 12), 0.7)
    torch.testing.assert_close(Sharpen(3, 1.0, 0.4)(flat), flat, rtol=1e-4, atol=1e-5)
    step = flat.clone()
    step[..., 6:] = -0.7
    sharp = Sharpen(3, 1.0, 0.1)(step)
    assert sharp[..., 5].abs().mean() > step[..., 5].abs().mean()
    assert Sharpen(31, 1.0, 0.1)(torch.ones(1, 4, 4, 4)).isfinite().all(), "a radius beyond the picture"


def test_an_operation_travels_and_is_done_to_latents_and_to_guidance(place: Workplace) -> None:
    model: Model = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT)).model
    operation = latent_math.latent_operation_tonemap_reinhard(place.ctx(), multiplier=0.5)
    made = latent_math.latent_apply_operation(place.ctx(), samples=latent(1), operation=operation)
    torch.testing.assert_close(made.samples, Tonemap(0.5)(latent(1).samples))
    guided = latent_math.latent_apply_operation_cfg(place.ctx(), model=model, operation=operation)
    assert pickle.loads(pickle.dumps(guided)).guiding == guided.guiding != model.guiding
    with pytest.raises(InputError, match="above 0"):
        latent_math.latent_operation_tonemap_reinhard(place.ctx(), multiplier=0.0)


def test_a_crop_ends_where_the_latents_end(place: Workplace) -> None:
    crop = latent_transforms.latent_crop
    x = latent(1, height=20, width=20)
    found = crop(place.ctx(), samples=x, width=64, height=80, x=16, y=32).samples
    assert torch.equal(found, x.samples[..., 4:14, 2:10])
    edge = crop(place.ctx(), samples=x, width=512, height=512, x=160, y=0).samples
    assert torch.equal(edge, x.samples[..., :, 12:])
    assert [warning.input_name for warning in place.warnings] == ["x"]


def test_flips_and_turns(place: Workplace) -> None:
    x = latent(1)
    flip, turn = latent_transforms.latent_flip, latent_transforms.latent_rotate
    assert torch.equal(flip(place.ctx(), samples=x, flip_method="x-axis: vertically").samples, x.samples.flip(2))
    assert torch.equal(flip(place.ctx(), samples=x, flip_method="y-axis: horizontally").samples, x.samples.flip(3))
    quarter = turn(place.ctx(), samples=x, rotation="90 degrees").samples
    assert torch.equal(quarter[..., 0, -1], x.samples[..., 0, 0]), "clockwise: the upper left comes to the upper right"
    assert torch.equal(turn(place.ctx(), samples=x, rotation="none").samples, x.samples)


def test_joining_and_cutting_are_each_other_s_inverse(place: Workplace) -> None:
    a, b = latent(1), latent(2)
    for dim, axis in (("x", 3), ("y", 2)):
        joined = latent_transforms.latent_concat(place.ctx(), samples1=a, samples2=b, dim=dim)
        turned = latent_transforms.latent_concat(place.ctx(), samples1=b, samples2=a, dim=f"-{dim}")
        assert torch.equal(joined.samples, turned.samples)
        size = a.samples.shape[axis]
        cut = latent_transforms.latent_cut(place.ctx(), samples=joined, dim=dim, index=-size, amount=999)
        assert torch.equal(cut.samples, b.samples)
    with pytest.raises(InputError) as caught:
        latent_transforms.latent_concat(place.ctx(), samples1=a, samples2=latent(1, height=5), dim="x")
    assert caught.value.input_name == "samples2"
    with pytest.raises(InputError, match="videos"):
        latent_transforms.latent_cut(place.ctx(), samples=a, dim="t")


def test_a_feathered_composite_fades_inside_only(place: Workplace) -> None:
    below, above = Latent(torch.zeros(1, 4, 16, 16)), Latent(torch.ones(1, 4, 8, 8))
    composite = latent_transforms.latent_composite
    inner = composite(place.ctx(), samples_to=below, samples_from=above, x=32, y=0, feather=16).samples[0, 0]
    assert inner[0, 4:12].tolist() == [0.5, 1, 1, 1, 1, 1, 1, 0.5]
    assert inner[7, 5] == 0.5 and inner[8:].sum() == 0 and inner[:, :4].sum() == 0
    hard = composite(place.ctx(), samples_to=below, samples_from=above, x=96, y=96).samples[0, 0]
    assert hard.sum() == 16
    with pytest.raises(InputError, match="outside"):
        composite(place.ctx(), samples_to=below, samples_from=above, x=128, y=0)


def test_a_masked_composite_shows_the_source_where_the_mask_is_1(place: Workplace) -> None:
    below, above = Latent(torch.zeros(1, 4, 8, 8)), Latent(torch.ones(1, 4, 8, 8))
    values = torch.zeros(1, 64, 64)
    values[:, :, :32] = 1
    found = latent_transforms.latent_composite_masked(
        place.ctx(), destination=below, source=above, mask=Mask(values)
    ).samples[0, 0]
    assert found[:, :4].min() == 1 and found[:, 4:].max() == 0
    assert place.warnings == [], "a mask in pixels fits"


def test_rebatched_latents_keep_the_noise_of_their_places(place: Workplace) -> None:
    masks = torch.rand(3, 1, 128, 96)
    first = replace(latent(1, batch=3), noise_mask=masks)
    second = replace(latent(2, batch=2), noise_mask=masks[:1])
    found = latent_batches.rebatch_latents(place.ctx(), latents=[first, second], batch_size=2)
    assert [it.batch_index for it in found] == [(0, 1), (2, 3), (4,)]
    assert torch.equal(torch.cat([it.samples for it in found]), torch.cat([first.samples, second.samples]))
    together = torch.cat([it.noise_mask for it in found if it.noise_mask is not None])
    assert torch.equal(together, torch.cat([masks, masks[:1], masks[:1]]))
    apart = latent_batches.rebatch_latents(place.ctx(), latents=[latent(1), latent(1, height=5)], batch_size=9)
    assert [len(it.samples) for it in apart] == [2, 2], "sizes are never mixed"


def test_many_latents_in_one_batch(place: Workplace) -> None:
    given = {"latent_0": latent(1), "latent_1": latent(2, height=32, width=24)}
    found = latent_batches.batch_latents(place.ctx(), latents=given)
    assert found.samples.shape == (4, 4, 16, 12)
    size = latent_batches.get_latent_size(place.ctx(), latent=found)
    assert (size.width, size.height, size.frames, size.batch_size) == (12, 16, 1, 4)
