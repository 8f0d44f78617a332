"""Nodes that steer a picture by another: ControlNet, Control-LoRA and T2I-Adapter."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Annotated, NamedTuple

from torch import nn

from graph.errors import InputError
from graph.files import FileRef
from graph.sockets import Choice, File, Float
from graph.spec import Tip, node
from models.controls import on_top
from models.types import (
    AdapterModel,
    Conditioning,
    Control,
    ControlLoraModel,
    ControlModel,
    ControlNetModel,
    Image,
    Mask,
    Model,
    Vae,
)
from nodes.services import Context
from nodes.weights import header, tell_unused

AnyControl = ControlModel[nn.Module]
FILE = File("controlnet", tooltip="A file of models/controlnet: a ControlNet, a Control-LoRA or a T2I-Adapter.")
STRENGTH = Float(0.0, 10.0, step=0.01, tooltip="How much of what the network says is added. 0: nothing.")
UNION_KINDS = (
    "openpose",
    "depth",
    "hed/pidi/scribble/ted",
    "canny/lineart/anime_lineart/mlsd",
    "normal",
    "segment",
    "tile",
    "repaint",
)
"""The kinds of pictures that union networks know, by their numbers."""
POOLED = re.compile(r"_shuffle(_fp16)?$")  # how the names of those files end that say nothing of where things are


@node("ControlNetLoader", category="loaders", title="Load ControlNet Model", lane="io")
def control_net_loader(
    ctx: Context, *, control_net_name: Annotated[FileRef, FILE]
) -> Annotated[AnyControl, Tip("What steers a model by a picture.")]:
    """Open a network that steers a model by a picture, whichever kind it is."""
    return _opened(ctx, control_net_name)


@node("DiffControlNetLoader", category="loaders", title="Load ControlNet Model (diff)", lane="io")
def diff_control_net_loader(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net to whose weights the file's are added, if it holds differences.")],
    control_net_name: Annotated[FileRef, FILE],
) -> Annotated[AnyControl, Tip("What steers a model by a picture.")]:
    """Open a ControlNet whose file holds the differences from a model's weights."""
    found = _opened(ctx, control_net_name)
    return on_top(found, model) if isinstance(found, ControlNetModel) and found.difference else found


@node("SetUnionControlNetType", category="conditioning/controlnet")
def set_union_control_net_type(
    ctx: Context,
    *,
    control_net: Annotated[AnyControl, Tip("A network for pictures of several kinds (union).")],
    type: Annotated[  # noqa: A002
        str, Choice(("auto", *UNION_KINDS), tooltip="What kind the picture is of; auto: it is not told.")
    ],
) -> Annotated[AnyControl, Tip("The network, which is told so.")]:
    """Tell a union ControlNet what kind of picture it sees."""
    kinds = () if type == "auto" else (UNION_KINDS.index(type),)
    known = control_net.weights.shapes(control_net.part).get("task_embedding", (0,))[0]
    if kinds and kinds[0] >= known:
        told = f"knows {known} kinds of pictures" if known else "is no union ControlNet"
        raise InputError("type", f"{control_net.weights.path.name} {told}; it cannot be told {type!r}")
    return replace(control_net, kinds=kinds)


@node("ControlNetApply", category="conditioning/controlnet", title="Apply ControlNet (OLD)", deprecated=True)
def control_net_apply(
    ctx: Context,
    *,
    conditioning: Annotated[Conditioning, Tip("The prompt.")],
    control_net: Annotated[AnyControl, Tip("What steers the model.")],
    image: Annotated[Image, Tip("The picture that it sees, such as edges or a depth map.")],
    strength: Annotated[float, STRENGTH] = 1.0,
) -> Annotated[Conditioning, Tip("The prompt with the picture; it counts for the negative prompt, too.")]:
    """Steer a picture by another, all the way."""
    if strength == 0:
        return conditioning
    return _with(conditioning, Control(control_net, image.pixels, strength, for_all=True))


class Steered(NamedTuple):
    """Both prompts, with the picture that steers."""

    positive: Annotated[Conditioning, Tip("The positive prompt, with the picture.")]
    negative: Annotated[Conditioning, Tip("The negative prompt, with the picture.")]


@node("ControlNetApplyAdvanced", category="conditioning/controlnet", title="Apply ControlNet")
def control_net_apply_advanced(
    ctx: Context,
    *,
    positive: Annotated[Conditioning, Tip("What the picture should show.")],
    negative: Annotated[Conditioning, Tip("What it should not show.")],
    control_net: Annotated[AnyControl, Tip("What steers the model.")],
    image: Annotated[Image, Tip("The picture that it sees, such as edges or a depth map.")],
    strength: Annotated[float, STRENGTH] = 1.0,
    start_percent: Annotated[
        float, Float(0.0, 1.0, step=0.001, tooltip="From which part of the way from noise to picture on it steers.")
    ] = 0.0,
    end_percent: Annotated[float, Float(0.0, 1.0, step=0.001, tooltip="Up to which part of the way it steers.")] = 1.0,
    vae: Annotated[
        Vae | None, Tip("Not used: the networks of Stable Diffusion 1 look at pixels. Other families' look at latents.")
    ] = None,
    mask: Annotated[Mask | None, Tip("White where it steers; everywhere, if there is none.")] = None,
) -> Steered:
    """Steer a picture by another, for a part of the way, and where a mask says so. Several follow one another."""
    if strength == 0:
        return Steered(positive, negative)
    where = None if mask is None else mask.values
    given = Control(control_net, image.pixels, strength, start_percent, end_percent, mask=where)
    return Steered(_with(positive, given), _with(negative, given))


def _with(conditioning: Conditioning, given: Control) -> Conditioning:
    return Conditioning(tuple(replace(cond, controls=(*cond.controls, given)) for cond in conditioning.conds))


def _opened(ctx: Context, file: FileRef) -> AnyControl:
    """Raises InputError if the file holds nothing that steers."""
    weights = header(file, "control_net_name")
    identity = ctx.services.folders.identity(file.path)
    found: AnyControl
    if "controlnet" in weights.parts():
        pooled = bool(POOLED.search(PurePosixPath(file.name).stem))
        found = ControlNetModel(weights, identity, difference="difference" in weights.tensors, pooled=pooled)
    elif "control_ends" in weights.parts():
        return ControlLoraModel(weights, identity)
    elif "t2i_adapter" in weights.parts():
        found = AdapterModel(weights, identity)
    else:
        raise InputError("control_net_name", f"{file.name} holds no ControlNet, Control-LoRA or T2I-Adapter")
    tell_unused(ctx, weights, "control_net_name")
    return found
