"""With `--require-safety`, pictures are looked at where they come into being: decoded, loaded, or drawn.

What is flagged there is hidden at once, so all that is made from it is made from what hides it: stretching, cutting or
turning a picture before the last SafetyCheck gains nothing. Only the operator's checker is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from graph.context import Context as GraphContext
from graph.errors import ValueRefused
from graph.files import Folders
from graph.result import Expand, Items, Need, Outputs, Result
from graph.sockets import ANY
from graph.spec import NodeSpec, Registry
from models.checkpoint import CheckpointError, read_header
from models.types import Image, Mask, SafetyModel
from nodes.safety import NETWORKS, blurred, hidden, judged, safety_check
from nodes.services import Context

PICTURES = frozenset({Image.socket, Mask.socket})
MAKERS = NETWORKS | {"LATENT"}
"""What pictures are made from that are none yet."""


def guarded(registry: Registry) -> Registry:
    """The same node types; those whose pictures come into being there look at them, on the device."""
    return Registry(_guarded(spec) if makes_pictures(spec) else spec for spec in registry.values())


def guarded_packs(specs: Iterable[NodeSpec]) -> Iterator[NodeSpec]:
    """The node types of packs, whose pictures may be of any origin: all that may be pictures is looked at."""
    for spec in specs:
        shows = any(output.socket in PICTURES or output.socket == ANY for output in spec.outputs)
        yield _guarded(spec) if shows else spec


def makes_pictures(spec: NodeSpec) -> bool:
    """Whether a node's pictures are not just other forms of those that it was given."""
    given = {socket for declared in spec.inputs for socket in declared.socket.split(",")}
    shows = any(output.socket in PICTURES for output in spec.outputs)
    return shows and spec is not safety_check and (not given & PICTURES or bool(given & MAKERS))


def operators_checker(folders: Folders, file: Path | None, embedded: Path) -> SafetyModel:
    """The checker of `--safety-checker`: a file, or the name of one in models/safety_checker; if none is named, the only
    one there besides those below `embedded`, else the embedded one. Raises ValueError if that does not say which."""
    if file is None:
        names = folders.list("safety_checker")
        paths = [folders.resolve("safety_checker", name) for name in names]
        own = [path for path in paths if not path.is_relative_to(embedded)] or paths
        if len(own) != 1:
            raise ValueError(
                f"--require-safety: {len(own)} safety checkers lie in models/safety_checker; say which by --safety-checker"
            )
        file = own[0]
    elif not file.is_file():
        try:
            file = folders.resolve("safety_checker", str(file))
        except ValueRefused as error:
            raise ValueError(f"--safety-checker: there is no file {file}; {error.message}") from error
    try:
        weights = read_header(file)
    except CheckpointError as error:
        raise ValueError(f"--safety-checker: {error}") from error
    if "safety" not in weights.parts():
        raise ValueError(f"--safety-checker: {file} is not a safety checker")
    return SafetyModel(weights, folders.identity(file))


def _guarded(spec: NodeSpec) -> NodeSpec:
    def run(ctx: GraphContext[Any], inputs: Mapping[str, object]) -> Result:
        result = spec.run(ctx, inputs)
        if isinstance(result, Need | Expand):  # what comes of it is looked at where it comes into being
            return result
        if not isinstance(result, Outputs):
            raise TypeError(f"{spec.type} makes pictures that come later, which --require-safety cannot look at")
        return replace(result, values=tuple(_looked_at(ctx, value) for value in result.values))

    return replace(spec, run=run, lane="device")


def _looked_at(ctx: Context, value: object) -> object:
    """A picture, or mask, with what the operator's checker flags hidden."""
    match value:
        case Image():
            pixels = value.pixels
        case Mask():
            pixels = value.values[..., None]
        case Items(values=items):
            return Items(tuple(_looked_at(ctx, item) for item in items))
        case list():
            return [_looked_at(ctx, item) for item in value]
        case tuple() if type(value) is tuple:
            return tuple(_looked_at(ctx, item) for item in value)
        case _:
            return value
    checker = ctx.services.checker
    if checker is None:
        raise TypeError("--require-safety needs a checker")
    flagged = 0
    for channels in (pixels[..., :3], pixels[..., 3:]):  # a picture may be hidden in the transparency
        if channels.shape[-1] == 0 or channels.numel() == 0 or channels.min() == channels.max():
            continue
        seen = channels if channels.shape[-1] == 3 else channels[..., :1].expand(-1, -1, -1, 3)
        verdicts = judged(ctx, seen, checker, "", "")
        if any(verdict.flagged for verdict in verdicts):
            pixels, flagged = hidden(pixels, verdicts, blurred), max(flagged, sum(v.flagged for v in verdicts))
    if not flagged:
        return value
    ctx.warn(
        f"the safety checker flagged {flagged} of {len(pixels)} pictures where they came into being; they are hidden"
    )
    return Image(pixels) if isinstance(value, Image) else Mask(pixels[..., 0])
