"""Nodes that compute with latents: sums, mixtures, and operations that are also done to guidance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

from torch import Tensor

from graph.errors import InputError
from graph.sockets import Float, Int
from graph.spec import Tip, node
from models.guidance_kinds import Operated
from models.latent_operations import Sharpen, Tonemap, interpolated
from models.types import Latent, LatentOperation, Model
from nodes.latent_batches import like
from nodes.services import Context

First = Annotated[Latent, Tip("The first latents.")]
Second = Annotated[Latent, Tip("The second latents; brought to the size of the first, from their middle.")]
Result = Annotated[Latent, Tip("The latents.")]
Operation = Annotated[LatentOperation, Tip("What can be done to latents.")]


@node("LatentAdd", category="latent/advanced")
def latent_add(ctx: Context, *, samples1: First, samples2: Second) -> Result:
    """Add latents to latents."""
    return _combined(samples1, samples2, lambda a, b: a + b)


@node("LatentSubtract", category="latent/advanced")
def latent_subtract(ctx: Context, *, samples1: First, samples2: Second) -> Result:
    """Take latents from latents."""
    return _combined(samples1, samples2, lambda a, b: a - b)


@node("LatentMultiply", category="latent/advanced")
def latent_multiply(
    ctx: Context,
    *,
    samples: Annotated[Latent, Tip("The latents.")],
    multiplier: Annotated[float, Float(-10.0, 10.0, step=0.01, tooltip="What they are multiplied by.")] = 1.0,
) -> Result:
    """Make latents stronger or weaker."""
    return replace(samples, samples=samples.samples * multiplier)


@node("LatentInterpolate", category="latent/advanced")
def latent_interpolate(
    ctx: Context,
    *,
    samples1: First,
    samples2: Second,
    ratio: Annotated[float, Float(0.0, 1.0, step=0.01, tooltip="1 is the first, 0 the second.")] = 1.0,
) -> Result:
    """Mix latents so that they stay as strong as both: what they point to, and how strongly, each for itself."""
    return _combined(samples1, samples2, lambda a, b: interpolated(a, b, ratio))


@node("LatentBlend", category="_for_testing", title="Latent Blend")
def latent_blend(
    ctx: Context,
    *,
    samples1: First,
    samples2: Second,
    blend_factor: Annotated[float, Float(0, 1, step=0.01, tooltip="1 is the first, 0 the second.")] = 0.5,
) -> Result:
    """Mix latents."""
    return _combined(samples1, samples2, lambda a, b: a * blend_factor + b * (1 - blend_factor))


@node("LatentApplyOperation", category="latent/advanced/operations", experimental=True)
def latent_apply_operation(
    ctx: Context,
    *,
    samples: Annotated[Latent, Tip("The latents.")],
    operation: Annotated[LatentOperation, Tip("What to do to them.")],
) -> Result:
    """Do something to latents."""
    return replace(samples, samples=operation.run(samples.samples))


@node("LatentApplyOperationCFG", category="latent/advanced/operations", experimental=True)
def latent_apply_operation_cfg(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net that removes the noise.")],
    operation: Annotated[LatentOperation, Tip("What to do to the difference of both prompts.")],
) -> Annotated[Model, Tip("The model, guided so.")]:
    """Do something to guidance in every step: to the difference that it follows."""
    change = Operated(operation.run)
    return replace(model, guiding=replace(model.guiding, before=(*model.guiding.before, change)))


@node("LatentOperationSharpen", category="latent/advanced/operations", experimental=True)
def latent_operation_sharpen(
    ctx: Context,
    *,
    sharpen_radius: Annotated[int, Int(1, 31, step=1, tooltip="How many cells around each count.")] = 9,
    sigma: Annotated[float, Float(0.1, 10.0, step=0.1, tooltip="How evenly they count.")] = 1.0,
    alpha: Annotated[float, Float(0.0, 5.0, step=0.01, tooltip="How strongly to sharpen.")] = 0.1,
) -> Operation:
    """Make latents sharper."""
    return LatentOperation(Sharpen(sharpen_radius, sigma, alpha))


@node("LatentOperationTonemapReinhard", category="latent/advanced/operations", experimental=True)
def latent_operation_tonemap_reinhard(
    ctx: Context,
    *,
    multiplier: Annotated[
        float, Float(0.0, 100.0, step=0.01, tooltip="How strong a cell may become; less presses more.")
    ] = 1.0,
) -> Operation:
    """Press strong cells of latents together, so that strong guidance does not burn them."""
    if multiplier == 0:
        raise InputError("multiplier", "must be above 0: with 0 nothing of the latents would be left")
    return LatentOperation(Tonemap(multiplier))


def _combined(first: Latent, second: Latent, combine: Callable[[Tensor, Tensor], Tensor]) -> Latent:
    """All that the first has, with the numbers that both make."""
    return replace(first, samples=combine(first.samples, like(second.samples, first.samples)))
