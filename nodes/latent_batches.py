"""Nodes that make batches of latents, and take items out of them with the noise that is theirs."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from graph.sockets import Choice, Int
from graph.spec import Tip, node
from models.types import Latent
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


@node("RepeatLatentBatch", category="latent/batch", title="Repeat Latent Batch")
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
    second = _sized(samples2.samples, samples1.samples)
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


def _sized(samples: Tensor, like: Tensor) -> Tensor:
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
