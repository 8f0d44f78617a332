"""Parts of a batch: taken out for one of several processes, and put together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from graph.result import NodeWarning, Outputs
from graph.spec import node
from models.masking import cycled
from models.noise import BatchPart
from models.types import Image, Latent, Mask
from nodes.services import Context


@node("LatentPart", category="latent/batch")
def latent_part(ctx: Context, *, samples: Latent, number: int, of: int) -> Latent:
    """One of several parts of a batch, all equally long or nearly so. It is sampled as it would be in the batch."""
    count = len(samples.samples)
    first, end = count * number // of, count * (number + 1) // of
    mask = samples.noise_mask
    return replace(
        samples,
        samples=samples.samples[first:end].clone(),
        noise_mask=mask if mask is None or len(mask) == 1 else cycled(mask, count)[first:end],
        batch_index=None if samples.batch_index is None else samples.batch_index[first:end],
        part=BatchPart(first, count, samples.batch_index),
    )


def joined(parts: Sequence[Outputs]) -> Outputs:
    """What a node made of all parts of a batch, in order, as what it makes of the batch. Raises ValueError for what is no
    batch.
    """
    warnings: dict[NodeWarning, None] = {warning: None for part in parts for warning in part.warnings}
    return Outputs(tuple(map(_joined, *(part.values for part in parts))), {}, tuple(warnings))


def _joined(*values: object) -> object:
    if all(isinstance(value, Image) for value in values):
        return Image(torch.cat([value.pixels for value in values if isinstance(value, Image)]))
    if all(isinstance(value, Mask) for value in values):
        return Mask(torch.cat([value.values for value in values if isinstance(value, Mask)]))
    latents = [value for value in values if isinstance(value, Latent)]
    if len(latents) < len(values):
        raise ValueError(f"{type(values[0]).__name__} is no batch that parts make")
    masks = [it.noise_mask for it in latents if it.noise_mask is not None]
    whole = latents[0].part
    return replace(
        latents[0],
        samples=torch.cat([it.samples for it in latents]),
        noise_mask=torch.cat(masks) if masks and len(masks[0]) > 1 else latents[0].noise_mask,
        batch_index=None if whole is None else whole.places,
        part=None,
    )
