"""Nodes that make batches of latents, and take items out of them with the noise that is theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from graph.errors import InputError
from graph.sockets import Choice, Int
from graph.spec import Batch, Group, Named, Tip, node
from models.masking import cycled
from models.types import Cond, Conditioning, Latent
from nodes import batch_parts
from nodes.services import Context


@node("LatentFromBatch", category="latent/batch", title="Latent From Batch")
def latent_from_batch(
    ctx: Context,
    *,
    samples: Annotated[Latent, Tip("A batch of latents.")],
    batch_index: Annotated[int, Int(0, 63, tooltip="The first to take, counted from 0.")] = 0,
    length: Annotated[int, Int(1, 64, tooltip="How many to take.")] = 1,
) -> Annotated[Latent, Tip("Those latents, each with the noise of its place in the batch.")]:
    """Take some latents out of a batch; sampled alone, each gets the noise that it had in the batch."""
    count = len(samples.samples)
    first = min(batch_index, count - 1)
    taken = slice(first, min(first + length, count))
    mask = samples.noise_mask
    if mask is not None and len(mask) > 1:
        mask = mask[torch.arange(count) % len(mask)][taken]
    return replace(
        samples, samples=samples.samples[taken].clone(), noise_mask=mask, batch_index=_places(samples)[taken]
    )


@node(
    "RepeatLatentBatch",
    category="latent/batch",
    title="Repeat Latent Batch",
    batch=Batch("amount", batch_parts.latent_part),
)
def repeat_latent_batch(
    ctx: Context,
    *,
    samples: Annotated[Latent, Tip("The latents to repeat.")],
    amount: Annotated[int, Int(1, 64, tooltip="How many times they are there.")] = 1,
) -> Annotated[Latent, Tip("A larger batch.")]:
    """Repeat a batch of latents, to make several pictures of each."""
    mask, places = samples.noise_mask, samples.batch_index
    if mask is not None and len(mask) > 1:
        mask = mask.repeat(amount, 1, 1, 1)
    if places is not None:
        span = max(places) - min(places) + 1
        places = tuple(place + i * span for i in range(amount) for place in places)
    return replace(samples, samples=samples.samples.repeat(amount, 1, 1, 1), noise_mask=mask, batch_index=places)


@node("LatentBatch", category="latent/batch")
def latent_batch(
    ctx: Context,
    *,
    samples1: Annotated[Latent, Tip("The first latents.")],
    samples2: Annotated[Latent, Tip("The latents that follow; brought to the size of the first.")],
) -> Annotated[Latent, Tip("All of them.")]:
    """Put two batches of latents into one; each item keeps the noise of its place."""
    second = sized(samples2.samples, samples1.samples)
    places = _places(samples1) + _places(samples2)
    return replace(samples1, samples=torch.cat([samples1.samples, second]), batch_index=places)


@node("LatentBatchSeedBehavior", category="latent/advanced")
def latent_batch_seed_behavior(
    ctx: Context,
    *,
    samples: Annotated[Latent, Tip("A batch of latents.")],
    seed_behavior: Annotated[
        str, Choice(("random", "fixed"), typed=True, tooltip="fixed: all get the same noise; random: each another.")
    ] = "fixed",
) -> Annotated[Latent, Tip("The batch, with that noise.")]:
    """Say whether the items of a batch start from the same noise."""
    if seed_behavior == "random":
        return replace(samples, batch_index=None)
    return replace(samples, batch_index=(_places(samples)[0],) * len(samples.samples))


def _places(latent: Latent) -> tuple[int, ...]:
    return latent.batch_index or tuple(range(len(latent.samples)))


@node("RebatchLatents", category="latent/batch", title="Rebatch Latents")
def rebatch_latents(
    ctx: Context,
    *,
    latents: Annotated[list[Latent], Tip("Batches of latents.")],
    batch_size: Annotated[int, Int(1, 4096, tooltip="How many latents each new batch has.")] = 1,
) -> Annotated[list[Latent], Tip("The same latents in other batches. What reads them runs once for each.")]:
    """Share latents out into batches of another size; each keeps the noise of its place among all."""
    items = [item for latent in _numbered(latents) for item in _items(latent)]
    batches: list[list[Latent]] = []
    for item in items:
        if not batches or len(batches[-1]) == batch_size or not _alike(batches[-1][0], item):
            batches.append([])
        batches[-1].append(item)
    return [_together(batch) for batch in batches]


@node("BatchLatentsNode", category="latent/batch", title="Batch Latents")
def batch_latents(
    ctx: Context,
    *,
    latents: Annotated[
        Mapping[str, Latent], Group("latent_", min=1, max=50), Tip("Latents; brought to the size of the first.")
    ],
) -> Annotated[Latent, Named("output"), Tip("All of them.")]:
    """Put any number of latents into one batch; each item keeps the noise of its place."""
    first, *others = latents.values()
    samples = torch.cat([first.samples, *(sized(latent.samples, first.samples) for latent in others)])
    places = tuple(place for latent in latents.values() for place in _places(latent))
    return replace(first, samples=samples, batch_index=places)


class LatentSize(NamedTuple):
    """How large a batch of latents is."""

    width: Annotated[int, Tip("Cells across.")]
    height: Annotated[int, Tip("Cells down.")]
    frames: Annotated[int, Tip("1, for latents of pictures.")]
    batch_size: Annotated[int, Tip("How many.")]


@node("GetLatentSize", category="latent", title="Get Image/Video Latent Size")
def get_latent_size(ctx: Context, *, latent: Annotated[Latent, Tip("The latents.")]) -> LatentSize:
    """Say how large latents are, in cells."""
    count, _, height, width = latent.samples.shape
    return LatentSize(width, height, 1, count)


def _numbered(latents: Sequence[Latent]) -> Iterator[Latent]:
    """Each with the places of its items; those without places get the ones that follow all before them."""
    next_place = 0
    for latent in latents:
        places = latent.batch_index or tuple(range(next_place, next_place + len(latent.samples)))
        next_place = max(next_place, max(places) + 1)
        yield replace(latent, batch_index=places)


def _items(latent: Latent) -> Iterator[Latent]:
    """The latents of a batch, each for itself."""
    for i in range(len(latent.samples)):
        mask = latent.noise_mask
        part = None if mask is None else mask[i % len(mask)][None]
        yield replace(latent, samples=latent.samples[i][None], noise_mask=part, batch_index=_places(latent)[i : i + 1])


def _alike(a: Latent, b: Latent) -> bool:
    """Whether two latents may be in one batch: of one size, and with masks of one size or without."""
    shapes = [None if it.noise_mask is None else it.noise_mask.shape for it in (a, b)]
    return a.samples.shape == b.samples.shape and shapes[0] == shapes[1]


def _together(items: Sequence[Latent]) -> Latent:
    masks = [item.noise_mask for item in items if item.noise_mask is not None]
    return replace(
        items[0],
        samples=torch.cat([item.samples for item in items]),
        noise_mask=torch.cat(masks) if masks else None,
        batch_index=tuple(place for item in items for place in _places(item)),
    )


def like(samples: Tensor, first: Tensor) -> Tensor:
    """`samples` in the size of `first`, cut from their middle, and as many; a shorter batch begins anew."""
    return cycled(sized(samples, first), len(first))


def sized(samples: Tensor, like: Tensor) -> Tensor:
    """Cut in the middle to the shape of `like` and resized."""
    height, width = samples.shape[-2:]
    goal_height, goal_width = like.shape[-2:]
    if (height, width) == (goal_height, goal_width):
        return samples
    old, new = width / height, goal_width / goal_height
    x = round((width - width * (new / old)) / 2) if old > new else 0
    y = round((height - height * (old / new)) / 2) if old < new else 0
    cut = samples[..., y : height - y, x : width - x]
    return F.interpolate(cut, size=(goal_height, goal_width), mode="bilinear", align_corners=False)


class Buckets(NamedTuple):
    """Latents in groups of one size, with their prompts."""

    latents: Annotated[list[Latent], Tip("A batch for each size, in the order in which they first came.")]
    conditioning: Annotated[list[Conditioning], Tip("The prompts of each batch, one for each of its latents.")]


@node("ResolutionBucket", category="dataset", title="Resolution Bucket", experimental=True)
def resolution_bucket(
    ctx: Context,
    *,
    latents: Annotated[list[Latent], Tip("Latents of any sizes.")],
    conditioning: Annotated[list[Conditioning], Tip("The prompts of each: one for each item of its batch.")],
) -> Buckets:
    """Group latents and their prompts by size, as training wants them."""
    if len(latents) != len(conditioning):
        raise InputError("conditioning", f"has {len(conditioning)} values for {len(latents)} latents; expected as many")
    samples: dict[tuple[int, ...], list[Tensor]] = {}
    conds: dict[tuple[int, ...], list[Cond]] = {}
    for latent, prompt in zip(latents, conditioning, strict=True):
        if len(prompt.conds) != len(latent.samples):
            raise InputError(
                "conditioning",
                f"has {len(prompt.conds)} prompts for a batch of {len(latent.samples)}; expected as many",
            )
        size = tuple(latent.samples.shape[-2:])
        samples.setdefault(size, []).append(latent.samples)
        conds.setdefault(size, []).extend(prompt.conds)
    batches = [Latent(torch.cat(found)) for found in samples.values()]
    return Buckets(batches, [Conditioning(tuple(found)) for found in conds.values()])
