"""The safety check of finished pictures, and the rule of `--require-safety`: no picture leaves without one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from graph.build import BoundNode, Graph
from graph.document import Link
from graph.errors import GraphError, InputError
from graph.files import FileRef
from graph.result import Shown
from graph.sockets import Choice, File
from graph.spec import Tip, node
from models.checkpoint import CheckpointError
from models.safety import Verdict
from models.types import Image, SafetyModel
from nodes.services import Context
from nodes.weights import opened

CELLS = 8
"""Patches of colour along the longer side of a blurred picture: all that is left of it."""

VALUES = frozenset({"INT", "FLOAT", "FLOATS", "STRING", "BOOLEAN", "COMBO", "SIGMAS", "FEATURES"})
NETWORKS = frozenset(
    {"MODEL", "CLIP", "VAE", "CONTROL_NET", "CLIP_VISION", "UPSCALE_MODEL", "SAFETY_MODEL"}
    | {"CLIP_MODEL", "INCEPTION_MODEL", "AESTHETIC_MODEL"}
)
"""VALUES and NETWORKS: sockets that carry no picture. All others might: latents, masks, those nobody has heard of."""


class Checked(NamedTuple):
    """Pictures fit to be shown, and why."""

    image: Annotated[Image, Tip("The pictures; what was flagged is hidden.")]
    flagged: Annotated[bool, Tip("Whether any of the pictures was flagged.")]
    scores: Annotated[
        str,
        Tip("JSON: for each picture whether it was flagged, and its scores by concept. Above 0 means found."),
    ]


@node("SafetyCheckerLoader", category="loaders", title="Load Safety Checker", lane="io")
def safety_checker_loader(
    ctx: Context,
    *,
    safety_checker: Annotated[
        FileRef,
        File(
            "safety_checker",
            tooltip="A file of models/safety_checker.",
            when_empty="put model.safetensors of CompVis/stable-diffusion-safety-checker there (or of the folder "
            "safety_checker of a Stable Diffusion v1 model in the layout of diffusers)",
        ),
    ],
) -> Annotated[SafetyModel, Tip("The checker.")]:
    """Open the weights of a safety checker."""
    lacking = "is not a safety checker: it lacks the tensor concept_embeds"
    return SafetyModel(*opened(ctx, safety_checker, "safety_checker", "safety", lacking))


@node("SafetyCheck", category="image", title="Safety Check")
def safety_check(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures to check, each for itself.")],
    safety_model: Annotated[SafetyModel, Tip("The checker.")],
    mode: Annotated[
        str,
        Choice(("blur", "black"), tooltip="What becomes of a picture that is flagged: a blur of colours, or black."),
    ] = "blur",
) -> Shown[Checked]:
    """Hide the pictures in which a safety checker finds what should not be shown; the others pass as they are."""
    if (channels := image.pixels.shape[-1]) != 3:
        raise InputError("image", f"has {channels} channels, expected 3: a checker sees colours, not transparency")
    checker = ctx.services.checker or safety_model
    if checker.identity != safety_model.identity:
        ctx.warn(f"is not asked: {checker.weights.path.name} is the checker of this server", "safety_model")
    verdicts = judged(ctx, image.pixels, checker, "safety_model", "image")
    shown = image
    if any(verdict.flagged for verdict in verdicts):
        shown = Image(hidden(image.pixels, verdicts, blurred if mode == "blur" else torch.zeros_like))
    scores = [_as_json(verdict) for verdict in verdicts]
    flags = [verdict.flagged for verdict in verdicts]
    return Shown(Checked(shown, any(flags), json.dumps(scores)), {"flags": flags, "scores": scores})


def require_safety(graph: Graph) -> Iterator[GraphError]:
    """The rule of `--require-safety`: every picture that a node shows or saves comes straight from a SafetyCheck.

    Straight, since a node in between could undo what hid something from the checker: turn a negative back, crop to a
    corner of a padded canvas. So checks go last, behind scaling and joining. What a SafetyCheck cannot look at (a
    latent, a mask) is not saved at all. The previews of a sampler are no node's: the server leaves them out.
    """
    for node_id in graph.order:
        if graph.nodes[node_id].spec.terminal:
            yield from _faults(graph.nodes[node_id], graph)


def judged(ctx: Context, pixels: Tensor, checker: SafetyModel, blamed: str, shown: str) -> list[Verdict]:
    """What a checker thinks of each of some pictures, [B, H, W, 3]. Raises InputError on `blamed` for weights that
    cannot judge, on `shown` for pictures that cannot be judged."""
    try:
        with ctx.services.residency.use(checker) as network:
            # one by one, so that no picture's scores hang on its neighbours
            return [network.check_whole(picture, ctx.check) for picture in pixels]
    except CheckpointError as error:
        raise InputError(blamed, str(error)) from error
    except ValueError as error:
        raise InputError(shown, str(error)) from error


def hidden(pixels: Tensor, verdicts: Sequence[Verdict], hide: Callable[[Tensor], Tensor]) -> Tensor:
    """[B, H, W, C] with what was flagged hidden; the others as they are."""
    pairs = zip(pixels, verdicts, strict=True)
    return torch.stack([hide(picture) if verdict.flagged else picture for picture, verdict in pairs])


def blurred(pixels: Tensor) -> Tensor:
    """[H, W, C] -> the same size: a few cells of mean colour, each at least eight pixels wide, run into each other."""
    height, width = pixels.shape[:2]
    longer = max(height, width)
    cells = min(CELLS, longer / 8)
    few = [max(1, int(cells * side / longer)) for side in (height, width)]
    small = F.interpolate(pixels.movedim(-1, 0)[None], size=few, mode="area")
    return F.interpolate(small, size=(height, width), mode="bilinear")[0].movedim(0, -1).contiguous()


def _as_json(verdict: Verdict) -> dict[str, object]:
    return {"flagged": verdict.flagged, "concepts": verdict.concepts, "special_care": verdict.special_care}


def _faults(shows: BoundNode, graph: Graph) -> Iterator[GraphError]:
    """What keeps one node that shows or saves things from doing so."""
    type_name, expected = shows.spec.type, f"pictures straight from a {safety_check.type}"
    pictures = {
        name: value for name, value in shows.inputs.items() if type(value) is Link and _is_picture(value, graph)
    }
    unchecked = {name: link for name, link in pictures.items() if graph.nodes[link.node].spec is not safety_check}
    for name, link in unchecked.items():
        yield GraphError(
            "unchecked_picture", _objection(link, graph), shows.id, type_name, name, [link.node, link.slot], expected
        )
    for name, value in shows.inputs.items():
        if not isinstance(value, Link) and not _is_plain(value):
            unknown = "gets a value of unknown origin, which an expansion brought"
            yield GraphError("unchecked_value", unknown, shows.id, type_name, name, expected=expected)
    makes_some = any(_may_be_picture(output.socket) for output in shows.spec.outputs)
    if (
        makes_some
        and not unchecked
        and (not pictures or any(_socket(link, graph) in NETWORKS for link in shows.links()))
    ):
        message = f"makes pictures and may show them before any {safety_check.type}; --require-safety forbids that"
        yield GraphError("unchecked_picture", message, shows.id, type_name, expected=expected)


def _is_plain(value: object) -> bool:
    """Whether a document can hold it, so that it is no picture."""
    match value:
        case Mapping():
            return all(map(_is_plain, value.values()))
        case list() | tuple():
            return all(map(_is_plain, value))
        case _:
            return isinstance(value, FileRef | str | int | float | None)


def _objection(link: Link, graph: Graph) -> str:
    source = f"node {link.node} ({graph.nodes[link.node].spec.type})"
    if (socket := _socket(link, graph)) == Image.socket:
        return (
            f"would show the pictures of {source} unchecked; --require-safety wants a {safety_check.type} "
            "right before this node"
        )
    return (
        f"would give out {socket} of {source}, which no {safety_check.type} can look at; --require-safety lets "
        "only checked pictures out"
    )


def _is_picture(link: Link, graph: Graph) -> bool:
    return _may_be_picture(_socket(link, graph))


def _may_be_picture(socket: str) -> bool:
    return not {member.strip() for member in socket.split(",")} <= VALUES | NETWORKS


def _socket(link: Link, graph: Graph) -> str:
    return graph.nodes[link.node].spec.outputs[link.slot].socket
