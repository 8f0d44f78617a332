"""Nodes that say where in the picture, and when on the way to it, a prompt counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch

from graph.sockets import Choice, Float
from graph.spec import ALIKE, Tip, node
from models.types import Conditioning, Mask
from nodes.conditioning import STRENGTH
from nodes.services import Context


@node("ConditioningSetMask", category="conditioning", title="Conditioning (Set Mask)")
def conditioning_set_mask(
    ctx: Context,
    *,
    conditioning: Annotated[Conditioning, Tip("The prompt.")],
    mask: Annotated[Mask, Tip("White where it counts.")],
    strength: Annotated[float, STRENGTH] = 1.0,
    set_cond_area: Annotated[
        str,
        Choice(
            ("default", "mask bounds"),
            tooltip="mask bounds: the model sees the rectangle around the mask alone, so that all of the prompt is drawn there.",
        ),
    ],
) -> Annotated[Conditioning, Tip("The prompt, for that part.")]:
    """Have a prompt count where a mask is white. Combine it with one for the rest."""
    where, bounded = mask.values * strength, set_cond_area == "mask bounds"
    return Conditioning(tuple(replace(cond, mask=where, bounded=bounded) for cond in conditioning.conds))


@node("ConditioningSetTimestepRange", category="advanced/conditioning", items=ALIKE)
def conditioning_set_timestep_range(
    ctx: Context,
    *,
    conditioning: Annotated[Conditioning, Tip("The prompt.")],
    start: Annotated[float, Float(0.0, 1.0, step=0.001, tooltip="From which part of the way on it counts.")] = 0.0,
    end: Annotated[float, Float(0.0, 1.0, step=0.001, tooltip="Up to which part of the way it counts.")] = 1.0,
) -> Annotated[Conditioning, Tip("The prompt, for that time.")]:
    """Have a prompt count for a part of the way from noise to picture only. Combine it with one for the rest."""
    return Conditioning(tuple(replace(cond, start=start, end=end) for cond in conditioning.conds))


@node("ConditioningZeroOut", category="advanced/conditioning", items=ALIKE)
def conditioning_zero_out(
    ctx: Context, *, conditioning: Annotated[Conditioning, Tip("The prompt.")]
) -> Annotated[Conditioning, Tip("No prompt: all zeros.")]:
    """Zeros instead of an encoded prompt: what some models take for no prompt at all."""
    return Conditioning(
        tuple(
            replace(cond, tokens=torch.zeros_like(cond.tokens), pooled=torch.zeros_like(cond.pooled))
            for cond in conditioning.conds
        )
    )
