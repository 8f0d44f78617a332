"""CONDITIONING as packs know it: a list of [tokens, what is said of them], each way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from models.areas import Area, Share
from models.inpainting import Beside
from models.micro_conditioning import NOTHING_SAID, MicroConditioning
from models.types import Cond, Conditioning, Control
from nodes.packs.host import Host

_OF_CONDS = frozenset({"pooled_output", "area", "strength", "mask", "mask_strength", "set_area_to_bounds", "start_percent",
                      "end_percent"})  # fmt: skip
_SAID = (("width", "width"), ("height", "height"), ("crop_w", "crop_w"), ("crop_h", "crop_h"),
         ("target_width", "target_width"), ("target_height", "target_height"), ("aesthetic_score", "score"))  # fmt: skip
"""What is said of the picture besides, by the names that packs have for it and by ours."""


def entries(value: Conditioning, host: Host) -> list[list[Any]]:
    """For each text its tokens [1, T, D], copied, and what is said of it."""
    return [_entry(cond, host) for cond in value.conds]


def conditioning_of(value: Sequence[Any]) -> Conditioning:
    """The same back; keys that we do not know stay with it."""
    return Conditioning(tuple(_cond(tokens, options) for tokens, options in value))


def plain(tensor: Tensor) -> Tensor:
    """A tensor of a pack as ours are: float32, on the CPU."""
    return tensor.detach().float().cpu()


def _entry(cond: Cond, host: Host) -> list[Any]:
    options: dict[str, object] = {"pooled_output": host.own(cond.pooled), **cond.extra}
    match cond.area:
        case Area(height, width, y, x):
            options["area"] = (height, width, y, x)
        case Share(height, width, y, x):
            options["area"] = ("percentage", height, width, y, x)
    if cond.area is not None or cond.strength != 1.0:
        options["strength"] = cond.strength
    if cond.mask is not None:
        options |= {"mask": host.own(cond.mask), "mask_strength": 1.0, "set_area_to_bounds": cond.bounded}
    if (cond.start, cond.end) != (0.0, 1.0):
        options |= {"start_percent": cond.start, "end_percent": cond.end}
    options |= {"control": cond.controls} if cond.controls else {}
    options |= {"beside": cond.beside} if cond.beside else {}
    for theirs, ours in _SAID:
        if getattr(cond.said, ours) != getattr(NOTHING_SAID, ours):
            options[theirs] = getattr(cond.said, ours)
    return [host.own(cond.tokens), options]


def _cond(tokens: Tensor, options: Mapping[str, Any]) -> Cond:
    pooled, given, mask = (options.get(name) for name in ("pooled_output", "area", "mask"))
    beside = options.get("beside")
    controls, beside = _controls(options.get("control")), beside if isinstance(beside, Beside) else None
    ours = _OF_CONDS | dict(_SAID).keys() | ({"control"} if controls else set()) | ({"beside"} if beside else set())
    area: Area | Share | None = None
    if given is not None:
        area = Share(*given[1:]) if given[0] == "percentage" else Area(*given)
    return Cond(
        plain(tokens),
        plain(pooled) if isinstance(pooled, Tensor) else plain(tokens)[:, -1] * 0,
        area,
        float(options.get("strength", 1.0)),
        {key: value for key, value in options.items() if key not in ours},
        plain(mask).reshape(-1, *mask.shape[-2:]) * float(options.get("mask_strength", 1.0))
        if mask is not None
        else None,
        bool(options.get("set_area_to_bounds", False)),
        float(options.get("start_percent", 0.0)),
        float(options.get("end_percent", 1.0)),
        controls=controls,
        beside=beside,
        said=MicroConditioning(**{ours: options[theirs] for theirs, ours in _SAID if options.get(theirs) is not None}),
    )


def _controls(value: object) -> tuple[Control, ...]:
    """What a pack handed on of ours; what it made itself stays with the keys that we do not know."""
    return value if isinstance(value, tuple) and all(isinstance(one, Control) for one in value) else ()
