"""Values at the boundary to packs: ours are frozen objects, theirs plain tensors, dictionaries and lists.

What goes to a pack is a copy, so that one which changes a tensor in place cannot spoil a result that is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from graph.files import FileRef
from models.areas import Area, Share
from models.inpainting import Beside
from models.micro_conditioning import NOTHING_SAID, MicroConditioning
from models.noise import Noise
from models.types import Clip, Cond, Conditioning, Control, Image, Latent, Mask, Model, Sigmas, Vae
from nodes.packs.guider import CFGGuider, PackNoise, TheirNoise, guider_of, noise_of
from nodes.packs.handles import Handle, PackClip, PackVae
from nodes.packs.host import Host
from nodes.packs.model import PackModel

_SOCKETS = frozenset({"IMAGE", "MASK", "SIGMAS", "LATENT", "CONDITIONING", "GUIDER", "NOISE"})
_OF_CONDS = frozenset({"pooled_output", "area", "strength", "mask", "mask_strength", "set_area_to_bounds", "start_percent",
                      "end_percent"})  # fmt: skip
_SAID = (("width", "width"), ("height", "height"), ("crop_w", "crop_w"), ("crop_h", "crop_h"),
         ("target_width", "target_width"), ("target_height", "target_height"), ("aesthetic_score", "score"))  # fmt: skip
"""What is said of the picture besides, by the names that packs have for it and by ours."""
_OF_LATENTS = frozenset({"samples", "noise_mask", "batch_index"})


def to_pack(value: object, host: Host) -> Any:
    """`value` as packs know it; what they do not know goes as it is."""
    match value:
        case Image(pixels=tensor) | Mask(values=tensor) | Sigmas(values=tensor):
            return host.own(tensor)
        case Latent():
            return _latent(value, host)
        case Conditioning(conds=conds):
            return [_entry(cond, host) for cond in conds]
        case Model():
            return PackModel(value, host)
        case Clip():
            return PackClip(value, host)
        case Vae():
            return PackVae(value, host)
        case Noise():
            return TheirNoise(value) if not isinstance(value, PackNoise) else value.of
        case FileRef():
            return value.name
        case tuple():
            return list(value)
        case _:
            return value


def from_pack(value: Any, socket: str, host: Host) -> object:
    """What a pack gave for an output `socket`, as our nodes take it; for `*` by what it looks like."""
    if isinstance(value, Handle):
        return value.handle
    kind = socket if socket in _SOCKETS else _looks_like(value) if socket == "*" else ""
    match kind:
        case "IMAGE" if isinstance(value, Tensor):
            return Image(_plain(value if value.ndim == 4 else value[None]))
        case "MASK" if isinstance(value, Tensor):
            return Mask(_plain(value.reshape(-1, *value.shape[-2:])))
        case "SIGMAS" if isinstance(value, Tensor):
            return Sigmas(_plain(value))
        case "LATENT" if isinstance(value, Mapping):
            mask, places = value.get("noise_mask"), value.get("batch_index")
            return Latent(
                _plain(value["samples"]),
                {key: item for key, item in value.items() if key not in _OF_LATENTS},
                _plain(mask.reshape(-1, 1, *mask.shape[-2:])) if isinstance(mask, Tensor) else None,
                tuple(map(int, places)) if places else None,
            )
        case "CONDITIONING" if isinstance(value, list | tuple):
            return Conditioning(tuple(_cond(tokens, options) for tokens, options in value))
        case "GUIDER" if isinstance(value, CFGGuider):
            return guider_of(value, lambda conds: from_pack(conds, "CONDITIONING", host))
        case "NOISE" if isinstance(value, TheirNoise) or hasattr(value, "generate_noise"):
            return noise_of(value)
        case _:
            return value


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().float().cpu()


def _looks_like(value: Any) -> str:
    match value:
        case Tensor() if value.ndim == 4 and value.shape[-1] in (1, 3, 4):
            return "IMAGE"
        case Tensor() if value.ndim == 3:
            return "MASK"
        case Tensor() if value.ndim == 1:
            return "SIGMAS"
        case Mapping() if isinstance(value.get("samples"), Tensor):
            return "LATENT"
        case [[Tensor(), Mapping()], *_]:
            return "CONDITIONING"
        case CFGGuider():
            return "GUIDER"
        case TheirNoise():
            return "NOISE"
        case _:
            return ""


def _latent(latent: Latent, host: Host) -> dict[str, object]:
    fields: dict[str, object] = {"samples": host.own(latent.samples), **latent.extra}
    if latent.noise_mask is not None:
        fields["noise_mask"] = host.own(latent.noise_mask)
    if latent.batch_index is not None:
        fields["batch_index"] = list(latent.batch_index)
    return fields


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
        _plain(tokens),
        _plain(pooled) if isinstance(pooled, Tensor) else _plain(tokens)[:, -1] * 0,
        area,
        float(options.get("strength", 1.0)),
        {key: value for key, value in options.items() if key not in ours},
        _plain(mask).reshape(-1, *mask.shape[-2:]) * float(options.get("mask_strength", 1.0))
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
